import type { TaskTemplate } from '../config.ts'

/** Who an attestation proves (contract §2). */
export interface Principal {
  /** `<trust>:<sub>`, or the SPIFFE ID. */
  id: string
  kind: 'workload' | 'operator'
  /** The trust source's name. */
  trust: string
  /** Attested claims, flattened to strings. */
  tags: Record<string, string>
  /** `<trust>/<claim>/<value>`. */
  groups: string[]
  attestation: Attestation
  /** Set when an attestation of this source stands for one job only. */
  template: TaskTemplate | null
}

/** What is kept of an attestation: enough to recognise it again, nothing that could be used. */
export interface Attestation {
  /** SHA-256, hex, of the token as presented, or of the certificate's DER. For logs. */
  sha256: string
  /**
   * SHA-256, hex, of the trust source's name with `jti`, or without a `jti` of the decoded header and payload: the same
   * however the token's base64 or its signature is spelled. Of a certificate, SHA-256 of the trust source's name and its DER.
   */
  useKey: string
  /** When it can no longer be accepted, clock skew included. Milliseconds since the epoch. */
  acceptableUntil: number
  reuse: 'any' | 'once'
  /** Thumbprint (RFC 8705 §3.1) of the certificate that was the attestation: `cnf` of what is bound to it. */
  x5tS256?: string
}
