import { LRUCache } from 'lru-cache'
import type { Database } from './database.ts'
import type { Task } from './task-record.ts'
import { findTask, findTaskByName, nameKey, type TaskName } from './tasks.ts'

/** A task as it was when this replica last read it (`recalled`), or as it is now. */
export interface Found<T> {
  task: T
  recalled: boolean
}

/**
 * Finds tasks for mints. What was read before may be answered again: a reservation checks under its lock that the task is still of
 * that `rev`, so an allowance that rests on memory is never acted upon when it is out of date. A refusal that rests on memory
 * has to be taken again on a fresh read.
 */
export interface TaskMemory {
  byId(id: string, fresh: boolean): Promise<Found<Task | null>>
  byName(name: TaskName, fresh: boolean): Promise<Found<Task | 'ended' | null>>
}

/** Tasks that are remembered at the most. */
const most = 10_000

export function taskMemory(db: Database): TaskMemory {
  const byId = new LRUCache<string, Task>({ max: most })
  const byName = new LRUCache<string, Task>({ max: most })

  async function find<T extends Task | 'ended' | null>(
    memory: LRUCache<string, Task>,
    key: string,
    fresh: boolean,
    read: () => Promise<T>,
  ): Promise<Found<T>> {
    const known = fresh ? undefined : memory.get(key)
    if (known) return { task: known as T, recalled: true }
    const task = await read()
    if (task && task !== 'ended') memory.set(key, task)
    else memory.delete(key)
    return { task, recalled: false }
  }

  return {
    byId: (id, fresh) => find(byId, id, fresh, () => findTask(db, id)),
    byName: (name, fresh) =>
      find(byName, nameKey(name).toString('base64'), fresh, () => findTaskByName(db, name)),
  }
}
