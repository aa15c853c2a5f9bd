import type { Asker } from '../observe/asker.ts'
import { allowed, newEvent, refusalsLogged } from '../observe/record.ts'
import type { Task } from '../store/task-record.ts'
import { findTask, listTasks, type TaskFilter } from '../store/tasks.ts'
import { authorize, mayRead } from './authorize.ts'
import type { TaskDeps } from './deps.ts'

/** Throws `not_found` for what the caller may not read, as for what is not there. */
export async function readTask(
  deps: TaskDeps,
  asker: Asker,
  id: string,
  asked: Record<string, unknown> = {},
): Promise<Task> {
  const event = newEvent(asker, 'read', deps.clock(), asked)
  return refusalsLogged(event, deps.writeDecision, async () => {
    const task = await findTask(deps.db, id)
    authorize(deps, event, task, 'read')
    await deps.writeDecision(allowed(event))
    return task
  })
}

export interface Page<T> {
  items: T[]
  next: string | null
}

/** Rows looked at for one page at the most: a caller who may read few of many gets short pages, not slow ones. */
const scanMost = 2_000

/** The tasks that the caller may read, newest first. A page can be short, even empty, and have a `next`. */
export async function searchTasks(
  deps: TaskDeps,
  asker: Asker,
  filter: TaskFilter,
  page: { cursor: string | null; limit: number },
): Promise<Page<Task>> {
  const event = newEvent(asker, 'read', deps.clock(), { tasks: filter })
  const items: Task[] = []
  let cursor = page.cursor
  for (let scanned = 0; scanned < scanMost; ) {
    const size = Math.max(page.limit, 100)
    const rows = await listTasks(deps.db, filter, cursor, size)
    scanned += rows.length
    for (const task of rows) {
      cursor = task.id
      if (mayRead(deps, asker, task)) items.push(task)
      if (items.length === page.limit) break
    }
    if (items.length === page.limit) break
    if (rows.length < size) {
      cursor = null
      break
    }
  }
  await deps.writeDecision(allowed(event))
  return { items, next: cursor }
}
