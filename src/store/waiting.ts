import { HallpassError } from '../errors.ts'

/** Runs work that waits for rows which somebody else holds. Throws `unavailable` where its turn does not come. */
export type Waiting = <T>(key: string, work: () => Promise<T>) => Promise<T>

/**
 * Keeps those who wait for rows from taking all connections: of those who wait for the same (`key`) one at a time, and of all `most` at
 * a time. `patience`, in milliseconds, is how long the others wait for their turn.
 */
export function waitingRoom({ most, patience }: { most: number; patience: number }): Waiting {
  interface Waiter {
    key: string
    begin: () => void
  }
  let queue: Waiter[] = []
  const running = new Set<string>()

  function callNext(): void {
    for (const waiter of queue) {
      if (running.size === most) return
      if (running.has(waiter.key)) continue
      running.add(waiter.key)
      queue = queue.filter(other => other !== waiter)
      waiter.begin()
    }
  }

  const turn = (key: string): Promise<void> =>
    new Promise((resolve, reject) => {
      const impatient = setTimeout(() => {
        queue = queue.filter(other => other !== waiter)
        reject(new HallpassError('unavailable', 'Too many wait for the same.', { retryAfter: 1 }))
      }, patience)
      const waiter = {
        key,
        begin: () => {
          clearTimeout(impatient)
          resolve()
        },
      }
      queue.push(waiter)
      callNext()
    })

  return async (key, work) => {
    await turn(key)
    try {
      return await work()
    } finally {
      running.delete(key)
      callNext()
    }
  }
}
