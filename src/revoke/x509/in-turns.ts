import { setImmediate as afterOthers } from 'node:timers/promises'

/** How long others wait for their turn, in milliseconds, and after how many items the time is looked at. */
const turn = 4
const look = 16

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
