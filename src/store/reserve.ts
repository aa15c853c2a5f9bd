import { batched } from './batch.ts'
import type { Database } from './database.ts'
import { isUnavailable } from './failure.ts'
import type { Reservation, Reserved } from './reservation.ts'
import { reserveAtOnce } from './reserve-at-once.ts'
import { holdFree, holdWaiting, reserveHeld } from './reserve-held.ts'

/**
 * Writes reservations (architecture, Issue (5)): in one transaction the trees are held against ending, everything that was decided
 * is checked to stand, and credential, decision and use are written. Reservations that arrive while one is being written
 * go into the next together. A tree that is being changed at that moment holds up its own reservations only.
 */
export function reserver(db: Database): (reservation: Reservation) => Promise<Reserved> {
  const held = (items: Reservation[], hold: typeof holdFree) =>
    db.transaction(tx => reserveHeld(tx, items, hold))

  /** Those whose task is being changed wait for it, without holding up the next write. */
  function waitForBusy(
    items: Reservation[],
    answers: (Reserved | 'busy')[],
  ): (Reserved | Promise<Reserved>)[] {
    const busy = items.filter((_, i) => answers[i] === 'busy')
    const waited = busy.length > 0 ? held(busy, holdWaiting) : null
    return items.map((item, i) => {
      const answer = answers[i] ?? 'stale'
      return answer === 'busy' ? afterWaiting(waited, busy.indexOf(item)) : answer
    })
  }

  // Apart from each other: a write is one transaction, and what fails in it was not written.
  const options = { most: 200, isShared: isUnavailable }
  const plain = batched<Reservation, Reserved>(
    async items => waitForBusy(items, await reserveAtOnce(db, items)),
    options,
  )
  const single = batched<Reservation, Reserved>(
    async items => waitForBusy(items, await held(items, holdFree)),
    options,
  )
  return reservation => (reservation.use ? single(reservation) : plain(reservation))
}

/** A task that is not there even for whoever waits is gone. */
async function afterWaiting(waited: Promise<(Reserved | 'busy')[]> | null, place: number): Promise<Reserved> {
  const answer = (await waited)?.[place]
  return answer === 'busy' || answer === undefined ? 'stale' : answer
}
