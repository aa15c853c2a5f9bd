import { ownDecision } from '../observe/own-decision.ts'
import type { Database } from '../store/database.ts'
import { writeDecisions } from '../store/decisions.ts'
import { appendRevocations } from '../store/revocations.ts'
import type { Task } from '../store/task-record.ts'
import { lockTask, silentAt, updateTask } from '../store/tasks.ts'
import { closed } from './closed.ts'

/** Whether the task is past its deadline, or silent past its heartbeat: over, and about to be closed by the sweeper. */
export function isDue(task: Task, now: number): boolean {
  const silent = silentAt(task)
  return task.deadline.getTime() <= now || (silent !== null && silent.getTime() <= now)
}

/** Closes a task that is due, as the sweeper would within seconds. */
export async function closeIfDue(db: Database, id: string, now: number): Promise<void> {
  await db.transaction(async tx => {
    const task = await lockTask(tx, id)
    if (!task || task.state === 'closed' || !isDue(task, now)) return
    const ended = closed(task, task.deadline.getTime() <= now ? 'expired' : 'silent', new Date(now))
    await updateTask(tx, ended)
    await writeDecisions(tx, [ownDecision(ended, new Date(now))])
    const { state, ver, closeReason, deadline: until } = ended
    await appendRevocations(tx, [
      { at: new Date(now), taskId: id, state, ver, reason: closeReason ?? state, until },
    ])
  })
}
