import { type Clocks, neverSlow } from './clocks.ts'

/**
 * Whether what is known of the revocation record is new enough to say yes by.
 *
 * The feed's ticks carry `at`, the database's time of a reading of the record. (So do snapshots; but the broker hands one out to many,
 * and tells with a tick after it what has happened since.) The moment at which a tick arrives says nothing: a proxy may have held it back
 * for minutes. How old it is follows from these:
 *
 * - `elapsed` is a local clock that is never slow (clocks.ts).
 * - The first tick of a connection is of a reading made at most `readingAge` before the request was sent. So the database's clock is ahead of
 *   `elapsed` by at most ceiling = at + readingAge − elapsed when sent. It is counted from the request's sending and not from an arrival: what
 *   is held back on the way can only raise it. Later ticks would raise it too: the lowest is kept. It wears by `drift`, since no two
 *   clocks run alike.
 * - So at any moment the newest reading is at most ceiling + elapsed − at old.
 *
 * That is overstated by `readingAge` and a round trip. It is understated only where the database's clock is set forward, by no more than
 * `readingAge` and a round trip: from there on it is found, as a reading from the future.
 */
export interface Freshness {
  /** Called immediately before a connection's request is sent. */
  connecting(): Attempt
  /** Judges a tick that a connection brought: a reading of the record at that time of the database's. */
  heard(at: number, attempt: Attempt): Reading
  isFresh(): boolean
  /** Milliseconds that have passed since the record was last read, at the most; infinite where that is not known. */
  age(): number
  /** What was heard is worth nothing until something new is. */
  distrust(): void
  /**
   * Milliseconds since the epoch: the wall clock's, but never before what the database's clock must show by now. Nothing that has
   * expired comes alive again because this machine's clock was set back.
   */
  now(): number
  /** Milliseconds for ages: overstated perhaps, never understated. */
  elapsed(): number
}

/** A connection, as far as time goes. */
export interface Attempt {
  readonly elapsed: number
  readonly steady: number
  /** The first reading that was too old to believe. */
  doubted: number | null
}

/**
 * `proof`: the record was as it is known at that time. `doubtful`: the reading is older than the server may give, so nothing is proven.
 * `contradiction`: what was learned of the clocks cannot all be true; it is forgotten, and a new connection has to learn it again.
 */
export type Reading = 'proof' | 'doubtful' | 'contradiction'

/** Milliseconds: the broker begins with a reading made after the request came, or shortly before. It reads at least every second. */
const readingAge = 1500
/** Two sound clocks differ by less: 100 parts in a million each. */
const drift = 200e-6

export function createFreshness({
  clocks,
  maxStaleness,
}: {
  clocks: Clocks
  /** Milliseconds. */
  maxStaleness: number
}): Freshness {
  const elapsed = neverSlow(clocks)
  let ceiling: { ahead: number; learned: number } | null = null
  let newest: number | null = null
  /** The newest reading, and when it arrived: the database's clock has gone on from there at least as far as the steady one. */
  let seen: { at: number; steady: number } | null = null

  const aheadAt = (moment: number): number =>
    ceiling === null ? Number.POSITIVE_INFINITY : ceiling.ahead + (moment - ceiling.learned) * drift

  const distrust = () => {
    newest = null
    ceiling = null
  }

  function heard(at: number, attempt: Attempt): Reading {
    const moment = elapsed()
    // From the future: this machine slept and neither clock noticed, or the database's clock was set forward.
    if (at > moment + aheadAt(moment)) {
      distrust()
      return 'contradiction'
    }
    if (isTooOld(at, attempt)) {
      attempt.doubted ??= at
      if (at <= attempt.doubted) return 'doubtful'
      // The server does read, and its database's clock was set back.
      distrust()
      seen = null
      return 'contradiction'
    }
    const ahead = at + readingAge - attempt.elapsed
    if (ahead < aheadAt(moment)) ceiling = { ahead, learned: moment }
    if (newest === null || at > newest) newest = at
    if (seen === null || at > seen.at) seen = { at, steady: clocks.steady() }
    return 'proof'
  }

  /** A server that has stopped reading, or a cache, would give every new connection the same old reading. */
  function isTooOld(at: number, { steady }: Attempt): boolean {
    if (seen === null) return false
    const since = steady - seen.steady
    return at < seen.at + since - Math.max(0, since) * drift - readingAge
  }

  function age(): number {
    const moment = elapsed()
    return newest === null ? Number.POSITIVE_INFINITY : moment + aheadAt(moment) - newest
  }

  return {
    connecting: () => ({ elapsed: elapsed(), steady: clocks.steady(), doubted: null }),
    heard,
    isFresh: () => age() <= maxStaleness,
    age,
    distrust,
    now: () => Math.max(clocks.wall(), seen === null ? 0 : seen.at + clocks.steady() - seen.steady),
    elapsed,
  }
}
