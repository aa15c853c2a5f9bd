import { batched } from './batch.ts'
import type { Database, Transaction } from './database.ts'
import type { DecisionRow } from './decision-row.ts'
import { writeDecisions } from './decisions.ts'
import { isUnavailable } from './failure.ts'
import { endedRuns } from './names.ts'
import type { Task } from './task-record.ts'
import { nameKey, silentAt } from './tasks.ts'
import { consumeUses, type Use } from './uses.ts'

/** A task about to be opened. */
export interface Opening {
  task: Task
  /** The blocks that it was checked against (`block_gate`). */
  generation: string
  /** Keys of the runs that it is part of: where the end of one is remembered, it is over before it began. */
  runs: Buffer[]
  /** Set where the attestation may be used once. */
  use: Use | null
  decision: DecisionRow
}

/**
 * `taken`: the name is another task's, and nothing was written. `ended`: a run that it is part of is over. `reused`: the attestation was
 * used before. `stale`: the blocks or a task above it have changed since it was decided; read again and decide again.
 */
export type Opened = 'opened' | 'taken' | 'ended' | 'reused' | 'stale'

const holdGate = { name: 'open_hold_gate', text: 'SELECT generation FROM block_gate FOR SHARE' }
const holdRoot = { name: 'open_hold_root', text: 'SELECT id FROM tasks WHERE id = $1 FOR SHARE' }
const readAbove = {
  name: 'open_read_above',
  text: 'SELECT id, state, rev, deadline, silent_at FROM tasks WHERE id = ANY ($1::uuid[])',
}

const claimNames = {
  name: 'open_claim_names',
  // In one order on every replica, so that two of them never wait for each other.
  text: `INSERT INTO task_names (name_key, task_id)
    SELECT name_key, id FROM jsonb_to_recordset($1::jsonb) AS t (id uuid, name_key bytea) ORDER BY name_key
    ON CONFLICT DO NOTHING RETURNING task_id AS id`,
}
const columns = `id, trust, kind, ref, name_key, templated, purpose, principal, subject, state, context, bind, ver, rev, opened_at,
  deadline, heartbeat_timeout, silent_at, parent_id, root_id, path`
const insertTasks = {
  name: 'open_insert_tasks',
  text: `INSERT INTO tasks (${columns})
    SELECT ${columns} FROM jsonb_to_recordset($1::jsonb) AS t (id uuid, trust text, kind text, ref text, name_key bytea,
      templated boolean, purpose text, principal text, subject text, state text, context jsonb, bind text[], ver integer,
      rev integer, opened_at timestamptz, deadline timestamptz, heartbeat_timeout integer, silent_at timestamptz,
      parent_id uuid, root_id uuid, path uuid[])
    ORDER BY name_key
    ON CONFLICT DO NOTHING RETURNING id`,
}

/**
 * Opens tasks: those that come while one transaction is being written share the next one, as reservations do. A child is opened on its
 * own: it waits for whoever is changing its tree, and nobody waits with it.
 */
export function opener(db: Database): (opening: Opening) => Promise<Opened> {
  const together = batched<Opening, Opened>(openings => db.transaction(tx => open(tx, openings)), {
    most: 200,
    isShared: isUnavailable,
  })
  return opening =>
    opening.task.parentId === null
      ? together(opening)
      : db.transaction(async tx => (await open(tx, [opening]))[0] ?? 'stale')
}

async function open(tx: Transaction, openings: Opening[]): Promise<Opened[]> {
  const [gate] = await tx.query<{ generation: string }>(holdGate, [])
  const over = await endedRuns(
    tx,
    openings.flatMap(({ runs }) => runs),
  )
  const ended = new Set(openings.filter(({ runs }) => runs.some(run => over.has(run.toString('hex')))))
  const stale = new Set<Opening>()
  for (const opening of openings)
    if (opening.generation !== gate?.generation || !(await aboveStands(tx, opening.task))) stale.add(opening)

  // First: an attestation that was used before must leave nothing behind.
  const using = openings.filter(opening => opening.use && !stale.has(opening) && !ended.has(opening))
  const mine = await consumeUses(
    tx,
    using.map(opening => opening.use as Use),
  )
  const reused = new Set(using.filter((_, i) => !mine[i]))
  const fit = openings.filter(opening => !reused.has(opening) && !stale.has(opening) && !ended.has(opening))

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
    if (stale.has(opening)) return 'stale'
    if (ended.has(opening)) return 'ended'
    if (reused.has(opening)) return 'reused'
    return opened.has(opening.task.id) ? 'opened' : 'taken'
  })
}

/**
 * Holds the tree that a child is to be part of against ending, and checks that the tasks above it are as they were when it was decided.
 * The lock is a statement of its own: whatever ends the tree waits for the child, or the child sees its end.
 */
async function aboveStands(tx: Transaction, { ancestors, openedAt, deadline }: Task): Promise<boolean> {
  const [root] = ancestors
  if (!root) return true
  await tx.query(holdRoot, [root.id])
  const rows = await tx.query<{
    id: string
    state: string
    rev: number
    deadline: Date
    silent_at: Date | null
  }>(readAbove, [ancestors.map(({ id }) => id)])
  return ancestors.every(({ id, rev }) => {
    const row = rows.find(found => found.id === id)
    return (
      row !== undefined &&
      row.state === 'open' &&
      row.rev === rev &&
      row.deadline > openedAt &&
      row.deadline >= deadline &&
      (row.silent_at === null || row.silent_at > openedAt)
    )
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
  parent_id: task.parentId,
  root_id: task.rootId,
  path: task.ancestors.map(({ id }) => id),
})
