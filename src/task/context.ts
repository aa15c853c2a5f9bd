import { HallpassError } from '../errors.ts'
import type { Asker } from '../observe/asker.ts'
import type { Task } from '../store/task-record.ts'
import { changeTask, mustLive } from './change.ts'
import type { TaskDeps } from './deps.ts'

/** Members of a context at the most. */
export const contextMost = 64

/** A merge patch (RFC 7396) of a flat record: a value sets, `null` removes. */
export type ContextPatch = Record<string, string | null>

/**
 * Changes the context. Where a bound key's value changes, `ver` grows, and with it every credential minted before is dead; the task
 * stays open. Throws `precondition_failed` when `ifMatch` is given and is not the task's entity tag.
 */
export function changeContext(
  deps: TaskDeps,
  asker: Asker,
  id: string,
  patch: ContextPatch,
  ifMatch: (task: Task) => boolean,
): Promise<Task> {
  return changeTask(deps, asker, id, {
    action: 'change_context',
    asked: { patch: shortened(patch) },
    apply(task, now) {
      if (!ifMatch(task)) throw new HallpassError('precondition_failed', 'The task is not as If-Match says.')
      mustLive(task, now)
      const context = patched(task.context, patch)
      const changed = changedKeys(task.context, context)
      if (changed.length === 0) return task
      if (Object.keys(context).length > contextMost)
        throw new HallpassError('invalid', 'The context has too many members.', {
          paths: [{ path: '', message: `makes more than ${contextMost} members` }],
        })
      const ver = changed.some(key => task.bind.includes(key)) ? task.ver + 1 : task.ver
      return { ...task, context, ver, rev: task.rev + 1 }
    },
  })
}

/** For the log: a refused patch must not be a way to fill it. */
const shortened = (patch: ContextPatch): ContextPatch =>
  Object.fromEntries(
    Object.entries(patch).map(([key, value]) => [
      key,
      value && value.length > 200 ? `${value.slice(0, 200)}…` : value,
    ]),
  )

function patched(context: Record<string, string>, patch: ContextPatch): Record<string, string> {
  const members = new Map(Object.entries(context))
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) members.delete(key)
    else members.set(key, value)
  }
  return Object.fromEntries(members)
}

function changedKeys(before: Record<string, string>, after: Record<string, string>): string[] {
  return [...new Set([...Object.keys(before), ...Object.keys(after)])].filter(
    key => Object.hasOwn(before, key) !== Object.hasOwn(after, key) || before[key] !== after[key],
  )
}
