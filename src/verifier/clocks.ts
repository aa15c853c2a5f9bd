/** Where the time comes from. Both clocks are wrong at times, each in its own way. */
export interface Clocks {
  /** Milliseconds that only grow; they may stand still while the machine sleeps. */
  steady(): number
  /** Milliseconds since the epoch; they may be set back or forward at any moment. */
  wall(): number
}

export const systemClocks: Clocks = { steady: () => performance.now(), wall: () => Date.now() }

/** Milliseconds that the wall clock may gain on the steady one before it is called a sleep: above what the two readings jitter. */
const unnoticed = 250

/**
 * Milliseconds that pass at least as fast as time does, if only one of the two clocks noticed it: for ages, which may be overstated
 * and never understated. A wall clock that is set back changes nothing; one that is set forward counts as having slept so long.
 */
export function neverSlow({ steady, wall }: Clocks): () => number {
  let slept = 0
  let ahead = wall() - steady()

  return () => {
    const now = steady()
    const gained = wall() - now - ahead
    if (gained > unnoticed) slept += gained
    if (gained > unnoticed || gained < 0) ahead += gained
    return now + slept
  }
}
