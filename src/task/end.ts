import type { Transaction } from '../store/database.ts'
import type { Revocation } from '../store/revocations.ts'
import type { Task } from '../store/task-record.ts'
import { updateTask } from '../store/tasks.ts'
import { beginSilence, closeDescendants, stopSilence } from '../store/tree.ts'

/** The task as it is once it is closed. */
export const closed = (task: Task, closeReason: Task['closeReason'], closedAt: Date): Task => ({
  ...task,
  state: 'closed',
  closeReason,
  closedAt,
  rev: task.rev + 1,
})

/**
 * Writes a change of a task whose tree is held, with what it does to the tree: everything below a task that closes closes with it.
 * Answers what the change means for the revocation record: one row, however many tasks and credentials it is about; none where it
 * kills and revives nothing. A suspended task and a new `ver` touch no row below: what was minted there names its ancestors.
 */
export async function writeChange(
  tx: Transaction,
  before: Task,
  after: Task,
  at: Date,
): Promise<Revocation[]> {
  await updateTask(tx, after)
  if (after.state === before.state && after.ver === before.ver) return []
  if (after.state !== before.state) await carryDown(tx, after, at)
  const { id: taskId, state, ver, deadline: until } = after
  const reason = after.closeReason ?? (after.ver === before.ver ? state : 'context_changed')
  return [{ at, taskId, state, ver, reason, until }]
}

async function carryDown(tx: Transaction, task: Task, at: Date): Promise<void> {
  if (task.state === 'closed') await closeDescendants(tx, [task], at)
  else if (task.state === 'suspended') await stopSilence(tx, task)
  else await beginSilence(tx, task, at)
}
