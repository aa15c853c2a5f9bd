import type { Task } from '../store/task-record.ts'

/** The task as it is once it is closed. */
export const closed = (task: Task, closeReason: Task['closeReason'], closedAt: Date): Task => ({
  ...task,
  state: 'closed',
  closeReason,
  closedAt,
  rev: task.rev + 1,
})
