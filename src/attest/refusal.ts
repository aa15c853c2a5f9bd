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
  certificate: 'it is not a chain of certificates in strict DER',
  chain_size: 'it has too many certificates, or too large ones',
  own_certificate: 'it claims to be of this broker’s own trust domain',
  uri: 'its certificate does not have exactly one URI',
  names: 'its certificate has no subject, and its other names are not critical',
  authority: 'its certificate is an authority’s, or does not say that it is none',
  key_usage: 'its certificate’s key is not, or not only, for signing',
  ext_key_usage: 'a certificate of its chain is not for clients',
  weak_key: 'a key or a signature of its chain is not accepted',
  critical_extension: 'a certificate of its chain has a critical extension that is not known',
  signer: 'a certificate of its chain may not sign others',
  signer_domain: 'a certificate of its chain is of another trust domain',
  path_length: 'its chain is longer than an authority allows',
  name_constraints: 'a certificate of its chain has a name that an authority may not give',
  policies: 'its chain does not have the policies that an authority asks for',
  path: 'it leads to no authority of its trust domain',
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
