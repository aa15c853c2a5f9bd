import { isAccepted } from './algorithms.ts'
import { refuse } from './refusal.ts'
import type { JsonObject } from './strict-json.ts'

export interface AttestationHeader {
  alg: string
  /** null where an OIDC issuer names no key. */
  kid: string | null
}

/** Keys and addresses of keys that a token brings along, and another way to sign it: whoever sends them means harm. */
const refusedMembers = ['jwk', 'jku', 'x5u', 'b64', 'zip', 'enc']
const svidMembers = ['alg', 'kid', 'typ']

/**
 * Checks the JOSE header (RFC 7515 §4). A JWT-SVID's has no other members than `alg`, `kid` and `typ` (JWT-SVID §2), and its
 * `kid` is needed to find its key. In an OIDC issuer's header, members that are not known are ignored, as RFC 7515 §4 asks.
 *
 * @throws HallpassError `attestation_invalid`: crit, header, typ, alg, kid_missing.
 */
export function checkHeader(header: JsonObject, kind: 'oidc' | 'spiffe'): AttestationHeader {
  const { alg, kid, typ } = header
  // No extension is understood here, so none may be critical (RFC 7515 §4.1.11).
  if (Object.hasOwn(header, 'crit')) throw refuse('crit')
  if (refusedMembers.some(name => Object.hasOwn(header, name))) throw refuse('header')
  if (kind === 'spiffe' && Object.keys(header).some(name => !svidMembers.includes(name)))
    throw refuse('header')
  if (typ !== undefined && !(typeof typ === 'string' && isAttestationType(typ, kind))) throw refuse('typ')
  if (typeof alg !== 'string' || !isAccepted(alg, kind)) throw refuse('alg')
  if (kid !== undefined && typeof kid !== 'string') throw refuse('header')
  if (kid === undefined && kind === 'spiffe') throw refuse('kid_missing')
  return { alg, kid: kid ?? null }
}

/** Contract §2. Media types do not tell cases apart (RFC 7515 §4.1.9); JWT-SVID §2.3 does. */
function isAttestationType(typ: string, kind: 'oidc' | 'spiffe'): boolean {
  return kind === 'spiffe' ? typ === 'JWT' || typ === 'JOSE' : /^(jwt|jose)$/i.test(typ)
}
