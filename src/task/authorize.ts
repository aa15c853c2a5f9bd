import type { Action, Ask, Decision, TaskAction } from '../decide/decision.ts'
import { HallpassError } from '../errors.ts'
import type { Asker } from '../observe/asker.ts'
import type { Event } from '../observe/record.ts'
import type { Task } from '../store/task-record.ts'
import type { TaskDeps } from './deps.ts'
import { viewOf } from './view.ts'

/** What a Hallpass token is good for at the broker itself, on its own task (contract §3). */
const tokenActions: ReadonlySet<Action> = new Set(['read', 'heartbeat', 'close'])

/** Puts one question to policy about a task, in the caller's name. */
export function decideOn(
  deps: Pick<TaskDeps, 'decide' | 'clock'>,
  asker: Asker,
  task: Task,
  action: TaskAction,
): Decision {
  if (asker.token && (asker.token.taskId !== task.id || !tokenActions.has(action)))
    return {
      allow: false,
      policies: [],
      reason: 'a Hallpass token may do only this on its own task',
      ttl: null,
      binding: null,
      version: '',
    }
  return deps.decide({ ...circumstances(deps, asker), action, task: viewOf(task, asker) })
}

/** The members that every question shares. */
export const circumstances = (
  { clock }: Pick<TaskDeps, 'clock'>,
  { principal, address }: Asker,
): Pick<Ask, 'caller' | 'now' | 'ip'> => ({ caller: principal, now: clock(), ip: address })

export const mayRead = (deps: Pick<TaskDeps, 'decide' | 'clock'>, asker: Asker, task: Task): boolean =>
  decideOn(deps, asker, task, 'read').allow

/**
 * Passes where policy allows the action on the task. Throws `not_found` where the caller may not even read it: to such a caller
 * it is not there (contract §3); `refused` otherwise.
 */
export function authorize(
  deps: Pick<TaskDeps, 'decide' | 'clock'>,
  event: Event,
  task: Task | null,
  action: TaskAction,
): asserts task is Task {
  if (!task) throw new HallpassError('not_found', 'There is no such task.')
  event.task = task
  const read = decideOn(deps, event.asker, task, 'read')
  if (!read.allow) {
    event.decisions.push(read)
    throw new HallpassError('not_found', 'There is no such task.')
  }
  const decision = action === 'read' ? read : decideOn(deps, event.asker, task, action)
  event.decisions.push(decision)
  if (!decision.allow) throw new HallpassError('refused', `Policy does not allow ${action} on this task.`)
}
