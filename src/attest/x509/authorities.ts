import { DerError } from '../../der/read.ts'
import { jwksIn, publicKeyOf } from '../jwk-set.ts'
import type { JsonObject, JsonValue } from '../strict-json.ts'
import { type Certificate, readCertificate } from './certificate.ts'
import { signerFault } from './path.ts'

/**
 * The X.509 authorities of a SPIFFE bundle (X509-SVID §6.2): the first certificate of each `x5c`. Entries of another use, and ones that
 * could not verify anything, are passed over (SPIFFE bundle §4.1.3): no DER, no authority's certificate, a weak key, another key than
 * their own JWK's (RFC 7517 §4.7).
 *
 * @throws HallpassError `attestation_invalid`: keys_malformed, keys_too_large.
 */
export function readAuthorities(bundle: JsonValue | undefined): Certificate[] {
  return jwksIn(bundle).flatMap(jwk => (jwk.use === 'x509-svid' ? (readAuthority(jwk) ?? []) : []))
}

function readAuthority(jwk: JsonObject): Certificate | null {
  const [base64] = Array.isArray(jwk.x5c) ? jwk.x5c : []
  if (!['RSA', 'EC', 'OKP'].some(kty => kty === jwk.kty) || typeof base64 !== 'string' || jwk.d !== undefined)
    return null
  const der = Buffer.from(base64, 'base64')
  if (der.toString('base64') !== base64) return null
  const certificate = readOrNull(der)
  if (!certificate?.publicKey || signerFault(certificate)) return null
  return saysAnotherKey(jwk, certificate) ? null : certificate
}

function readOrNull(der: Buffer): Certificate | null {
  try {
    return readCertificate(der)
  } catch (error) {
    if (error instanceof DerError) return null
    throw error
  }
}

/** What the JWK says of the key beside its certificate, if it says anything. */
function saysAnotherKey(jwk: JsonObject, { publicKey }: Certificate): boolean {
  if (!['n', 'e', 'crv', 'x', 'y'].some(member => jwk[member] !== undefined)) return false
  const stated = publicKeyOf(jwk)
  return !stated || !publicKey?.equals(stated)
}
