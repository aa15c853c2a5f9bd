import type { KeyRow } from '../store/signing-keys.ts'

/** Times of the life of a signing key, in milliseconds. */
export interface KeyTimes {
  /** How long verifiers may keep the JWK Set: what `Cache-Control` of `/.well-known/jwks.json` says. */
  cache: number
  /** How long a key signs. */
  active: number
  /** How long a replica may take to notice a change of the keys. */
  notice: number
  /** `ttl_max`: no signature is valid for longer. */
  ttlMax: number
}

/** How old the JWK Set can be that a verifier or a replica still works with. */
export const keyTimes = (ttlMax: number): KeyTimes => ({
  cache: 5 * 60_000,
  active: 30 * 24 * 3_600_000,
  notice: 60_000,
  ttlMax,
})

export type KeyState = 'prepared' | 'active' | 'retired' | 'withdrawn' | 'gone'

/** Where a key stands now. States follow from dates alone, so that replicas need not tell each other. */
export function stateOf(
  key: Pick<KeyRow, 'activeAt' | 'retiredAt' | 'lastDay' | 'withdrawnAt'>,
  now: number,
): KeyState {
  if (key.lastDay && key.lastDay.getTime() <= now) return 'gone'
  if (key.withdrawnAt) return 'withdrawn'
  if (key.retiredAt && key.retiredAt.getTime() <= now) return 'retired'
  return key.activeAt.getTime() <= now ? 'active' : 'prepared'
}

/** The earliest that a key first published at `published` may sign: everybody who cached the keys before has asked again. */
export const earliestUse = (published: number, { cache, notice }: KeyTimes): number =>
  published + cache + notice

/** The last day of a key retired at `retired`: a replica that has not noticed yet may still sign, for the longest `ttl_max`. */
export const lastDayOf = (retired: number, ttlMax: number, { notice }: KeyTimes): number =>
  retired + notice + ttlMax

/** Moves the hand-over from `current` to its prepared successor `next` to `at`; never before everybody can know the successor. */
export function handOver(
  current: KeyRow,
  next: KeyRow,
  at: number,
  times: KeyTimes,
): { current: KeyRow; next: KeyRow } {
  const moment = Math.max(at, earliestUse(next.publishedAt.getTime(), times))
  return {
    current: {
      ...current,
      retiredAt: new Date(moment),
      lastDay: new Date(lastDayOf(moment, Math.max(current.ttlMax, times.ttlMax), times)),
    },
    next: { ...next, activeAt: new Date(moment) },
  }
}

/**
 * The key as it is once it is withdrawn: its last day is the last on which what it signed would still be alive, wherever it was signed. The
 * clocks of two replicas that serve differ by `skewMost` at the most.
 */
export function withdrawn(key: KeyRow, at: number, times: KeyTimes): KeyRow {
  const retired = Math.min(key.retiredAt?.getTime() ?? at, at)
  const lastDay = lastDayOf(at, Math.max(key.ttlMax, times.ttlMax), times) + skewMost
  return {
    ...key,
    withdrawnAt: new Date(at),
    retiredAt: new Date(retired),
    lastDay: new Date(Math.min(key.lastDay?.getTime() ?? lastDay, lastDay)),
  }
}

/** Milliseconds: each is a minute off the database's at the most. */
const skewMost = 120_000

/** How long the row of a key that is gone is kept all the same: replicas' clocks differ. Milliseconds. */
const margin = 3_600_000

export const isForgotten = ({ lastDay }: Pick<KeyRow, 'lastDay'>, now: number): boolean =>
  lastDay !== null && lastDay.getTime() + margin <= now
