import type { Clock } from '../clock.ts'

/** Does the work at most once a second, however many ask; all of them get the same answer, or the same error. */
export function oncePerSecond(clock: Clock, work: () => Promise<void>): () => Promise<void> {
  let at = Number.NEGATIVE_INFINITY
  let last: Promise<void> = Promise.resolve()
  return () => {
    if (Math.abs(clock() - at) >= 1000) {
      at = clock()
      last = work()
    }
    return last
  }
}
