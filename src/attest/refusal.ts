import { HallpassError } from '../errors.ts'

/** Why an attestation is refused: the reason for counters and logs, and what its caller is told. */
const refusals = {
  size: 'it is too large',
  encoding: 'it is not a JWS in its canonical compact form',
  json: 'its header or its payload is not a strict JSON object',
  header: 'its header has a member that is not accepted',
  crit: 'its header asks for an extension',
  typ: 'its type is not that of an attestation',
  alg: 'its algorithm is not accepted',
  own_token: 'it claims to come from this broker',
  issuer_unknown: 'its issuer is not a configured trust source',
  svid_expected: 'it is not a JWT-SVID of a configured trust domain',
  kid_missing: 'it names no key',
  kid_unknown: 'its issuer has no such key',
  key_mismatch: 'its key does not fit its algorithm',
  key_ambiguous: 'more than one key fits it',
  signature: 'its signature does not verify',
  claims: 'a claim is missing or has the wrong type',
  subject: 'its subject is not accepted',
  audience: 'its audience is not this broker',
  expired: 'it has expired',
  not_yet_valid: 'it is not valid yet',
  authorized_party: 'it was issued to another client',
  login_too_old: 'its login is too long ago',
  required_claim: 'it lacks a claim that its trust source requires',
  claims_collide: 'two of its claims have the same name',
  claims_too_many: 'it has too many claims, or too large ones',
  keys_too_large: 'the keys of its issuer cannot be used',
  keys_malformed: 'the keys of its issuer cannot be used',
  keys_refused: 'the keys of its issuer cannot be used',
  keys_older: 'the keys of its issuer cannot be used',
} as const

/** Why keys cannot be had right now: a later try may succeed. */
export type AbsenceReason = 'keys_timeout' | 'keys_unreachable'
export type RefusalReason = keyof typeof refusals | AbsenceReason

/**
 * The error for an attestation that is not accepted: `attestation_invalid`. Its cause's message is the reason alone, never
 * anything of the attestation.
 */
export function refuse(reason: keyof typeof refusals): HallpassError {
  return new HallpassError('attestation_invalid', `The attestation is refused: ${refusals[reason]}.`, {
    cause: new Error(reason),
  })
}

/** The error for keys that are away: `unavailable`, with the seconds after which to try again. */
export function absent(reason: AbsenceReason, retryAfter = 1): HallpassError {
  return new HallpassError('unavailable', 'The keys of the attestation’s issuer cannot be had right now.', {
    cause: new Error(reason),
    retryAfter,
  })
}
