/**
 * The closed set of codes that a caller can meet, in OAuth answers and in problem documents alike.
 * This file knows nothing of HTTP: `http/problems.ts` alone maps codes to statuses.
 */
export const errorCodes = [
  'malformed',
  'invalid',
  'unsupported_grant_type',
  'invalid_target',
  'attestation_missing',
  'attestation_invalid',
  'attestation_reused',
  'context_drift',
  'task_closed',
  'task_suspended',
  'task_unknown',
  'task_changed',
  'blocked',
  'refused',
  'not_found',
  'wrong_state',
  'precondition_failed',
  'too_large',
  'unsupported_media_type',
  'rate_limited',
  'unavailable',
  'internal',
] as const

export type ErrorCode = (typeof errorCodes)[number]

/** Codes as the outside meets them: two that OAuth's `error` tells apart are both `malformed` there (contract §4). */
export type PublicCode = Exclude<ErrorCode, 'unsupported_grant_type' | 'invalid_target'>

export const publicCode = (code: ErrorCode): PublicCode =>
  code === 'unsupported_grant_type' || code === 'invalid_target' ? 'malformed' : code

export interface ErrorOptions {
  /** What really happened: for the log, never for the caller. */
  cause?: unknown
  /** The decision that refused, in `GET /v1/decisions`. */
  decisionId?: string
  /** With `invalid`: each place in the body that is wrong, as a JSON Pointer, and what is wrong there. */
  paths?: { path: string; message: string }[]
  /** With `unavailable` and `rate_limited`: seconds until trying again makes sense. */
  retryAfter?: number
}

/** The one error class. `message` is safe to show to the caller: it holds no upstream text and no secret. */
export class HallpassError extends Error {
  override readonly name = 'HallpassError'
  readonly code: ErrorCode
  readonly decisionId: string | undefined
  readonly paths: { path: string; message: string }[] | undefined
  readonly retryAfter: number | undefined

  constructor(code: ErrorCode, message: string, options: ErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.decisionId = options.decisionId
    this.paths = options.paths
    this.retryAfter = options.retryAfter
  }
}
