import { batched } from './batch.ts'
import type { Database, Transaction } from './database.ts'
import type { DecisionRow } from './decision-row.ts'
import { writeDecisions } from './decisions.ts'
import { isUnavailable } from './failure.ts'
import type { Task } from './task-record.ts'
import { nameKey, silentAt } from './tasks.ts'
import { consumeUses, type Use } from './uses.ts'

/** A task about to be opened. */
export interface Opening {
  task: Task
  /** Set where the attestation may be used once. */
  use: Use | null
  decision: DecisionRow
}

/** `taken`: the name is another task's, and nothing was written. `reused`: the attestation was used before. */
export type Opened = 'opened' | 'taken' | 'reused'

const claimNames = {
  name: 'open_claim_names',
  // In one order on every replica, so that two of them never wait for each other.
  text: `INSERT INTO task_names (name_key, task_id)
    SELECT name_key, id FROM jsonb_to_recordset($1::jsonb) AS t (id uuid, name_key bytea) ORDER BY name_key
    ON CONFLICT DO NOTHING RETURNING task_id AS id`,
}
const columns = `id, trust, kind, ref, name_key, templated, purpose, principal, subject, state, context, bind, ver, rev, opened_at,
  deadline, heartbeat_timeout, silent_at`
const insertTasks = {
  name: 'open_insert_tasks',
  text: `INSERT INTO tasks (${columns})
    SELECT ${columns} FROM jsonb_to_recordset($1::jsonb) AS t (id uuid, trust text, kind text, ref text, name_key bytea,
      templated boolean, purpose text, principal text, subject text, state text, context jsonb, bind text[], ver integer,
      rev integer, opened_at timestamptz, deadline timestamptz, heartbeat_timeout integer, silent_at timestamptz)
    ORDER BY name_key
    ON CONFLICT DO NOTHING RETURNING id`,
}

/** Opens tasks: those that come while one transaction is being written share the next one, as reservations do. */
export function opener(db: Database): (opening: Opening) => Promise<Opened> {
  return batched(openings => db.transaction(tx => open(tx, openings)), { most: 200, isShared: isUnavailable })
}

async function open(tx: Transaction, openings: Opening[]): Promise<Opened[]> {
  // First: an attestation that was used before must leave nothing behind.
  const using = openings.filter(opening => opening.use)
  const mine = await consumeUses(
    tx,
    using.map(opening => opening.use as Use),
  )
  const reused = new Set(using.filter((_, i) => !mine[i]))
  const fit = openings.filter(opening => !reused.has(opening))

  const claimed = await idsOf(
    tx,
    claimNames,
    fit.filter(({ task }) => task.templated),
  )
  const opened = await idsOf(
    tx,
    insertTasks,
    fit.filter(({ task }) => !task.templated || claimed.has(task.id)),
  )
  const written = fit.filter(({ task }) => opened.has(task.id))
  if (written.length > 0)
    await writeDecisions(
      tx,
      written.map(({ decision }) => decision),
    )
  return openings.map(opening => {
    if (reused.has(opening)) return 'reused'
    return opened.has(opening.task.id) ? 'opened' : 'taken'
  })
}

async function idsOf(
  tx: Transaction,
  statement: typeof claimNames,
  openings: Opening[],
): Promise<Set<string>> {
  if (openings.length === 0) return new Set()
  const rows = await tx.query<{ id: string }>(statement, [
    JSON.stringify(openings.map(({ task }) => taskJson(task))),
  ])
  return new Set(rows.map(row => row.id))
}

const taskJson = (task: Task): Record<string, unknown> => ({
  id: task.id,
  trust: task.trust,
  kind: task.kind,
  ref: task.ref,
  name_key: `\\x${nameKey(task).toString('hex')}`,
  templated: task.templated,
  purpose: task.purpose,
  principal: task.principal,
  subject: task.subject,
  state: task.state,
  context: task.context,
  bind: task.bind,
  ver: task.ver,
  rev: task.rev,
  opened_at: task.openedAt,
  deadline: task.deadline,
  heartbeat_timeout: task.heartbeatTimeout,
  silent_at: silentAt(task),
})
