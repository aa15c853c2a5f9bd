import { createPublicKey, type KeyObject } from 'node:crypto'
import { keyFits } from './algorithms.ts'
import { type RefusalReason, refuse } from './refusal.ts'
import { isJsonObject, type JsonObject, type JsonValue } from './strict-json.ts'

export interface VerificationKey {
  kid: string | null
  /** The only algorithm that it may be used with, when its JWK names one. */
  alg: string | null
  key: KeyObject
}

/** What the keys are for: `sig` in an issuer's JWK Set, `jwt-svid` in a SPIFFE bundle. */
export type KeyUse = 'sig' | 'jwt-svid'

const maxKeys = 100
const publicMembers = { RSA: ['n', 'e'], EC: ['crv', 'x', 'y'], OKP: ['crv', 'x'] } as const

/**
 * The keys of a JWK Set (RFC 7517 §5) that can verify attestations. Keys of another type or use, incomplete ones and ones
 * that show their private half are passed over, as both RFC 7517 §5 and the SPIFFE bundle format §4.1.3 ask.
 *
 * @throws HallpassError `attestation_invalid`: keys_malformed when it is no JWK Set, keys_too_large.
 */
export function readJwkSet(document: JsonValue | undefined, use: KeyUse): VerificationKey[] {
  return jwksIn(document).flatMap(jwk => (isForVerifying(jwk, use) ? (readJwk(jwk) ?? []) : []))
}

/** What of a JWK Set are JWKs, whatever they are for. Throws as `readJwkSet` does. */
export function jwksIn(document: JsonValue | undefined): JsonObject[] {
  if (!isJsonObject(document) || !Array.isArray(document.keys)) throw refuse('keys_malformed')
  if (document.keys.length > maxKeys) throw refuse('keys_too_large')
  return document.keys.filter(isJsonObject)
}

/** The one key that fits the token's `alg` and `kid`, or why there is none. Without a `kid`, it must be the only one. */
export function selectKey(
  keys: readonly VerificationKey[],
  alg: string,
  kid: string | null,
): KeyObject | Extract<RefusalReason, 'kid_unknown' | 'key_mismatch' | 'key_ambiguous'> {
  const named = kid === null ? keys : keys.filter(key => key.kid === kid)
  if (named.length === 0) return 'kid_unknown'
  const [key, ...others] = named
    .filter(({ alg: own, key }) => (own === null || own === alg) && keyFits(alg, key))
    .map(({ key }) => key)
  if (!key) return 'key_mismatch'
  // The same key listed twice is one key; another one under the same name makes that name worthless.
  return others.every(other => other.equals(key)) ? key : 'key_ambiguous'
}

/** Respects `use` and `key_ops` (RFC 7517 §§4.2, 4.3). A bundle's keys must name their use, and themselves (JWT-SVID §6.1). */
function isForVerifying(jwk: JsonObject, use: KeyUse): boolean {
  if (jwk.d !== undefined) return false
  if (jwk.key_ops !== undefined && !(Array.isArray(jwk.key_ops) && jwk.key_ops.includes('verify')))
    return false
  if (use === 'jwt-svid') return jwk.use === 'jwt-svid' && typeof jwk.kid === 'string'
  return jwk.use === undefined || jwk.use === 'sig'
}

function readJwk(jwk: JsonObject): VerificationKey | null {
  const { kid, alg } = jwk
  if ((kid !== undefined && typeof kid !== 'string') || (alg !== undefined && typeof alg !== 'string'))
    return null
  const key = publicKeyOf(jwk)
  return key && { kid: kid ?? null, alg: alg ?? null, key }
}

/** The public key of a JWK; null where it is not whole. */
export function publicKeyOf(jwk: JsonObject): KeyObject | null {
  const { kty } = jwk
  if (kty !== 'RSA' && kty !== 'EC' && kty !== 'OKP') return null
  const members = publicMembers[kty].map(name => [name, jwk[name]] as const)
  if (!members.every(([, value]) => typeof value === 'string')) return null
  try {
    return createPublicKey({ key: { kty, ...Object.fromEntries(members) }, format: 'jwk' })
  } catch {
    return null
  }
}
