import { HallpassError } from '../errors.ts'

/**
 * Runs work that waits for rows which somebody else holds. What is `urgent` has its turn before all that is not, whoever came first. Throws
 * `unavailable` where its turn does not come.
 */
export type Waiting = <T>(key: string, work: () => Promise<T>, options?: { urgent?: boolean }) => Promise<T>

interface Waiter {
  urgent: boolean
  begin: () => void
}

/**
 * Keeps those who wait for rows from taking all connections: of those who wait for the same (`key`) one at a time, and of all `most` at
 * a time, the keys by turns, so that many who wait for one are in nobody's way. `patience`, in milliseconds, is how long the others
 * wait for their turn.
 */
export function waitingRoom({ most, patience }: { most: number; patience: number }): Waiting {
  /** Of each key those who wait, the urgent ones first; the keys in the order of their turns. */
  const queues = new Map<string, Waiter[]>()
  const running = new Set<string>()

  function callNext(): void {
    for (const urgent of [true, false])
      for (const [key, [next, ...others]] of [...queues]) {
        if (running.size === most) return
        if (running.has(key) || next === undefined || next.urgent !== urgent) continue
        queues.delete(key)
        if (others.length > 0) queues.set(key, others)
        running.add(key)
        next.begin()
      }
  }

  function enqueue(key: string, waiter: Waiter): void {
    const queue = queues.get(key) ?? []
    const place = waiter.urgent ? queue.findIndex(other => !other.urgent) : -1
    queues.set(key, queue.toSpliced(place === -1 ? queue.length : place, 0, waiter))
    callNext()
  }

  function leave(key: string, waiter: Waiter): void {
    const others = (queues.get(key) ?? []).filter(other => other !== waiter)
    if (others.length > 0) queues.set(key, others)
    else queues.delete(key)
  }

  const turn = (key: string, urgent: boolean): Promise<void> =>
    new Promise((resolve, reject) => {
      const impatient = setTimeout(() => {
        leave(key, waiter)
        reject(new HallpassError('unavailable', 'Too many wait for the same.', { retryAfter: 1 }))
      }, patience)
      const waiter: Waiter = {
        urgent,
        begin: () => {
          clearTimeout(impatient)
          resolve()
        },
      }
      enqueue(key, waiter)
    })

  return async (key, work, { urgent = false } = {}) => {
    await turn(key, urgent)
    try {
      return await work()
    } finally {
      running.delete(key)
      callNext()
    }
  }
}
