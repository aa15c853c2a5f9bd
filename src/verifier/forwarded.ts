import { DerError } from './der.ts'
import { bytesOf, readPem } from './pem.ts'
import { VerifierRefusal } from './refusal.ts'
import { isHashOf, readXfcc } from './xfcc.ts'

/**
 * The header in which a proxy that ends TLS tells what certificate the client presented to it:
 *
 * - `client-cert` (RFC 9440);
 * - `x-forwarded-client-cert`, as Envoy writes it with `SANITIZE_SET` and `set_current_client_cert_details: { cert: true }`;
 * - any other, by its name, with the certificate as URL-encoded PEM: nginx' `$ssl_client_escaped_cert`.
 *
 * Whoever can send it is whoever it says: the proxy must remove it from what its clients send, always, and nothing but the proxy may reach the service.
 */
export type ForwardedCertificate = 'client-cert' | 'x-forwarded-client-cert' | { escapedPem: string }

/** A header that is read for the client's certificate. */
export interface ForwardedHeader {
  /** In lower case. */
  name: string
  /**
   * DER of the certificate from the header's values, as many as were sent; null where there is none.
   *
   * @throws VerifierRefusal `forwarded_malformed` where it is there more than once, or cannot be read
   */
  read(values: readonly string[]): Promise<Uint8Array | null>
}

const token = /^[a-z0-9!#$%&'*+.^_`|~-]+$/
/** Where what a client sends belongs to other things. */
const reserved = new Set(['authorization', 'cookie', 'host'])

/** @throws TypeError where it is none of those */
export function forwardedHeader(forwarded: ForwardedCertificate): ForwardedHeader {
  if (forwarded === 'client-cert') return header('client-cert', fromByteSequence)
  if (forwarded === 'x-forwarded-client-cert') return header('x-forwarded-client-cert', fromXfcc)
  const name = typeof forwarded?.escapedPem === 'string' ? forwarded.escapedPem.toLowerCase() : ''
  const isOther =
    token.test(name) && !reserved.has(name) && name !== 'client-cert' && name !== 'x-forwarded-client-cert'
  if (isOther) return header(name, fromEscapedPem)
  throw new TypeError(
    '`forwardedCertificate` must be "client-cert", "x-forwarded-client-cert", or { escapedPem } with the name of another header.',
  )
}

function header(
  name: string,
  certificateIn: (value: string) => Uint8Array | Promise<Uint8Array>,
): ForwardedHeader {
  return {
    name,
    async read(values) {
      const [value = '', ...more] = values
      // A second one is somebody else's: a client's that the proxy did not remove.
      if (more.length > 0) throw new VerifierRefusal('forwarded_malformed')
      if (value === '') return null
      try {
        return await certificateIn(value)
      } catch (error) {
        throw error instanceof DerError ? new VerifierRefusal('forwarded_malformed', { cause: error }) : error
      }
    },
  }
}

/** An Item that is a Byte Sequence (RFC 9440 §2.1, RFC 9651 §3.3.5), without parameters: none are defined. */
function fromByteSequence(value: string): Uint8Array {
  const [, base64 = ''] = /^ *:([A-Za-z0-9+/]+={0,2}): *$/.exec(value) ?? []
  return bytesOf(base64)
}

async function fromXfcc(value: string): Promise<Uint8Array> {
  const { cert, hash } = readXfcc(value)
  const der = fromEscapedPem(cert)
  if (!(await isHashOf(hash, der))) throw new DerError('Hash is of another certificate')
  return der
}

const mostInPem = 10

/** The first of a chain is the client's own. */
function fromEscapedPem(value: string): Uint8Array {
  if (!/^[A-Za-z0-9%+/=._~-]+$/.test(value)) throw new DerError('it is not URL-encoded')
  let text: string
  try {
    text = decodeURIComponent(value)
  } catch {
    throw new DerError('it is not URL-encoded')
  }
  const [der] = readPem(text, mostInPem)
  return der as Uint8Array
}
