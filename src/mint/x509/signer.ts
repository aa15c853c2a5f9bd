import { type KeyObject, sign } from 'node:crypto'
import { oids } from '../../der/oids.ts'
import { bitString, oid, sequence } from '../../der/write.ts'

/** An authority as far as it signs: certificates, CRLs, and the certificates of OCSP responders. Its key is a P-256 one. */
export interface CertificateSigner {
  /** Thumbprint (RFC 7638) of its public key: `kid` of the credentials that it signed. */
  kid: string
  privateKey: KeyObject
  /** DER of its own certificate. */
  certificate: Buffer
  /** DER of its subject: the issuer of what it signs. */
  name: Buffer
  /** SHA-1 of its public key (RFC 5280 §4.2.1.2 (1)), as in its own subject key identifier. */
  keyId: Buffer
  /** End of its own certificate, in milliseconds since the epoch: nothing that it signs is valid for longer. */
  notAfter: number
}

/** ecdsa-with-SHA256, without parameters (RFC 5758 §3.2). */
export const signatureAlgorithm = sequence(oid(oids.ecdsaWithSha256))

/** Signs what is to be signed: a certificate, a CRL or an OCSP response, whose own field says `signatureAlgorithm` too. */
export function signed(key: KeyObject, toBeSigned: Buffer): Buffer {
  return sequence(toBeSigned, signatureAlgorithm, bitString(sign('sha256', toBeSigned, key)))
}
