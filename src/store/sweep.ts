import { firstIdAt } from '../ids.ts'
import type { Database, Transaction } from './database.ts'
import type { Task } from './task-record.ts'
import { type TaskRow, taskColumns, taskOf } from './tasks.ts'
import { closeDescendants, lockFreeTrees, lockTree } from './tree.ts'

/** Any constants will do, as long as they stay the same. */
const sweeperLock = 7_255_842

const lock = { name: 'sweep_lock', text: 'SELECT pg_try_advisory_xact_lock($1) AS mine' }
// What is below one that is due is left out here already: it may be more than one round takes, and closes with it.
const due = `SELECT id, root_id FROM tasks t WHERE state <> 'closed' AND (deadline <= $1 OR silent_at <= $1)
    AND NOT EXISTS (SELECT FROM tasks a WHERE a.id = ANY (t.path) AND a.state <> 'closed' AND (a.deadline <= $1 OR a.silent_at <= $1))`
const dueElsewhere = {
  name: 'sweep_due_elsewhere',
  text: `${due} AND root_id <> ALL ($3::uuid[]) ORDER BY deadline LIMIT $2`,
}
const dueInTree = { name: 'sweep_due_in_tree', text: `${due} AND root_id = $3 ORDER BY deadline LIMIT $2` }
const closeDue = {
  name: 'sweep_close_due',
  // Those that are still due now that their trees are held.
  text: `UPDATE tasks AS t SET state = 'closed', close_reason = CASE WHEN deadline <= $1 THEN 'expired' ELSE 'silent' END,
      closed_at = $1, silent_at = NULL, rev = rev + 1
    WHERE id = ANY ($2::uuid[]) AND root_id = ANY ($3::uuid[]) AND state <> 'closed' AND (deadline <= $1 OR silent_at <= $1)
    RETURNING ${taskColumns}`,
}

/** Whether this transaction is the one that sweeps: the lock is the transaction's, and goes with it. */
export async function lockSweep(tx: Transaction): Promise<boolean> {
  const [row] = await tx.query<{ mine: boolean }>(lock, [sweeperLock])
  return row?.mine === true
}

/** A round of closing what is due: how many were found, the topmost of each branch, and those of them that were closed. */
export interface Due {
  found: number
  closed: Task[]
  /** Roots of trees that somebody else was changing, or minting for, at this moment. */
  busy: string[]
}

interface Found {
  id: string
  root_id: string
}

/** Closes tasks past their deadline or silent past their heartbeat, and everything below them. Waits for nobody; `except` are roots. */
export async function closeDueTasks(
  tx: Transaction,
  now: Date,
  most: number,
  except: string[],
): Promise<Due> {
  const found = await tx.query<Found>(dueElsewhere, [now, most, except])
  const roots = [...new Set(found.map(row => row.root_id))]
  const held = roots.length > 0 ? await lockFreeTrees(tx, roots) : []
  return {
    found: found.length,
    closed: await closeFound(tx, now, found, held),
    busy: roots.filter(root => !held.includes(root)),
  }
}

/** The same for one tree, which is waited for: one that is minted for without a pause is never free. */
export async function closeDueInTree(tx: Transaction, now: Date, most: number, root: string): Promise<Due> {
  await lockTree(tx, root)
  const found = await tx.query<Found>(dueInTree, [now, most, root])
  return { found: found.length, closed: await closeFound(tx, now, found, [root]), busy: [] }
}

async function closeFound(tx: Transaction, now: Date, found: Found[], held: string[]): Promise<Task[]> {
  if (found.length === 0) return []
  const closed = (await tx.query<TaskRow>(closeDue, [now, found.map(({ id }) => id), held])).map(taskOf)
  await closeDescendants(tx, closed, now)
  return closed
}

export interface Cutoffs {
  /** Tasks closed before, credentials that expired before and decisions taken before are no longer kept. */
  retention: Date
  /** What only guards against the living: uses of attestations and revocations that can matter no more. */
  harmless: Date
}

const prunings: { table: string; text: string; values: (cutoffs: Cutoffs) => unknown[] }[] = [
  {
    table: 'credentials',
    text: 'DELETE FROM credentials WHERE jti IN (SELECT jti FROM credentials WHERE jti < $1 AND expires_at < $2 ORDER BY jti LIMIT $3)',
    values: ({ retention }) => [firstIdAt(retention.getTime()), retention],
  },
  {
    table: 'decisions',
    text: 'DELETE FROM decisions WHERE id IN (SELECT id FROM decisions WHERE id < $1 AND at < $2 ORDER BY id LIMIT $3)',
    values: ({ retention }) => [firstIdAt(retention.getTime()), retention],
  },
  {
    table: 'tasks',
    text: `DELETE FROM tasks WHERE id IN (SELECT id FROM tasks WHERE state = 'closed' AND closed_at < $1 ORDER BY closed_at LIMIT $2)`,
    values: ({ retention }) => [retention],
  },
  {
    // Names of tasks stay for ever; ends that came before any task are remembered as long as tasks are kept.
    table: 'task_names',
    text: `DELETE FROM task_names WHERE name_key IN (
      SELECT name_key FROM task_names WHERE ended_at < $1 ORDER BY ended_at LIMIT $2)`,
    values: ({ retention }) => [retention],
  },
  {
    table: 'attestation_uses',
    text: `DELETE FROM attestation_uses WHERE use_key IN (
      SELECT use_key FROM attestation_uses WHERE acceptable_until < $1 ORDER BY acceptable_until LIMIT $2)`,
    values: ({ harmless }) => [harmless],
  },
  {
    table: 'status_lists',
    text: 'DELETE FROM status_lists WHERE id IN (SELECT id FROM status_lists WHERE ends_at < $1 ORDER BY ends_at LIMIT $2)',
    values: ({ harmless }) => [harmless],
  },
  {
    table: 'revocations',
    text: 'DELETE FROM revocations WHERE seq IN (SELECT seq FROM revocations WHERE until < $1 ORDER BY until LIMIT $2)',
    values: ({ harmless }) => [harmless],
  },
  {
    table: 'blocks',
    text: 'DELETE FROM blocks WHERE id IN (SELECT id FROM blocks WHERE until < $1 ORDER BY until LIMIT $2)',
    values: ({ harmless }) => [harmless],
  },
]

/**
 * Removes what is no longer kept, a bounded number of rows of each table; answers whether there may be more. One replica at a time:
 * the others have nothing to do meanwhile.
 */
export async function prune(db: Database, cutoffs: Cutoffs, most: number): Promise<boolean> {
  let more = false
  for (const { table, text, values } of prunings) {
    const rows = await db.transaction(async tx => {
      if (!(await lockSweep(tx))) return []
      return tx.query({ name: `prune_${table}`, text: `${text} RETURNING 1` }, [...values(cutoffs), most])
    })
    if (rows.length === most) more = true
  }
  return more
}
