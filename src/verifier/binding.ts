import { base64url } from 'jose'
import { type CertificateSource, presented } from './client-certificate.ts'
import { VerifierRefusal } from './refusal.ts'

/** SHA-256 in base64url. */
const thumbprint = /^[A-Za-z0-9_-]{43}$/

/**
 * Refuses a token whose confirmation claim (RFC 7800) the request does not satisfy: it must be `{ "x5t#S256": … }` and nothing else, and the client
 * certificate of the connection must have that thumbprint (RFC 8705 §3). Every other way of binding is unknown here, and so are two at once.
 *
 * @throws VerifierRefusal `binding_unproven`, `binding_missing`, `binding_wrong`, `certificate_malformed`
 */
export async function mustBeBoundTo(cnf: unknown, certificate: CertificateSource): Promise<void> {
  const members = Object.entries((cnf ?? {}) as object)
  const [[name, value] = []] = members
  const isKnown =
    members.length === 1 && name === 'x5t#S256' && typeof value === 'string' && thumbprint.test(value)
  if (!isKnown) throw new VerifierRefusal('binding_unproven')
  const der = await presented(certificate)
  if (der === null) throw new VerifierRefusal('binding_missing')
  if ((await thumbprintOf(der)) !== value) throw new VerifierRefusal('binding_wrong')
}

const thumbprintOf = async (der: Uint8Array): Promise<string> =>
  base64url.encode(new Uint8Array(await crypto.subtle.digest('SHA-256', der as Uint8Array<ArrayBuffer>)))
