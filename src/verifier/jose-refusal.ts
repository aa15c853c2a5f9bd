import { errors } from 'jose'
import { type RefusalCode, VerifierRefusal } from './refusal.ts'

const codes: Record<string, RefusalCode> = {
  [errors.JWTExpired.code]: 'token_expired',
  [errors.JWTInvalid.code]: 'token_malformed',
  [errors.JWSInvalid.code]: 'token_malformed',
  [errors.JOSEAlgNotAllowed.code]: 'algorithm_refused',
  [errors.JOSENotSupported.code]: 'token_malformed',
  [errors.JWSSignatureVerificationFailed.code]: 'signature_wrong',
  [errors.JWKSNoMatchingKey.code]: 'key_unknown',
  [errors.JWKSMultipleMatchingKeys.code]: 'key_unknown',
}

const claims: Record<string, RefusalCode> = {
  typ: 'token_type_wrong',
  iss: 'issuer_wrong',
  aud: 'audience_wrong',
  nbf: 'token_not_yet_valid',
}

/** jose's errors in our words. What is not about the token is about the keys that it needs. */
export function refusalOf(error: unknown): VerifierRefusal {
  return new VerifierRefusal(codeOf(error), { cause: error })
}

export const isUnknownKey = (error: unknown): boolean => error instanceof errors.JWKSNoMatchingKey

function codeOf(error: unknown): RefusalCode {
  if (error instanceof errors.JWTClaimValidationFailed)
    return error.reason === 'check_failed' ? (claims[error.claim] ?? 'claims_malformed') : 'claims_malformed'
  return (error instanceof errors.JOSEError ? codes[error.code] : undefined) ?? 'keys_unavailable'
}
