import { HallpassError } from '../errors.ts'
import type { Asker } from '../observe/asker.ts'
import type { Outcome, Task } from '../store/task-record.ts'
import { outcomes } from '../store/task-record.ts'
import { changeTask, mustLive } from './change.ts'
import type { TaskDeps } from './deps.ts'
import { closed } from './end.ts'

/** An operator's or a workload's own words on why, for the log. */
export interface Reason {
  reason?: string | undefined
}

/** Closes a task. Repeating it changes nothing. Throws `invalid` for an outcome that only operators may give. */
export function closeTask(
  deps: TaskDeps,
  asker: Asker,
  id: string,
  { outcome = 'completed', reason }: Reason & { outcome?: Outcome | undefined },
): Promise<Task> {
  return changeTask(deps, asker, id, {
    action: 'close',
    asked: { outcome, reason },
    apply(task, now) {
      if (asker.principal.kind !== 'operator' && !outcomes.some(o => o === outcome))
        throw new HallpassError('invalid', 'This outcome is for operators.', {
          paths: [{ path: '/outcome', message: 'is for operators' }],
        })
      if (task.state === 'closed') return task
      return closed(task, task.deadline <= now ? 'expired' : outcome, now)
    },
  })
}

export function suspendTask(deps: TaskDeps, asker: Asker, id: string, { reason }: Reason): Promise<Task> {
  return changeTask(deps, asker, id, {
    action: 'suspend',
    asked: { reason },
    apply(task, now) {
      mustLive(task, now)
      if (task.state === 'suspended') throw new HallpassError('wrong_state', 'The task is suspended already.')
      return { ...task, state: 'suspended', rev: task.rev + 1 }
    },
  })
}

/**
 * Credentials of before that have not expired live again, except below a task that is suspended itself. The silence of the suspension
 * does not count.
 */
export function resumeTask(deps: TaskDeps, asker: Asker, id: string, { reason }: Reason): Promise<Task> {
  return changeTask(deps, asker, id, {
    action: 'resume',
    asked: { reason },
    apply(task, now) {
      mustLive(task, now)
      if (task.state === 'open') throw new HallpassError('wrong_state', 'The task is not suspended.')
      const lastHeartbeatAt = task.heartbeatTimeout === null ? task.lastHeartbeatAt : now
      return { ...task, state: 'open', lastHeartbeatAt, rev: task.rev + 1 }
    },
  })
}

/** `rev` stays: nothing that a decision rests on has changed. */
export function heartbeat(deps: TaskDeps, asker: Asker, id: string, { reason }: Reason): Promise<Task> {
  return changeTask(deps, asker, id, {
    action: 'heartbeat',
    asked: { reason },
    apply(task, now) {
      mustLive(task, now)
      if (task.state !== 'open') throw new HallpassError('wrong_state', 'The task is suspended.')
      // One that had to wait may be older than the last.
      return { ...task, lastHeartbeatAt: now < (task.lastHeartbeatAt ?? now) ? task.lastHeartbeatAt : now }
    },
  })
}

/** Re-signs nothing: the deadline is no part of a credential's identity. Throws `invalid` past `deadline_max` or for an earlier one. */
export function extendTask(
  deps: TaskDeps,
  asker: Asker,
  id: string,
  { deadline, reason }: Reason & { deadline: Date },
): Promise<Task> {
  return changeTask(deps, asker, id, {
    action: 'extend',
    asked: { deadline, reason },
    apply(task, now) {
      mustLive(task, now)
      if (deadline < task.deadline) throw deadlineFault('is earlier than the present one')
      if (deadline.getTime() > task.openedAt.getTime() + deps.tasks.deadlineMax)
        throw deadlineFault('is later than deadline_max after the task was opened')
      if (deadline.getTime() > (task.ancestors.at(-1)?.deadline ?? Number.POSITIVE_INFINITY))
        throw deadlineFault('is later than the parent’s')
      return { ...task, deadline, rev: task.rev + 1 }
    },
  })
}

export const deadlineFault = (message: string): HallpassError =>
  new HallpassError('invalid', 'The deadline does not fit.', { paths: [{ path: '/deadline', message }] })
