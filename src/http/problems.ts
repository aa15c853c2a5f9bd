import type { ErrorRequestHandler, Request, Response } from 'express'
import type { Logger } from 'pino'
import { type ErrorCode, HallpassError, publicCode } from '../errors.ts'
import type { Unproven } from '../observe/unproven.ts'
import { addressOf } from './address.ts'
import { challenge } from './challenge.ts'
import { oauthError } from './oauth/errors.ts'
import { presentedBy } from './presented.ts'
import { requestIdOf } from './request-id.ts'

/** The one place where codes become statuses (contract §9). */
const problems: Record<ErrorCode, { status: number; title: string }> = {
  malformed: { status: 400, title: 'Malformed request' },
  unsupported_grant_type: { status: 400, title: 'Malformed request' },
  invalid_target: { status: 400, title: 'Malformed request' },
  attestation_missing: { status: 401, title: 'No proof of who asks' },
  attestation_invalid: { status: 401, title: 'The proof of who asks is not valid' },
  attestation_reused: { status: 401, title: 'The attestation was used before' },
  refused: { status: 403, title: 'Refused' },
  blocked: { status: 403, title: 'Blocked' },
  context_drift: { status: 403, title: 'The attestation differs from the task’s context' },
  not_found: { status: 404, title: 'Not found' },
  task_unknown: { status: 404, title: 'Not found' },
  wrong_state: { status: 409, title: 'The task’s state does not allow it' },
  task_closed: { status: 409, title: 'The task is closed' },
  task_suspended: { status: 409, title: 'The task is suspended' },
  task_changed: { status: 409, title: 'The task has changed' },
  precondition_failed: { status: 412, title: 'Precondition failed' },
  too_large: { status: 413, title: 'Too large' },
  unsupported_media_type: { status: 415, title: 'Unsupported media type' },
  invalid: { status: 422, title: 'Wrong shape' },
  rate_limited: { status: 429, title: 'Too many requests' },
  internal: { status: 500, title: 'A fault of the broker' },
  unavailable: { status: 503, title: 'Not available' },
}

/** Answers every error: OAuth's own form under /oauth2, a problem document (RFC 9457) elsewhere. */
export function errorHandler({ log, unproven }: { log: Logger; unproven: Unproven }): ErrorRequestHandler {
  // Express tells error handlers by their four parameters.
  return (thrown: unknown, request, response, _next) => {
    const error = hallpassError(thrown)
    const requestId = requestIdOf(response)
    if (error.code === 'internal') log.error({ err: thrown, request_id: requestId }, 'a fault of the broker')
    else if (error.code === 'unavailable')
      log.warn({ cause: causeOf(error), request_id: requestId }, 'something that is needed is away')
    // Whoever was known has the refusal's row already; of others it is counted and sampled.
    if (error.decisionId === undefined && error.code !== 'internal')
      unproven(error, { requestId, address: addressOf(request), proof: presentedBy(response) })
    if (response.headersSent) return request.destroy()

    if (error.retryAfter !== undefined) response.set('Retry-After', String(error.retryAfter))
    if (isOauth(request)) oauthError(response, error)
    else problem(response, error, requestId)
  }
}

function problem(response: Response, error: HallpassError, requestId: string): void {
  const { status, title } = problems[error.code]
  const code = publicCode(error.code)
  if (status === 401) response.set('WWW-Authenticate', challenge(error))
  response
    .status(status)
    .set('Cache-Control', 'no-store')
    .type('application/problem+json')
    .send(
      JSON.stringify({
        type: `urn:hallpass:problem:${code}`,
        title,
        status,
        detail: error.message,
        code,
        request_id: requestId,
        ...(error.decisionId && { decision_id: error.decisionId }),
        ...(error.paths && { errors: error.paths }),
      }),
    )
}

const isOauth = ({ method, path }: Request): boolean =>
  method === 'POST' && /(^|\/)oauth2\/(token|introspect|revoke)$/.test(path)

/** What express and its body readers throw, in our words. */
function hallpassError(thrown: unknown): HallpassError {
  if (thrown instanceof HallpassError) return thrown
  const { status, type } = (typeof thrown === 'object' && thrown !== null ? thrown : {}) as {
    status?: unknown
    type?: unknown
  }
  if (type === 'entity.too.large') return new HallpassError('too_large', 'The body is too large.')
  if (status === 415)
    return new HallpassError('unsupported_media_type', 'The body’s encoding is not accepted.')
  if (typeof status === 'number' && status >= 400 && status < 500)
    return new HallpassError('malformed', 'The request cannot be read.', { cause: thrown })
  return new HallpassError('internal', 'Something went wrong in the broker.', { cause: thrown })
}

function causeOf({ cause }: HallpassError): string {
  return cause instanceof Error ? cause.message : 'unknown'
}
