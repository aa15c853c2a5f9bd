import { batched } from './batch.ts'
import type { Database } from './database.ts'
import { isUnavailable } from './failure.ts'
import type { Reservation, Reserved } from './reservation.ts'
import { reserveAtOnce } from './reserve-at-once.ts'
import { holdFree, holdWaiting, reserveHeld } from './reserve-held.ts'

/**
 * Writes reservations (architecture, Issue (5)): in one transaction the tasks are held against ending, everything that was decided
 * is checked to stand, and credential, decision and use are written. Reservations that arrive while one is being written
 * go into the next together. A task that is being changed at that moment holds up its own reservations only.
 */
export function reserver(db: Database): (reservation: Reservation) => Promise<Reserved> {
  const held = (items: Reservation[], hold: typeof holdFree) =>
    items.length === 0 ? [] : db.transaction(tx => reserveHeld(tx, items, hold))

  async function run(items: Reservation[]): Promise<(Reserved | Promise<Reserved>)[]> {
    const plain = items.filter(item => !item.use)
    const single = items.filter(item => item.use)
    const answers = new Map<Reservation, Reserved | 'busy'>()
    const note = (of: Reservation[], found: (Reserved | 'busy')[]) => {
      for (const [i, item] of of.entries()) answers.set(item, found[i] ?? 'stale')
    }
    note(plain, await reserveAtOnce(db, plain))
    note(single, await held(single, holdFree))

    const busy = items.filter(item => answers.get(item) === 'busy')
    const waited = busy.length > 0 ? held(busy, holdWaiting) : []
    return items.map(item => {
      const answer = answers.get(item) ?? 'stale'
      return answer === 'busy' ? afterWaiting(waited, busy.indexOf(item)) : answer
    })
  }
  return batched(run, { most: 200, isShared: isUnavailable })
}

/** A task that is not there even for whoever waits is gone. */
async function afterWaiting(
  waited: (Reserved | 'busy')[] | Promise<(Reserved | 'busy')[]>,
  place: number,
): Promise<Reserved> {
  const answer = (await waited)[place]
  return answer === 'busy' || answer === undefined ? 'stale' : answer
}
