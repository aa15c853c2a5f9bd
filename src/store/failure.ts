import pg from 'pg'
import { HallpassError } from '../errors.ts'

/**
 * SQLSTATE classes (PostgreSQL, appendix A) that a later try may mend: connection lost, transaction rolled back by a
 * deadlock or serialization, out of resources, operator intervention, lock not available, read-only after a failover, disk.
 */
const passing = /^(08|40|53|57|58|25006|55P03)/

const networkCodes = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ENOENT',
  'EACCES',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOTFOUND',
  'EAI_AGAIN',
])

/** What pg says without a code when a connection is gone or was never had. */
const networkWords =
  /connection terminated|timeout exceeded when trying to connect|query read timeout|client has encountered a connection error|cannot use a pool after calling end|client was closed|connection ended/i

/**
 * A database error as the other rooms meet it: `unavailable` where trying again makes sense. Anything else is a fault of
 * ours and passes as it is, to become `internal` at the door.
 */
export function failureOf(error: unknown): unknown {
  if (error instanceof HallpassError) return error
  if (isPassing(error))
    return new HallpassError('unavailable', 'Storage is not available.', { cause: error, retryAfter: 1 })
  return error
}

/** The answer of a query that was built with Kysely, its errors as the other rooms meet them. */
export async function answered<T>(query: Promise<T>): Promise<T> {
  try {
    return await query
  } catch (error) {
    throw failureOf(error)
  }
}

export const isUnavailable = (error: unknown): boolean =>
  error instanceof HallpassError && error.code === 'unavailable'

/**
 * Whether the transaction was ended because it and another waited for each other (deadlock_detected), or because it did not get a lock in
 * its time (lock_not_available): it can be done again at once.
 */
export const isAboutLocks = (error: unknown): boolean =>
  error instanceof HallpassError &&
  error.cause instanceof pg.DatabaseError &&
  (error.cause.code === '40P01' || error.cause.code === '55P03')

function isPassing(error: unknown): boolean {
  if (error instanceof pg.DatabaseError) return passing.test(error.code ?? '')
  if (!(error instanceof Error)) return false
  const { code } = error as { code?: unknown }
  if (typeof code === 'string' && networkCodes.has(code)) return true
  if (error instanceof AggregateError) return error.errors.some(isPassing)
  return networkWords.test(error.message)
}
