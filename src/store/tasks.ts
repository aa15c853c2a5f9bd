import { createHash } from 'node:crypto'
import { type Selectable, sql } from 'kysely'
import { batched } from './batch.ts'
import type { Database, Transaction } from './database.ts'
import { answered, isUnavailable } from './failure.ts'
import type { Tables } from './tables.ts'
import type { Task, TaskState } from './task-record.ts'

/** A row of `taskColumns`. */
export type TaskRow = Omit<Selectable<Tables['tasks']>, 'name_key' | 'silent_at' | 'path'> & {
  ancestors: AncestorRow[] | null
}

interface AncestorRow {
  id: string
  state: TaskState
  ver: number
  rev: number
  deadline: number
  silent_at: number | null
}

/** The ancestors of the task `t`, root first; null at the root. */
const ancestors = `CASE WHEN t.parent_id IS NOT NULL THEN (
    SELECT jsonb_agg(jsonb_build_object('id', a.id, 'state', a.state, 'ver', a.ver, 'rev', a.rev,
      'deadline', extract(epoch FROM a.deadline) * 1000, 'silent_at', extract(epoch FROM a.silent_at) * 1000) ORDER BY cardinality(a.path))
    FROM tasks a WHERE a.id = ANY (t.path)
  ) END`

/** Everything of a task, as columns of the table `t`. */
export const taskColumns = `t.id, t.trust, t.kind, t.ref, t.templated, t.purpose, t.principal, t.subject, t.state, t.close_reason,
  t.context, t.bind, t.ver, t.rev, t.opened_at, t.deadline, t.heartbeat_timeout, t.last_heartbeat_at, t.closed_at, t.parent_id,
  t.root_id, ${ancestors} AS ancestors`

const byId = { name: 'task_by_id', text: `SELECT ${taskColumns} FROM tasks t WHERE t.id = $1` }
const byName = {
  name: 'task_by_name',
  text: `SELECT ${taskColumns} FROM tasks t WHERE t.name_key = $1 AND NOT t.templated AND t.state <> 'closed'`,
}
const byTemplatedNames = {
  name: 'tasks_by_templated_names',
  text: `SELECT encode(n.name_key, 'hex') AS key, ${taskColumns}
    FROM task_names n LEFT JOIN tasks t ON t.id = n.task_id WHERE n.name_key = ANY ($1::bytea[])`,
}
const update = {
  name: 'task_update',
  text: `UPDATE tasks SET state = $2, close_reason = $3, context = $4, ver = $5, rev = $6, deadline = $7, last_heartbeat_at = $8,
      silent_at = $9, closed_at = $10
    WHERE id = $1`,
}

/** What names a task: with a template (trust, ref), for ever; elsewhere (trust, principal, ref), while it is not closed. */
export interface TaskName {
  trust: string
  principal: string
  ref: string
  templated: boolean
}

export async function findTask(db: Database, id: string): Promise<Task | null> {
  const [row] = await db.query<TaskRow>(byId, [id])
  return row ? taskOf(row) : null
}

/** The task of that name; `ended` where the name was used by a task that is no longer kept. */
export type ByName = (name: TaskName) => Promise<Task | 'ended' | null>

/** Finds tasks by name: one statement for all templated names that are asked for at the same time. */
export function nameReader(db: Database): ByName {
  const readTemplated = batched<string, Task | 'ended' | null>(
    async keys => {
      const buffers = [...new Set(keys)].map(key => Buffer.from(key, 'hex'))
      const rows = await db.query<TaskRow & { key: string }>(byTemplatedNames, [buffers])
      const found = new Map(rows.map(row => [row.key, row.id === null ? ('ended' as const) : taskOf(row)]))
      return keys.map(key => found.get(key) ?? null)
    },
    { most: 500, isShared: isUnavailable },
  )
  return async name => {
    const key = nameKey(name)
    if (name.templated) return readTemplated(key.toString('hex'))
    const [row] = await db.query<TaskRow>(byName, [key])
    return row ? taskOf(row) : null
  }
}

/** Writes what of a task can change. */
export async function updateTask(tx: Transaction, task: Task): Promise<void> {
  await tx.query(update, [
    task.id,
    task.state,
    task.closeReason,
    JSON.stringify(task.context),
    task.ver,
    task.rev,
    task.deadline,
    task.lastHeartbeatAt,
    silentAt(task),
    task.closedAt,
  ])
}

export interface TaskFilter {
  state?: TaskState | undefined
  kind?: string | undefined
  ref?: string | undefined
  principal?: string | undefined
  parent?: string | undefined
}

/** Newest first; `before` is the ID of the last task of the page before. */
export async function listTasks(
  db: Database,
  filter: TaskFilter,
  before: string | null,
  limit: number,
): Promise<Task[]> {
  let query = db.kysely
    .selectFrom('tasks as t')
    .selectAll('t')
    .select(sql<TaskRow['ancestors']>`${sql.raw(ancestors)}`.as('ancestors'))
    .orderBy('t.id', 'desc')
    .limit(limit)
  if (before) query = query.where('t.id', '<', before)
  if (filter.state) query = query.where('t.state', '=', filter.state)
  if (filter.kind !== undefined) query = query.where('t.kind', '=', filter.kind)
  if (filter.parent !== undefined) query = query.where('t.parent_id', '=', filter.parent)
  for (const name of ['ref', 'principal'] as const) {
    const value = filter[name]
    if (value === undefined) continue
    const column = `t.${name}` as const
    // The index is on a hash: refs and principals can be longer than an index row.
    query = query
      .where(sql<boolean>`hashtextextended(${sql.ref(column)}, 0) = hashtextextended(${value}, 0)`)
      .where(column, '=', value)
  }
  return (await answered(query.execute())).map(taskOf)
}

/** When silence ends the task; null while it cannot. A suspended task is not expected to beat, nor is one below it. */
export function silentAt(task: Task): Date | null {
  if (task.state !== 'open' || task.heartbeatTimeout === null) return null
  if (task.ancestors.some(({ state }) => state !== 'open')) return null
  return new Date((task.lastHeartbeatAt ?? task.openedAt).getTime() + task.heartbeatTimeout * 1000)
}

export function nameKey({ trust, principal, ref, templated }: TaskName): Buffer {
  return createHash('sha256')
    .update(JSON.stringify(templated ? [trust, ref] : [trust, principal, ref]))
    .digest()
}

export function taskOf(row: TaskRow): Task {
  return {
    id: row.id,
    trust: row.trust,
    kind: row.kind,
    ref: row.ref,
    templated: row.templated,
    purpose: row.purpose,
    principal: row.principal,
    subject: row.subject,
    state: row.state,
    closeReason: row.close_reason,
    context: row.context,
    bind: row.bind,
    ver: row.ver,
    rev: row.rev,
    openedAt: row.opened_at,
    deadline: row.deadline,
    heartbeatTimeout: row.heartbeat_timeout,
    lastHeartbeatAt: row.last_heartbeat_at,
    closedAt: row.closed_at,
    parentId: row.parent_id,
    rootId: row.root_id,
    ancestors: (row.ancestors ?? []).map(({ id, state, ver, rev, deadline, silent_at }) => ({
      id,
      state,
      ver,
      rev,
      deadline,
      silentAt: silent_at,
    })),
  }
}
