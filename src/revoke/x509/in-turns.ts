import { setImmediate as afterOthers } from 'node:timers/promises'

/** How long others wait for their turn, in milliseconds, and how many items there are between two looks at the time. */
const turn = 4
const look = 128

/** Does something with each item, and lets others have their turn meanwhile. The items must not change until it is done. */
export async function inTurns<T>(items: Iterable<T>, work: (item: T) => void): Promise<void> {
  let n = 0
  let from = performance.now()
  for (const item of items) {
    work(item)
    if (++n % look !== 0 || performance.now() - from < turn) continue
    await afterOthers()
    from = performance.now()
  }
}
