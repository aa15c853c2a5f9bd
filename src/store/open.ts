import { batched, batchedBy } from './batch.ts'
import type { Database, Transaction } from './database.ts'
import type { DecisionRow } from './decision-row.ts'
import { writeDecisions } from './decisions.ts'
import { isUnavailable } from './failure.ts'
import { endedRuns } from './names.ts'
import type { Task } from './task-record.ts'
import { nameKey, silentAt } from './tasks.ts'
import { holdTrees } from './tree.ts'
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
 * used before. `stale`: the blocks or a task above it have changed since it was decided; read again and decide again. `full`: its tree
 * has `descendantsMost` open tasks below its root.
 */
export type Opened = 'opened' | 'taken' | 'ended' | 'reused' | 'stale' | 'full'

/**
 * Open tasks below one root, or a few more where several are opened at once. They all end in one transaction, which has its time limit: a
 * tree without a bound could become too large to be ended.
 */
export const descendantsMost = 20_000

const holdGate = { name: 'open_hold_gate', text: 'SELECT generation FROM block_gate FOR SHARE' }
const readAbove = {
  name: 'open_read_above',
  text: 'SELECT id, state, rev, deadline, silent_at FROM tasks WHERE id = ANY ($1::uuid[])',
}
const findLast = {
  name: 'open_find_last',
  text: `SELECT 1 FROM tasks WHERE root_id = $1 AND parent_id IS NOT NULL AND state <> 'closed' OFFSET $2 LIMIT 1`,
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
 * Opens tasks: those that come while one transaction is being written share the next one, as reservations do. Children of a tree that is
 * being changed at that moment wait for it, together, and nobody else waits with them.
 */
export function opener(db: Database): (opening: Opening) => Promise<Opened> {
  const options = { most: 200, isShared: isUnavailable }
  const write = (openings: Opening[], wait: boolean) => db.transaction(tx => open(tx, openings, wait))

  const waitForTree = batchedBy<Opening, Opened>(
    ({ task }) => task.rootId,
    async openings => {
      const answers = await db.waiting(openings[0]?.task.rootId ?? '', () => write(openings, true))
      // What is not there even for whoever waits is gone.
      return answers.map(answer => (answer === 'busy' ? 'stale' : answer))
    },
    options,
  )
  const passOver = async (openings: Opening[]) =>
    (await write(openings, false)).map((answer, i) =>
      answer === 'busy' ? waitForTree(openings[i] as Opening) : answer,
    )
  const roots = batched<Opening, Opened>(passOver, options)
  const children = batched<Opening, Opened>(passOver, options)
  return opening => (opening.task.parentId === null ? roots(opening) : children(opening))
}

async function open(tx: Transaction, openings: Opening[], wait: boolean): Promise<(Opened | 'busy')[]> {
  const [gate] = await tx.query<{ generation: string }>(holdGate, [])
  const over = await endedRuns(
    tx,
    openings.flatMap(({ runs }) => runs),
  )
  const above = await aboveStands(tx, openings, wait)
  const refused = new Map<Opening, Opened | 'busy'>()
  for (const opening of openings) {
    const stands = above.get(opening) ?? 'stands'
    if (opening.generation !== gate?.generation) refused.set(opening, 'stale')
    else if (opening.runs.some(run => over.has(run.toString('hex')))) refused.set(opening, 'ended')
    else if (stands !== 'stands') refused.set(opening, stands)
  }

  // First: an attestation that was used before must leave nothing behind.
  const using = openings.filter(opening => opening.use && !refused.has(opening))
  const mine = await consumeUses(
    tx,
    using.map(opening => opening.use as Use),
  )
  using.forEach((opening, i) => {
    if (!mine[i]) refused.set(opening, 'reused')
  })
  const fit = openings.filter(opening => !refused.has(opening))

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
  return openings.map(opening => refused.get(opening) ?? (opened.has(opening.task.id) ? 'opened' : 'taken'))
}

interface Above {
  id: string
  state: string
  rev: number
  deadline: Date
  silent_at: Date | null
}

/**
 * Holds the trees that children are to be part of against ending, and checks that the tasks above them are as they were when it was decided.
 * The lock is a statement of its own: whatever ends a tree waits for the child, or the child sees its end.
 */
async function aboveStands(
  tx: Transaction,
  openings: Opening[],
  wait: boolean,
): Promise<Map<Opening, 'stands' | 'stale' | 'full' | 'busy'>> {
  const children = openings.filter(({ task }) => task.parentId !== null)
  if (children.length === 0) return new Map()
  const held = await holdTrees(tx, [...new Set(children.map(({ task }) => task.rootId))], wait)
  const full = new Set<string>()
  for (const root of held)
    if ((await tx.query(findLast, [root, descendantsMost - 1])).length > 0) full.add(root)
  const ids = children.flatMap(({ task }) => task.ancestors.map(({ id }) => id))
  const rows = await tx.query<Above>(readAbove, [[...new Set(ids)]])
  const above = new Map(rows.map(row => [row.id, row]))
  return new Map(
    children.map(opening => {
      const { task } = opening
      if (!held.includes(task.rootId)) return [opening, 'busy']
      if (full.has(task.rootId)) return [opening, 'full']
      return [
        opening,
        task.ancestors.every(({ id, rev }) => bears(task, rev, above.get(id))) ? 'stands' : 'stale',
      ]
    }),
  )
}

const bears = ({ openedAt, deadline }: Task, rev: number, row: Above | undefined): boolean =>
  row !== undefined &&
  row.state === 'open' &&
  row.rev === rev &&
  row.deadline > openedAt &&
  row.deadline >= deadline &&
  (row.silent_at === null || row.silent_at > openedAt)

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
