import type { Task } from '../store/task-record.ts'
import { silentAt } from '../store/tasks.ts'

/** Whether the task is past its deadline, or silent past its heartbeat: over, and about to be closed by the sweeper. */
export function isDue(task: Task, now: number): boolean {
  const silent = silentAt(task)
  return task.deadline.getTime() <= now || (silent !== null && silent.getTime() <= now)
}
