import type { TaskAction } from '../decide/decision.ts'
import { HallpassError } from '../errors.ts'
import type { Asker } from '../observe/asker.ts'
import { allowed, newEvent, refusalsLogged } from '../observe/record.ts'
import type { Transaction } from '../store/database.ts'
import { writeDecisions } from '../store/decisions.ts'
import { appendRevocations } from '../store/revocations.ts'
import type { Task } from '../store/task-record.ts'
import { findTask } from '../store/tasks.ts'
import { inTree } from '../store/tree.ts'
import { authorize } from './authorize.ts'
import type { TaskDeps } from './deps.ts'
import { writeChange } from './end.ts'

export interface Change {
  action: TaskAction
  asked: Record<string, unknown>
  /** The task as it is to be; the same object where there is nothing to change. Throws `wrong_state` where it does not fit. */
  apply: (task: Task, now: Date) => Task
}

/**
 * The story of every change and end of a task: see who may do it, then in one transaction hold its tree against reservations, decide on it
 * as it is now, write it and what it means for the tree, log it, and append to the revocation record what the change killed or revived.
 */
export async function changeTask(
  deps: TaskDeps,
  asker: Asker,
  taskId: string,
  change: Change,
): Promise<Task> {
  const event = newEvent(asker, change.action, deps.clock(), change.asked)
  const mayDo = (task: Task | null): Task => {
    event.decisions = []
    authorize(deps, event, task, change.action)
    return task
  }
  const write = async (tx: Transaction, found: Task | null): Promise<Task> => {
    const task = mayDo(found)
    const changed = change.apply(task, event.at)
    const revocations = changed === task ? [] : await writeChange(tx, task, changed, event.at)
    await writeDecisions(tx, [allowed(event)])
    await appendRevocations(tx, revocations)
    return changed
  }
  return refusalsLogged(event, deps.writeDecision, async () => {
    // 1. Who has no business with the task never holds its tree, nor waits for it; and what is closed stays closed.
    const seen = mayDo(await findTask(deps.db, taskId))
    if (seen.state === 'closed') {
      const same = change.apply(seen, event.at)
      await deps.writeDecision(allowed(event))
      return same
    }
    // 2. However many beat, and whatever the owner sends: what ends the task is not behind them.
    const isOrder = asker.principal.kind === 'operator'
    return inTree(deps.db, taskId, write, { urgent: ending.has(change.action), isOrder })
  })
}

const ending: ReadonlySet<TaskAction> = new Set(['close', 'suspend', 'change_context'])

/** Throws `wrong_state` for a task that is closed, or past its deadline and about to be. */
export function mustLive(task: Task, now: Date): void {
  if (task.state === 'closed') throw new HallpassError('wrong_state', 'The task is closed.')
  if (task.deadline <= now) throw new HallpassError('wrong_state', 'The task is past its deadline.')
}
