import { challenge } from './challenge.ts'

/** What is told of each reason: safe to show to the caller. Quotation marks and backslashes may not be in it (RFC 6750 §3). */
const reasons = {
  token_missing: 'No access token was sent.',
  certificate_missing: 'No client certificate was presented.',
  request_malformed: 'The Authorization header cannot be read.',
  forwarded_malformed: 'The header with the client certificate cannot be read.',
  scope_insufficient: 'The scope that is needed was not granted.',

  token_malformed: 'The token cannot be read.',
  token_type_wrong: 'The token is not an access token.',
  algorithm_refused: 'The algorithm of the signature is not accepted.',
  signature_wrong: 'The signature is wrong.',
  issuer_wrong: 'The token is from another issuer.',
  audience_wrong: 'It is for another audience.',
  token_expired: 'The token has expired.',
  token_not_yet_valid: 'The token is not valid yet.',
  claims_malformed: 'A claim is missing or has the wrong shape.',
  binding_unproven: 'The token is bound to a key, which cannot be checked here.',
  binding_missing: 'The token is bound to a client certificate, and none was presented.',
  binding_wrong: 'The token is bound to another client certificate.',
  key_unknown: 'The signing key is not published.',
  key_withdrawn: 'The signing key was withdrawn.',
  keys_unavailable: 'The signing keys could not be loaded.',

  certificate_malformed: 'The certificate cannot be read.',
  certificate_type_wrong: 'The certificate is not one of a task.',
  certificate_usage_wrong: 'The certificate is not for this usage.',
  certificate_extension_unknown: 'The certificate has a critical extension that is not understood.',
  certificate_name_refused: 'The certificate has a name that its authority may not give.',
  certificate_expired: 'The certificate has expired.',
  certificate_not_yet_valid: 'The certificate is not valid yet.',
  authority_unknown: 'The authority that signed the certificate is not published.',
  authority_expired: 'The authority that signed the certificate is not valid now.',
  authorities_unavailable: 'The authorities could not be loaded.',

  task_closed: 'The task is closed.',
  task_suspended: 'The task is suspended.',
  task_changed: 'The context of the task has changed.',
  credential_revoked: 'It was revoked.',
  credential_suspended: 'It is suspended.',

  status_missing: 'Whether the token is revoked is not known, and it names no status list.',
  status_foreign: 'The status list that the token names is not of its issuer.',
  status_unreachable: 'Whether the token is revoked is not known: neither feed nor status list can be had.',
  status_malformed: 'The status list cannot be read.',
  status_key_refused: 'The status list is not signed by a key of the issuer.',
  status_other: 'The status list is another one.',
  status_stale: 'The status list is too old.',
  status_out_of_range: 'The status list has no such index.',
  status_unknown: 'The status list says what is not understood.',

  crl_unreachable:
    'Whether the certificate is revoked is not known: neither feed nor revocation list can be had.',
  crl_malformed: 'The revocation list cannot be read.',
  crl_signature_wrong: 'The revocation list is not signed by the authority.',
  crl_other: 'The revocation list is of another authority, or not a complete one.',
  crl_stale: 'The revocation list is too old.',

  verifier_closed: 'The verifier is closed.',
} as const

/** Why a token or a certificate was refused: a closed set. */
export type RefusalCode = keyof typeof reasons

/** Every refusal code, for tables and metrics. */
export const refusalCodes: readonly RefusalCode[] = Object.keys(reasons) as RefusalCode[]

/** The error code of RFC 6750 §3.1; null where no credential was sent, for then none may be told. */
export type OAuthError = 'invalid_request' | 'invalid_token' | 'insufficient_scope' | null

/**
 * The one error of this package: a request that may not go on. Whatever is not a clear yes is one.
 *
 * `message` holds no secret and nothing that the token or the broker said, and may be shown to the caller.
 */
export class VerifierRefusal extends Error {
  override readonly name = 'VerifierRefusal'
  /** Why. */
  readonly code: RefusalCode
  /** The status to answer with: 401, but 400 for a request that cannot be read and 403 for a missing scope. */
  readonly status: 400 | 401 | 403
  readonly error: OAuthError
  /** Value of the `WWW-Authenticate` header to answer with (RFC 6750 §3). */
  readonly challenge: string

  /**
   * @param options.scope the scope that was needed, for the challenge of `scope_insufficient`
   * @param options.cause what really happened: for the log, never for the caller
   */
  constructor(code: RefusalCode, options: { scope?: string | undefined; cause?: unknown } = {}) {
    super(reasons[code], options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.error = errorOf(code)
    this.status = this.error === 'invalid_request' ? 400 : this.error === 'insufficient_scope' ? 403 : 401
    const description = this.error === null ? null : `${code}: ${reasons[code]}`
    this.challenge = challenge({ error: this.error, description, scope: options.scope })
  }
}

function errorOf(code: RefusalCode): OAuthError {
  if (code === 'token_missing' || code === 'certificate_missing') return null
  if (code === 'request_malformed' || code === 'forwarded_malformed') return 'invalid_request'
  return code === 'scope_insufficient' ? 'insufficient_scope' : 'invalid_token'
}
