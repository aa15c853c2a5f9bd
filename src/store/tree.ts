import type { Database, Transaction } from './database.ts'
import type { Task } from './task-record.ts'
import { type TaskRow, taskColumns, taskOf } from './tasks.ts'

const lockRoot = {
  name: 'tree_lock',
  text: `SELECT ${taskColumns} FROM tasks t WHERE t.id = (SELECT root_id FROM tasks WHERE id = $1) FOR UPDATE OF t`,
}
const lockRootFree = { name: 'tree_lock_free_root', text: `${lockRoot.text} SKIP LOCKED` }
const readRoot = { name: 'tree_read_root', text: 'SELECT root_id FROM tasks WHERE id = $1' }
const holdRoots = 'SELECT id FROM tasks WHERE id = ANY ($1::uuid[]) ORDER BY id FOR SHARE'
const holdRootsFree = { name: 'tree_hold_free', text: `${holdRoots} SKIP LOCKED` }
const holdRootsWaiting = { name: 'tree_hold_waiting', text: holdRoots }
const lockRoots = {
  name: 'tree_lock_free',
  text: 'SELECT id FROM tasks WHERE id = ANY ($1::uuid[]) ORDER BY id FOR UPDATE SKIP LOCKED',
}
const read = { name: 'tree_read', text: `SELECT ${taskColumns} FROM tasks t WHERE t.id = $1` }
const closeBelow = {
  name: 'tree_close_below',
  text: `UPDATE tasks SET state = 'closed', close_reason = 'parent_closed', closed_at = $3, silent_at = NULL, rev = rev + 1
    WHERE root_id = ANY ($1::uuid[]) AND parent_id IS NOT NULL AND state <> 'closed' AND path && $2::uuid[]`,
}
const silenceStops = {
  name: 'tree_silence_stops',
  text: `UPDATE tasks SET silent_at = NULL
    WHERE root_id = $1 AND parent_id IS NOT NULL AND state <> 'closed' AND $2 = ANY (path) AND silent_at IS NOT NULL`,
}
const silenceBegins = {
  name: 'tree_silence_begins',
  text: `UPDATE tasks t SET last_heartbeat_at = $3, silent_at = $3::timestamptz + t.heartbeat_timeout * interval '1 second'
    WHERE t.root_id = $1 AND t.parent_id IS NOT NULL AND t.state = 'open' AND $2 = ANY (t.path) AND t.heartbeat_timeout IS NOT NULL
      AND NOT EXISTS (SELECT FROM tasks a WHERE a.id = ANY (t.path) AND a.state <> 'open')`,
}

/**
 * Reads the task and holds its whole tree, until the transaction ends, against every other change, against reservations, and against
 * children being opened. The lock is a statement of its own: what is read after it is what it holds (a statement that waited for a
 * lock would see the rest of the tree as it was before).
 */
export async function lockTree(tx: Transaction, id: string, statement = lockRoot): Promise<Task | null> {
  const [root] = await tx.query<TaskRow>(statement, [id])
  if (!root || root.id === id) return root ? taskOf(root) : null
  const [row] = await tx.query<TaskRow>(read, [id])
  return row ? taskOf(row) : null
}

export interface Stay {
  /** Does not wait behind what is not. */
  urgent?: boolean
  /** Does not wait behind any workload: an operator's, an authority's, the broker's own. */
  isOrder?: boolean
}

/**
 * A transaction that holds the tree of a task as `lockTree` does. Where somebody else is changing it, those who come meanwhile take one
 * connection between them: a tree that takes its time to end holds up no other.
 */
export async function inTree<T>(
  db: Database,
  id: string,
  work: (tx: Transaction, task: Task | null) => Promise<T>,
  { urgent = false, isOrder = false }: Stay = {},
): Promise<T> {
  const first = await db.transaction(async tx => {
    const task = await lockTree(tx, id, lockRootFree)
    const [busy] = task ? [] : await tx.query<{ root_id: string }>(readRoot, [id])
    return busy ? { busy: busy.root_id } : { done: await work(tx, task) }
  })
  if ('done' in first) return first.done
  const held = () => db.transaction(async tx => work(tx, await lockTree(tx, id)))
  return (isOrder ? db.waitingToEnd : db.waiting)(first.busy, held, { urgent })
}

/**
 * Holds trees against ending and against every change, as many may at the same time; answers the roots that are held. Those that are
 * being changed at this moment are waited for, or passed over.
 */
export async function holdTrees(tx: Transaction, roots: string[], wait: boolean): Promise<string[]> {
  const rows = await tx.query<{ id: string }>(wait ? holdRootsWaiting : holdRootsFree, [roots])
  return rows.map(({ id }) => id)
}

/** Holds those of the trees that nobody else is changing at this moment; answers their roots. */
export async function lockFreeTrees(tx: Transaction, roots: string[]): Promise<string[]> {
  return (await tx.query<{ id: string }>(lockRoots, [roots])).map(({ id }) => id)
}

type Place = Pick<Task, 'id' | 'rootId'>

/** Closes everything below these tasks, whose trees are held. */
export async function closeDescendants(tx: Transaction, tasks: Place[], at: Date): Promise<void> {
  if (tasks.length === 0) return
  await tx.query(closeBelow, [[...new Set(tasks.map(task => task.rootId))], tasks.map(task => task.id), at])
}

/** Below a suspended task nobody is expected to beat. */
export async function stopSilence(tx: Transaction, { id, rootId }: Place): Promise<void> {
  await tx.query(silenceStops, [rootId, id])
}

/** What was silent because a task above it was suspended counts its silence from now. */
export async function beginSilence(tx: Transaction, { id, rootId }: Place, now: Date): Promise<void> {
  await tx.query(silenceBegins, [rootId, id, now])
}
