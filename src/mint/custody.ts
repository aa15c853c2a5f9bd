import type { Logger } from 'pino'
import type { Clock } from '../clock.ts'
import type { SigningAlg } from '../config.ts'
import { HallpassError } from '../errors.ts'
import type { Database, Transaction } from '../store/database.ts'
import {
  insertKey,
  type KeyRow,
  type KeyUse,
  lockKeys,
  lockKeysAgainstUse,
  readKeys,
  removeKeys,
  scheduleKey,
  writeWithdrawn,
} from '../store/signing-keys.ts'
import {
  earliestUse,
  handOver,
  isForgotten,
  type KeyState,
  type KeyTimes,
  stateOf,
  withdrawn,
} from './key-schedule.ts'

/** What every key is kept with: dates, from which alone its state follows. */
export type Dated = Pick<
  KeyRow,
  'kid' | 'publishedAt' | 'activeAt' | 'retiredAt' | 'lastDay' | 'withdrawnAt'
> & {
  alg: SigningAlg
  /** It signs no longer than that, whatever its dates say: milliseconds since the epoch. */
  notAfter?: number
}

/** Keys of one use: those that sign tokens, or authorities that sign certificates. */
export interface KeyKind<Key extends Dated> {
  use: KeyUse
  /** For each there is a key that signs. */
  algs: SigningAlg[]
  /** Throws when the row was not written by a broker that holds this master key, or was altered since. */
  open(row: KeyRow): Promise<Key>
  /** Makes another key; null where that is for others to do. */
  make(alg: SigningAlg, dates: Pick<KeyRow, 'publishedAt' | 'activeAt' | 'ttlMax'>): Promise<KeyRow | null>
  /** Whether `make` makes any. */
  makes(): boolean
  /** What keys of this use rest on, read again within a transaction that has locked them. */
  refresh?(tx: Transaction): Promise<void>
  /** When what the row holds ends, whether or not it opens; null where that cannot be told. It is remembered until then if it is withdrawn. */
  endOf?(row: KeyRow): Date | null
}

/** A row that opened, and where its key stands. */
interface Held {
  row: KeyRow
  state: KeyState
  notAfter: number
}

/** For each algorithm one key that signs, one prepared and published, and retired ones until their last day. */
export interface Custody<Key extends Dated> {
  /** The key that signs now; undefined while there is none. */
  active(alg: SigningAlg): Key | undefined
  /** Retired ones included, withdrawn ones not. */
  published(): Key[]
  /** Those that are published, and those withdrawn that may have signed what has not expired. */
  list(): (Key & { state: KeyState })[]
  /** When the keys were read, in milliseconds since the epoch. */
  readAt(): number
  /** Reads the keys again; what other replicas changed is in force here afterwards. */
  reload(): Promise<void>
  /** Prepares what is missing, at the very first start all of it, and removes what is past its last day. One replica at a time. */
  maintain(): Promise<void>
  /** Hands over to the prepared keys, as soon as everybody can know them; prepares the ones after. */
  rotate(tx: Transaction): Promise<void>
  /** Puts a key that was made elsewhere in the place of what signs and of what is prepared. */
  succeedBy(tx: Transaction, row: KeyRow): Promise<void>
  /**
   * Withdraws a key, for ever: it signs no more, and is published no more. Its successor takes over as soon as everybody can know it, and
   * whatever is missing is prepared. Answers the latest that anything it signed can live, or null where it was withdrawn before.
   * Throws `not_found`.
   */
  withdraw(tx: Transaction, kid: string): Promise<Date | null>
}

export interface CustodyDeps {
  db: Database
  clock: Clock
  log: Logger
  times: KeyTimes
}

/** Keys in PostgreSQL that several replicas use, and change one at a time. */
export function createCustody<Key extends Dated>(deps: CustodyDeps, kind: KeyKind<Key>): Custody<Key> {
  const { db, clock, log, times } = deps
  const algs = [...new Set(kind.algs)]
  let keys: Key[] = []
  let readAt = Number.NEGATIVE_INFINITY
  let running: Promise<void> = Promise.resolve()
  let waiting: Promise<void> | null = null
  /** Whether there are rows that nothing needs any more. */
  let isCluttered = false
  /** Said once. */
  const unopened = new Set<string>()

  const stateNow = (key: Dated): KeyState => {
    const state = stateOf(key, clock())
    return state !== 'withdrawn' && (key.notAfter ?? Number.POSITIVE_INFINITY) <= clock() ? 'gone' : state
  }
  /** One that does not open is forgotten in time like any other; one that can be withdrawn still, though it signs no more, is not. */
  const isOver = (row: KeyRow): boolean => isForgotten({ lastDay: kind.endOf?.(row) ?? row.lastDay }, clock())

  /** One at a time, and never joined late: whoever asks gets a reading that began after it asked. */
  function reload(): Promise<void> {
    waiting ??= running = running
      .catch(() => {})
      .then(() => {
        waiting = null
        return load()
      })
    return waiting
  }

  async function load(): Promise<void> {
    const at = clock()
    const rows = ofThisUse(await readKeys(db))
    const opened = await Promise.all(rows.map(row => known(row) ?? open(row)))
    keys = opened.filter(key => key !== null)
    isCluttered = rows.some(isOver)
    readAt = at
  }

  const ofThisUse = (rows: KeyRow[]): KeyRow[] => rows.filter(row => row.use === kind.use)

  /** A key that is held already and whose dates alone can have changed. */
  function known(row: KeyRow): Key | undefined {
    const held = keys.find(key => key.kid === row.kid && key.alg === row.alg)
    const { publishedAt, activeAt, retiredAt, lastDay } = row
    // What was withdrawn once is so for ever, whatever the row says later.
    const withdrawnAt = row.withdrawnAt ?? held?.withdrawnAt ?? null
    return held && { ...held, publishedAt, activeAt, retiredAt, lastDay, withdrawnAt }
  }

  async function open(row: KeyRow): Promise<Key | null> {
    try {
      return await kind.open(row)
    } catch {
      if (!unopened.has(row.kid))
        log.error({ kid: row.kid }, 'a signing key does not decrypt and is neither used nor published')
      unopened.add(row.kid)
      return null
    }
  }

  /** Rows that do not decrypt count as missing: nothing can be signed with them. */
  async function usable(rows: KeyRow[]): Promise<Held[]> {
    const opened = await Promise.all(rows.map(async row => holding(row, known(row) ?? (await open(row)))))
    return opened.filter(held => held !== null)
  }

  const holding = (row: KeyRow, key: Key | null): Held | null =>
    key && { row, state: stateNow(key), notAfter: key.notAfter ?? Number.POSITIVE_INFINITY }

  async function locked(tx: Transaction, lock = lockKeys): Promise<KeyRow[]> {
    const rows = ofThisUse(await lock(tx))
    await kind.refresh?.(tx)
    return rows
  }

  async function maintain(): Promise<void> {
    if (!isWanting(keys)) return
    await db.transaction(async tx => {
      const stored = await locked(tx)
      const gone = stored.filter(isOver).map(({ kid }) => kid)
      if (gone.length > 0) await removeKeys(tx, gone)
      const held = await usable(stored)
      for (const alg of algs) await prepare(tx, held, alg, stored.length === 0)
    })
    await reload()
  }

  /** Whether `maintain` has anything to do, as far as is known here. */
  function isWanting(all: Key[]): boolean {
    return (
      isCluttered ||
      (kind.makes() &&
        (['prepared', 'active'] as const).some(state =>
          algs.some(alg => !all.some(key => key.alg === alg && stateNow(key) === state)),
        ))
    )
  }

  async function make(alg: SigningAlg, publishedAt: number, activeAt: number): Promise<Held | null> {
    const row = await kind.make(alg, dates(publishedAt, activeAt))
    return row && holding(row, await kind.open(row))
  }

  /** Sees that the algorithm has a key that signs, or soon will, and a successor. */
  async function prepare(tx: Transaction, held: Held[], alg: SigningAlg, first: boolean): Promise<void> {
    const now = clock()
    const those = held.filter(({ row }) => row.alg === alg)
    let last = those.findLast(({ state }) => state === 'active' || state === 'prepared') ?? null
    if (!last) {
      // Nobody can have cached the keys of a broker that never had one.
      last = await make(alg, now, first ? now : earliestUse(now, times))
      if (!last) return
      await insertKey(tx, last.row)
    }
    if (last.row.activeAt.getTime() > now && !those.some(({ state }) => state === 'active'))
      last = { ...last, row: await hasten(tx, last.row, now) }
    if (last.row.activeAt.getTime() <= now) await succeed(tx, last)
  }

  const dates = (publishedAt: number, activeAt: number) => ({
    publishedAt: new Date(publishedAt),
    activeAt: new Date(activeAt),
    ttlMax: times.ttlMax,
  })

  /** The key that should sign is lost or withdrawn: the one that is prepared takes over as soon as everybody can know it. */
  async function hasten(tx: Transaction, next: KeyRow, now: number): Promise<KeyRow> {
    const soonest = Math.max(earliestUse(next.publishedAt.getTime(), times), now)
    if (soonest >= next.activeAt.getTime()) return next
    const hastened = { ...next, activeAt: new Date(soonest) }
    await scheduleKey(tx, hastened)
    return hastened
  }

  async function succeed(tx: Transaction, last: Held): Promise<void> {
    const now = clock()
    const { row, notAfter } = last
    // Where its successor is lost or withdrawn it keeps its day, unless the new one cannot be known by then.
    const planned = row.retiredAt?.getTime() ?? row.activeAt.getTime() + times.active
    // What it signs until then need not be cut short.
    const at = Math.max(Math.min(planned, notAfter - times.ttlMax - times.notice), now)
    const next = await make(row.alg as SigningAlg, now, at)
    if (!next) return
    const moved = handOver(row, next.row, at, times)
    await insertKey(tx, moved.next)
    await scheduleKey(tx, moved.current)
  }

  async function rotate(tx: Transaction): Promise<void> {
    const stored = await locked(tx)
    if (!kind.makes()) return
    const now = clock()
    const held = await usable(stored)
    for (const alg of algs) {
      const those = held.filter(({ row }) => row.alg === alg)
      const next = those.findLast(({ state }) => state === 'prepared')
      const signing = those.findLast(({ state }) => state === 'active')
      if (!next || !signing)
        throw new HallpassError('unavailable', 'The next key is not prepared yet.', { retryAfter: 10 })
      // Rotated already, and waiting for the next key to be known everywhere.
      if (next.row.activeAt.getTime() <= earliestUse(next.row.publishedAt.getTime(), times)) continue
      const planned = handOver(signing.row, next.row, now, times)
      await scheduleKey(tx, planned.current)
      await scheduleKey(tx, planned.next)
      if (planned.next.activeAt.getTime() <= now) await succeed(tx, { ...next, row: planned.next })
    }
  }

  async function succeedBy(tx: Transaction, row: KeyRow): Promise<void> {
    const now = clock()
    const rows = ofThisUse(await lockKeys(tx))
    // What is only prepared has signed nothing.
    const prepared = rows.filter(({ alg, ...one }) => alg === row.alg && stateOf(one, now) === 'prepared')
    if (prepared.length > 0)
      await removeKeys(
        tx,
        prepared.map(({ kid }) => kid),
      )
    const signing = rows.findLast(one => one.alg === row.alg && stateOf(one, now) === 'active')
    if (!signing) return insertKey(tx, row)
    const planned = handOver(signing, row, now, times)
    await insertKey(tx, planned.next)
    await scheduleKey(tx, planned.current)
  }

  async function withdraw(tx: Transaction, kid: string): Promise<Date | null> {
    const stored = await locked(tx, lockKeysAgainstUse)
    const key = stored.find(row => row.kid === kid)
    if (!key) throw new HallpassError('not_found', 'There is no such key.')
    if (key.withdrawnAt) return null
    const ended = withdrawn(key, clock(), times)
    ended.lastDay = kind.endOf?.(key) ?? ended.lastDay
    await writeWithdrawn(tx, ended)
    const held = await usable(stored.map(row => (row === key ? ended : row)))
    const alg = algs.find(one => one === key.alg)
    if (alg) await prepare(tx, held, alg, false)
    return ended.lastDay
  }

  return {
    active: alg => keys.findLast(key => key.alg === alg && stateNow(key) === 'active'),
    published: () => keys.filter(key => !['gone', 'withdrawn'].includes(stateNow(key))),
    list: () => keys.map(key => ({ ...key, state: stateNow(key) })).filter(({ state }) => state !== 'gone'),
    readAt: () => readAt,
    reload,
    maintain,
    rotate,
    succeedBy,
    withdraw,
  }
}
