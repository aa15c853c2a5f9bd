import { LRUCache } from 'lru-cache'
import type { Database } from './database.ts'
import type { Task } from './task-record.ts'
import { type ByName, findTask, nameKey, type TaskName } from './tasks.ts'

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

/** What is remembered at the most, in tasks and, roughly, in characters of all of them. */
const most = { max: 10_000, maxSize: 16_000_000 }

const sizeOf = ({ context, bind, ref, purpose, principal, subject }: Task): number =>
  500 +
  ref.length +
  (purpose?.length ?? 0) +
  principal.length +
  subject.length +
  JSON.stringify([context, bind]).length

export function taskMemory(db: Database, readByName: ByName): TaskMemory {
  const byId = new LRUCache<string, Task>({ ...most, sizeCalculation: sizeOf })
  const byName = new LRUCache<string, Task>({ ...most, sizeCalculation: sizeOf })

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
    byName: (name, fresh) => find(byName, nameKey(name).toString('base64'), fresh, () => readByName(name)),
  }
}
