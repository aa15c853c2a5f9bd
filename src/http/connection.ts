import { createHash } from 'node:crypto'
import type { DetailedPeerCertificate, TLSSocket } from 'node:tls'
import type { Request } from 'express'

/** What the client of a connection showed by mutual TLS. That it has the private key is proven, and nothing else is. */
export interface Connection {
  /** DER of its own certificate. */
  certificate: Buffer
  /** DER of the certificates that it sent, its own first, each followed by the one that says it issued it. */
  chain: Buffer[]
  /** `x5t#S256` of its own certificate: base64url of the SHA-256 of its DER (RFC 8705 §3.1). */
  thumbprint: string
}

/** Certificates of a chain that are looked at: one more than the attestor takes. */
const longest = 17

/** By socket, for as long as there is one: a connection's client never changes, for TLS 1.3 has no renegotiation. */
const connections = new WeakMap<object, Connection>()

/**
 * Keeps what the client has just shown. Certificates that it sent besides its chain are dropped, and so is what comes again.
 *
 * Node.js finds each issuer by its name and key ID, in what was sent after the certificate (RFC 8446 §4.4.2: each certifies the one before),
 * and at the end in the listener's own store, which is empty. (`getPeerX509Certificate` has them all, and leaks all but the first, as of
 * Node.js 24.)
 */
export function keepClient(socket: TLSSocket): void {
  let next: DetailedPeerCertificate | undefined = socket.getPeerCertificate(true)
  const chain: Buffer[] = []
  // A root's issuer is itself; a client without a certificate has an empty object.
  while (next?.raw && chain.length < longest && !chain.some(earlier => earlier.equals(next?.raw as Buffer))) {
    chain.push(next.raw)
    next = next.issuerCertificate
  }
  const [certificate] = chain
  if (!certificate) return
  const thumbprint = createHash('sha256').update(certificate).digest('base64url')
  connections.set(socket, { certificate, chain, thumbprint })
}

/** The client of the request's connection; null where it is none of mutual TLS, or has shown no certificate. */
export const connectionOf = ({ socket }: Pick<Request, 'socket'>): Connection | null =>
  connections.get(socket) ?? null
