import { DerError } from './der.ts'
import { readPem } from './pem.ts'
import { VerifierRefusal } from './refusal.ts'

/**
 * A certificate that was presented: DER, PEM, or a chain in either, the certificate itself first. Of a chain nothing else is looked at: whom to
 * trust is learned from the broker, never from who asks.
 */
export type ClientCertificate = Uint8Array | string | readonly Uint8Array[]

/** One, none, or where it is to be had when it is needed. */
export type CertificateSource =
  | ClientCertificate
  | null
  | undefined
  | (() => ClientCertificate | null | undefined | Promise<ClientCertificate | null | undefined>)

const mostInPem = 10

/**
 * DER of the certificate itself: a copy, which stays as it is while it is being checked.
 *
 * @throws VerifierRefusal `certificate_malformed`
 */
export function leafOf(certificate: ClientCertificate): Uint8Array {
  const leaf = typeof certificate === 'string' ? fromPem(certificate) : firstOf(certificate)
  if (!(leaf instanceof Uint8Array) || leaf.length === 0) throw new VerifierRefusal('certificate_malformed')
  return new Uint8Array(leaf)
}

const firstOf = (certificate: Uint8Array | readonly Uint8Array[]): Uint8Array | undefined =>
  certificate instanceof Uint8Array ? certificate : certificate?.[0]

function fromPem(text: string): Uint8Array | undefined {
  try {
    return readPem(text, mostInPem)[0]
  } catch (error) {
    throw error instanceof DerError ? new VerifierRefusal('certificate_malformed', { cause: error }) : error
  }
}

/** DER of the certificate that is presented; null where there is none. */
export async function presented(source: CertificateSource): Promise<Uint8Array | null> {
  const certificate = typeof source === 'function' ? await source() : source
  return certificate === null || certificate === undefined ? null : leafOf(certificate)
}
