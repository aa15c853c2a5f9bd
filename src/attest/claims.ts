import type { OidcSource, TrustSource } from '../config.ts'
import { refuse } from './refusal.ts'
import { type JsonObject, type JsonValue, numberText } from './strict-json.ts'

export interface CheckedClaims {
  sub: string
  /** Milliseconds since the epoch. */
  expiresAt: number
}

const maxSubLength = 2048
/** Seconds: the end of the year 9999. Later times have no place in a database. */
export const maxTime = 253_402_300_799

/**
 * Checks the registered claims (RFC 7519 §4.1) of an attestation whose signature was verified.
 *
 * @param clockSkew ms that its issuer's clock may be ahead of ours or behind
 * @throws HallpassError `attestation_invalid`: claims, subject, audience, expired, not_yet_valid, authorized_party,
 *   login_too_old.
 */
export function checkClaims(
  claims: JsonObject,
  source: TrustSource,
  now: number,
  clockSkew: number,
): CheckedClaims {
  const { sub } = claims
  // A SPIFFE ID was read already: it is what its trust source was found by.
  if (typeof sub !== 'string' || sub === '' || sub.length > maxSubLength) throw refuse('subject')
  if (!isAudience(claims.aud, source.audience)) throw refuse('audience')
  const expiresAt = readTime(claims.exp)
  const notBefore = readTime(claims.nbf)
  const issuedAt = readTime(claims.iat)
  if (expiresAt === null) throw refuse('claims')
  if (now >= expiresAt + clockSkew) throw refuse('expired')
  for (const time of [notBefore, issuedAt]) {
    if (time !== null && now < time - clockSkew) throw refuse('not_yet_valid')
  }
  if (source.kind === 'oidc' && source.operators) {
    checkLogin(claims, source, source.operators.maxAge, now, clockSkew)
  }
  return { sub, expiresAt }
}

/** This and nothing else: what was made for others too, those others can send here (JWT-SVID §6.2). */
function isAudience(aud: JsonValue | undefined, audience: string): boolean {
  return Array.isArray(aud) ? aud.length === 1 && aud[0] === audience : aud === audience
}

/** Operators sign in to us, and not long ago (OpenID Connect Core §§2, 3.1.3.7: `azp`, `auth_time`). */
function checkLogin(
  claims: JsonObject,
  source: OidcSource,
  maxAge: number,
  now: number,
  clockSkew: number,
): void {
  if (claims.azp !== undefined && claims.azp !== source.audience) throw refuse('authorized_party')
  const loggedInAt = readTime(claims.auth_time) ?? readTime(claims.iat)
  if (loggedInAt === null) throw refuse('claims')
  if (now < loggedInAt - clockSkew) throw refuse('not_yet_valid')
  if (now >= loggedInAt + maxAge + clockSkew) throw refuse('login_too_old')
}

/** A NumericDate (RFC 7519 §2), fractions included, in ms; null when absent. */
function readTime(value: JsonValue | undefined): number | null {
  if (value === undefined) return null
  const text = numberText(value)
  const seconds = text === null ? Number.NaN : Number(text)
  if (!(Math.abs(seconds) <= maxTime)) throw refuse('claims')
  return seconds * 1000
}
