import { HallpassError } from '../errors.ts'
import type { Event } from '../observe/record.ts'
import { descendantsMost } from '../store/open.ts'
import type { Ancestor, Task } from '../store/task-record.ts'
import { findTask, silentAt } from '../store/tasks.ts'
import { authorize, circumstances } from './authorize.ts'
import type { TaskDeps } from './deps.ts'
import { isDue } from './due.ts'
import { viewOf } from './view.ts'

/** The task that another is to be opened below. Throws `not_found` where the caller may not read it: to it, it is not there. */
export async function readParent(deps: TaskDeps, event: Event, id: string): Promise<Task> {
  const parent = await findTask(deps.db, id)
  authorize(deps, event, parent, 'read')
  return parent
}

/** Throws `refused` where policy does not let the caller open that child. */
export function mayOpenChild(deps: TaskDeps, event: Event, parent: Task, task: Task): void {
  const decision = deps.decide({
    ...circumstances(deps, event.asker),
    action: 'open_child',
    parent: viewOf(parent, event.asker),
    task: { ...viewOf(task, event.asker), owner: task.principal },
  })
  event.decisions.push(decision)
  if (!decision.allow) throw new HallpassError('refused', 'Policy does not allow to open this child.')
}

/** Throws `task_closed`, `task_suspended`, or `invalid` where the tree would be deeper than `depth_max`. */
export function mustBearChild({ clock, tasks }: TaskDeps, parent: Task): void {
  if (parent.state === 'closed' || isDue(parent, clock()))
    throw new HallpassError('task_closed', 'The parent is closed.')
  if (parent.state === 'suspended' || parent.ancestors.some(({ state }) => state !== 'open'))
    throw new HallpassError('task_suspended', 'The parent is suspended.')
  if (parent.ancestors.length >= tasks.depthMax)
    throw parentFault(`has ${parent.ancestors.length} tasks above it, and depth_max is ${tasks.depthMax}`)
}

export const fullTree = (): HallpassError =>
  parentFault(`is in a tree that has ${descendantsMost} open tasks below its root, which is the most`)

const parentFault = (message: string): HallpassError =>
  new HallpassError('invalid', 'The task cannot be opened so.', { paths: [{ path: '/parent_id', message }] })

/** A task as its children see it. */
export const ancestorOf = (task: Task): Ancestor => ({
  id: task.id,
  state: task.state,
  ver: task.ver,
  rev: task.rev,
  deadline: task.deadline.getTime(),
  silentAt: silentAt(task)?.getTime() ?? null,
})
