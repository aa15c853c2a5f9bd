import { ownDecision } from '../observe/own-decision.ts'
import type { Database } from '../store/database.ts'
import { writeDecisions } from '../store/decisions.ts'
import { appendRevocations } from '../store/revocations.ts'
import type { Task } from '../store/task-record.ts'
import { silentAt } from '../store/tasks.ts'
import { inTree } from '../store/tree.ts'
import { closed, writeChange } from './end.ts'

/**
 * Whether the task is past its deadline, or it or a task above it silent past its heartbeat: over, and about to be closed by the
 * sweeper.
 */
export function isDue(task: Task, now: number): boolean {
  const silent = [silentAt(task)?.getTime() ?? null, ...task.ancestors.map(ancestor => ancestor.silentAt)]
  return task.deadline.getTime() <= now || silent.some(at => at !== null && at <= now)
}

/** Closes a task that is due, as the sweeper would within seconds; as silent, too, where the silence is that of a task above it. */
export async function closeIfDue(db: Database, id: string, now: number): Promise<void> {
  await inTree(db, id, async (tx, task) => {
    if (!task || task.state === 'closed' || !isDue(task, now)) return
    const at = new Date(now)
    const ended = closed(task, task.deadline.getTime() <= now ? 'expired' : 'silent', at)
    const revocations = await writeChange(tx, task, ended, at)
    await writeDecisions(tx, [ownDecision(ended, at)])
    await appendRevocations(tx, revocations)
  })
}
