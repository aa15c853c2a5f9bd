import { systemClock } from '../clock.ts'
import { firstIdAt } from '../ids.ts'
import type { Transaction } from './database.ts'

/** Whose tasks are meant: of a principal, of a trust source, or all there are. */
export type Selector = { principal: string } | { trust: string } | { everything: true }

/** What a bulk revocation ends. */
export interface BulkCount {
  tasks: number
  /** Those that are live. */
  credentials: number
}

/** Milliseconds that one statement may take: there can be very many tasks. */
export const bulkPatience = 60_000

/** Where nothing is selected this matches nothing, never everything. */
const isMeant = (task: string): string => `(${task}.principal = $1 OR ${task}.trust = $2 OR $3::boolean)`

/**
 * Whether a task that is not closed ends: it is meant, or one above it is. Each is looked up by itself, so that no plan is a bad one,
 * whatever statistics the server has: a path is short.
 */
const isDoomed = `t.state <> 'closed' AND (${isMeant('t')} OR EXISTS (
        SELECT FROM unnest(t.path) AS above (id) JOIN tasks a ON a.id = above.id WHERE ${isMeant('a')}
      ))`

const lockRoots = {
  name: 'bulk_lock_roots',
  text: `SELECT count(*) FROM (
      SELECT r.id FROM tasks r WHERE r.id IN (SELECT t.root_id FROM tasks t WHERE t.state <> 'closed' AND ${isMeant('t')})
      ORDER BY r.id FOR UPDATE
    ) AS held`,
}
const lockTimeout = { name: 'bulk_lock_timeout', text: `SELECT set_config('lock_timeout', $1, true)` }
const longest = { name: 'bulk_longest', text: 'SELECT coalesce(max(ttl_max), 0) AS ttl FROM signing_keys' }
const count = {
  name: 'bulk_count',
  text: `SELECT (SELECT count(*) FROM tasks t WHERE ${isDoomed})::integer AS tasks, (
      SELECT count(*) FROM tasks t JOIN credentials c ON c.task_id = t.id JOIN signing_keys k ON k.kid = c.kid
      WHERE ${isDoomed}
        AND c.jti >= $5 AND c.expires_at > $4 AND c.revoked_at IS NULL AND k.withdrawn_at IS NULL
        AND t.state = 'open' AND t.deadline > $4 AND t.ver <= c.task_ver
        AND cardinality(t.path) = coalesce(cardinality(c.path_vers), 0)
        AND NOT EXISTS (
          SELECT FROM unnest(t.path, c.path_vers) AS above (id, ver) JOIN tasks a ON a.id = above.id
          WHERE a.state <> 'open' OR a.ver > above.ver
        )
    )::integer AS credentials`,
}
const close = {
  name: 'bulk_close',
  text: `UPDATE tasks AS t SET state = 'closed', closed_at = $4, silent_at = NULL, rev = t.rev + 1,
      close_reason = CASE WHEN ${isMeant('t')} THEN 'revoked' ELSE 'parent_closed' END
    WHERE ${isDoomed}`,
}

/**
 * Holds the trees of all tasks that are meant, in one order, so that two who do this never wait for each other. `patience` is how long
 * it waits for one of them, in milliseconds: nothing is opened meanwhile.
 */
export async function lockTreesOf(tx: Transaction, selector: Selector, patience: number): Promise<void> {
  await tx.query(lockTimeout, [String(patience)])
  await tx.query(lockRoots, valuesOf(selector))
  await tx.query(lockTimeout, [String(bulkPatience)])
}

/** What `closeAllOf` would end now. */
export async function countAllOf(tx: Transaction, selector: Selector, now: Date): Promise<BulkCount> {
  const oldest = await oldestAlive(tx)
  const [row] = await tx.query<{ tasks: number; credentials: number }>(count, [
    ...valuesOf(selector),
    now,
    oldest,
  ])
  return { tasks: row?.tasks ?? 0, credentials: row?.credentials ?? 0 }
}

/** Closes all that is meant as `revoked`, and as `parent_closed` what is only below it. Their trees are held. */
export async function closeAllOf(tx: Transaction, selector: Selector, at: Date): Promise<void> {
  await tx.query(close, [...valuesOf(selector), at])
}

/**
 * No credential with an earlier `jti` can be alive: of all that was ever minted, no more than that has to be looked at. IDs have the
 * machine's time, whatever the broker's clock says; an hour for how much machines may differ.
 */
async function oldestAlive(tx: Transaction): Promise<string> {
  const [row] = await tx.query<{ ttl: string }>(longest, [])
  return firstIdAt(systemClock() - Number(row?.ttl ?? 0) - 3_600_000)
}

const valuesOf = (selector: Selector): unknown[] => [
  'principal' in selector ? selector.principal : null,
  'trust' in selector ? selector.trust : null,
  'everything' in selector,
]
