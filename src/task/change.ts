import type { TaskAction } from '../decide/decision.ts'
import { HallpassError } from '../errors.ts'
import type { Asker } from '../observe/asker.ts'
import { allowed, newEvent, refusalsLogged } from '../observe/record.ts'
import { writeDecisions } from '../store/decisions.ts'
import { appendRevocations } from '../store/revocations.ts'
import type { Task } from '../store/task-record.ts'
import { lockTask, updateTask } from '../store/tasks.ts'
import { authorize } from './authorize.ts'
import type { TaskDeps } from './deps.ts'

export interface Change {
  action: TaskAction
  asked: Record<string, unknown>
  /** The task as it is to be; the same object where there is nothing to change. Throws `wrong_state` where it does not fit. */
  apply: (task: Task, now: Date) => Task
}

/**
 * The story of every change and end of a task, in one transaction: hold the task against reservations, decide on it as it is now,
 * write it, log it, and append to the revocation record what the change killed or revived.
 */
export async function changeTask(
  deps: TaskDeps,
  asker: Asker,
  taskId: string,
  change: Change,
): Promise<Task> {
  const event = newEvent(asker, change.action, deps.clock(), change.asked)
  return refusalsLogged(event, deps.writeDecision, () =>
    deps.db.transaction(async tx => {
      const task = await lockTask(tx, taskId)
      authorize(deps, event, task, change.action)
      const changed = change.apply(task, event.at)
      if (changed !== task) await updateTask(tx, changed)
      await writeDecisions(tx, [allowed(event)])
      if (changed.state !== task.state || changed.ver !== task.ver) {
        const { state, ver, deadline: until } = changed
        const reason = changed.closeReason ?? (changed.ver === task.ver ? changed.state : 'context_changed')
        await appendRevocations(tx, [{ at: event.at, taskId, state, ver, reason, until }])
      }
      return changed
    }),
  )
}

/** Throws `wrong_state` for a task that is closed, or past its deadline and about to be. */
export function mustLive(task: Task, now: Date): void {
  if (task.state === 'closed') throw new HallpassError('wrong_state', 'The task is closed.')
  if (task.deadline <= now) throw new HallpassError('wrong_state', 'The task is past its deadline.')
}
