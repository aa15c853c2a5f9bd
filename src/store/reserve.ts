import { batched, batchedBy } from './batch.ts'
import type { Database } from './database.ts'
import { isUnavailable } from './failure.ts'
import { type Reservation, type Reserved, rootOf } from './reservation.ts'
import { reserveAtOnce } from './reserve-at-once.ts'
import { reserveHeld } from './reserve-held.ts'

/**
 * Writes reservations (architecture, Issue (5)): in one transaction the trees are held against ending, everything that was decided
 * is checked to stand, and credential, decision and use are written. Reservations that arrive while one is being written
 * go into the next together. A tree that is being changed at that moment holds up its own reservations only.
 */
export function reserver(db: Database): (reservation: Reservation) => Promise<Reserved> {
  const held = (items: Reservation[], wait: boolean) => db.transaction(tx => reserveHeld(tx, items, wait))
  const options = { most: 200, isShared: isUnavailable }

  const waitForTree = batchedBy<Reservation, Reserved>(
    rootOf,
    async items => {
      const [first] = items
      const answers = await db.waiting(first ? rootOf(first) : '', () => held(items, true))
      // What is not there even for whoever waits is gone.
      return answers.map(answer => (answer === 'busy' ? 'stale' : answer))
    },
    options,
  )
  /** Those whose tree is being changed wait for it together, without holding up the next write. */
  const passOver = (items: Reservation[], answers: (Reserved | 'busy')[]) =>
    items.map((item, i) => {
      const answer = answers[i] ?? 'stale'
      return answer === 'busy' ? waitForTree(item) : answer
    })

  // Apart from each other: a write is one transaction, and what fails in it was not written.
  const plain = batched<Reservation, Reserved>(
    async items => passOver(items, await reserveAtOnce(db, items)),
    options,
  )
  const single = batched<Reservation, Reserved>(
    async items => passOver(items, await held(items, false)),
    options,
  )
  return reservation => (reservation.use ? single(reservation) : plain(reservation))
}
