import type { Logger } from 'pino'
import type { Clock } from './clock.ts'
import { HallpassError } from './errors.ts'

/**
 * Watches this machine's clock against the database's, which all replicas share. A replica whose clock is off would sign with
 * keys that nobody knows yet, call what has expired alive, and close tasks that are not due: so it serves nothing, and sweeps nothing,
 * until its clock is right again.
 */
export interface ClockWatch {
  /** Compares the clocks. Throws what the database throws, and then keeps what was found before. */
  look(): Promise<void>
  isRight(): boolean
  /** Throws `unavailable` while the clock is off. */
  mustBeRight(): void
}

export interface ClockWatchDeps {
  /** This machine's clock. */
  machine: Clock
  /** The database's, in milliseconds since the epoch. */
  database: () => Promise<number>
  /** Milliseconds that they may differ. */
  tolerance: number
  log: Logger
}

export function watchClock({ machine, database, tolerance, log }: ClockWatchDeps): ClockWatch {
  let isOff = false

  return {
    async look() {
      const before = machine()
      const there = await database()
      const after = machine()
      // Somewhere between the two readings: what the question took is no difference.
      const difference = there < before ? before - there : Math.max(0, there - after)
      const off = !(difference <= tolerance)
      if (off !== isOff)
        log[off ? 'error' : 'info'](
          { difference, tolerance },
          off ? 'the clock is off' : 'the clock is right again',
        )
      isOff = off
    },
    isRight: () => !isOff,
    mustBeRight() {
      if (isOff)
        throw new HallpassError('unavailable', 'The broker’s clock differs from its database’s.', {
          cause: new Error('clock_off'),
          retryAfter: 10,
        })
    },
  }
}
