import type { Response } from 'express'
import { type ErrorCode, type HallpassError, publicCode } from '../../errors.ts'
import { NoScopePasses } from '../../mint/ask.ts'
import { challenge } from '../challenge.ts'

/** How the attestation came in: it decides which error its faults are (contract §4, table). */
export type Role = 'subject' | 'assertion' | 'client' | 'bearer'

const faultOfAttestation: Record<Role, string> = {
  subject: 'invalid_request',
  assertion: 'invalid_grant',
  client: 'invalid_client',
  bearer: 'invalid_token',
}

const errors: Partial<Record<ErrorCode, { status: number; error: string }>> = {
  unsupported_grant_type: { status: 400, error: 'unsupported_grant_type' },
  invalid_target: { status: 400, error: 'invalid_target' },
  task_closed: { status: 400, error: 'invalid_grant' },
  task_suspended: { status: 400, error: 'invalid_grant' },
  task_unknown: { status: 400, error: 'invalid_grant' },
  task_changed: { status: 400, error: 'invalid_grant' },
  too_large: { status: 413, error: 'invalid_request' },
  unsupported_media_type: { status: 415, error: 'invalid_request' },
  rate_limited: { status: 429, error: 'slow_down' },
  internal: { status: 500, error: 'server_error' },
  unavailable: { status: 503, error: 'temporarily_unavailable' },
}

/** Answers an error as RFC 6749 §5.2, RFC 8693 §2.2.2 and RFC 7523 §3 want it, with our `code` beside it. */
export function oauthError(response: Response, failure: HallpassError): void {
  const { status, error } = formOf(failure, roleOf(response))
  if (status === 401) response.set('WWW-Authenticate', challenge(failure))
  response
    .status(status)
    .set('Cache-Control', 'no-store')
    .json({
      error,
      error_description: plain(failure.message),
      code: publicCode(failure.code),
      ...(failure.decisionId && { decision_id: failure.decisionId }),
    })
}

function formOf(failure: HallpassError, role: Role): { status: number; error: string } {
  switch (failure.code) {
    case 'attestation_missing':
    case 'attestation_invalid':
    case 'attestation_reused':
    case 'context_drift':
      return { status: role === 'client' || role === 'bearer' ? 401 : 400, error: faultOfAttestation[role] }
    case 'refused':
      if (role === 'bearer') return { status: 403, error: 'unauthorized_client' }
      return {
        status: 400,
        error: failure.cause instanceof NoScopePasses ? 'invalid_target' : 'invalid_scope',
      }
    case 'blocked':
      return role === 'bearer'
        ? { status: 403, error: 'unauthorized_client' }
        : { status: 400, error: 'invalid_grant' }
    default:
      return errors[failure.code] ?? { status: 400, error: 'invalid_request' }
  }
}

/** `error_description` has no other characters (RFC 6749 §5.2). */
const plain = (text: string): string =>
  text
    .replaceAll('’', "'")
    .replaceAll('"', "'")
    .replace(/[^\x20-\x21\x23-\x5b\x5d-\x7e]/g, '?')

export const setRole = (response: Response, role: Role): void => {
  response.locals.role = role
}

const roleOf = (response: Response): Role => (response.locals.role as Role | undefined) ?? 'subject'
