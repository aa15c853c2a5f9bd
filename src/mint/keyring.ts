import type { JWK } from 'jose'
import type { Logger } from 'pino'
import type { Clock } from '../clock.ts'
import type { SigningAlg } from '../config.ts'
import { HallpassError } from '../errors.ts'
import type { MasterKey } from '../secrets/master-key.ts'
import type { Database, Transaction } from '../store/database.ts'
import {
  allowTtl,
  insertKey,
  type KeyRow,
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
import { newKeyRow, openKeyRow, type SigningKey } from './signing-key.ts'

/** The broker's signing keys: for each algorithm one that signs, one prepared and published, and retired ones until their last day. */
export interface Keyring {
  /** The key that signs now. Throws `unavailable` while there is none. */
  signer(alg: SigningAlg): SigningKey
  /** The published key of that `kid`, retired ones included; null for any other. */
  find(kid: string): SigningKey | null
  /** The JWK Set (RFC 7517 §5), next keys included. */
  jwks(): JWK[]
  /** Those that are published, and those withdrawn that may have signed what has not expired. */
  list(): (SigningKey & { state: KeyState })[]
  /** Whether the keys were read lately enough to be cached by others. */
  isCurrent(): boolean
  /** Reads the keys again; what other replicas changed is in force here afterwards. */
  reload(): Promise<void>
  /** Prepares what is missing, at the very first start all of it, and removes what is past its last day. One replica at a time. */
  maintain(): Promise<void>
  /** Hands over to the prepared keys, as soon as everybody can know them; prepares the ones after. */
  rotate(tx: Transaction): Promise<void>
  /**
   * Withdraws a key, for ever: it signs no more, and is published no more. Its successor takes over as soon as everybody can know it, and
   * whatever is missing is prepared. Answers the latest that anything it signed can live, or null where it was withdrawn before.
   * Throws `not_found`.
   */
  withdraw(tx: Transaction, kid: string): Promise<Date | null>
}

export interface KeyringDeps {
  db: Database
  masterKey: MasterKey
  clock: Clock
  log: Logger
  /** The algorithms that the configuration asks for. */
  algs: SigningAlg[]
  times: KeyTimes
}

export async function openKeyring(deps: KeyringDeps): Promise<Keyring> {
  const { db, masterKey, clock, log, times } = deps
  const algs = [...new Set(deps.algs)]
  let keys: SigningKey[] = []
  let readAt = Number.NEGATIVE_INFINITY
  let running: Promise<void> = Promise.resolve()
  let waiting: Promise<void> | null = null
  /** Said once. */
  const unopened = new Set<string>()

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
    const opened = await Promise.all((await readKeys(db)).map(row => known(row) ?? open(row)))
    keys = opened.filter(key => key !== null)
    readAt = at
  }

  /** A key that is held already and whose dates alone can have changed. */
  function known(row: KeyRow): SigningKey | undefined {
    const held = keys.find(key => key.kid === row.kid && key.alg === row.alg)
    const { publishedAt, activeAt, retiredAt, lastDay, withdrawnAt } = row
    return held && { ...held, publishedAt, activeAt, retiredAt, lastDay, withdrawnAt }
  }

  async function open(row: KeyRow): Promise<SigningKey | null> {
    try {
      return await openKeyRow(masterKey, row)
    } catch {
      if (!unopened.has(row.kid))
        log.error({ kid: row.kid }, 'a signing key does not decrypt and is neither used nor published')
      unopened.add(row.kid)
      return null
    }
  }

  /** Rows that do not decrypt count as missing: nothing can be signed with them. */
  async function usable(rows: KeyRow[]): Promise<KeyRow[]> {
    const opened = await Promise.all(rows.map(row => known(row) ?? open(row)))
    return rows.filter((_, i) => opened[i] !== null)
  }

  const current = (alg: SigningAlg): SigningKey | undefined =>
    keys.findLast(key => key.alg === alg && stateOf(key, clock()) === 'active')
  const published = (): SigningKey[] =>
    keys.filter(key => {
      const state = stateOf(key, clock())
      return state !== 'gone' && state !== 'withdrawn'
    })

  async function maintain(): Promise<void> {
    if (!isWanting(keys)) return
    await db.transaction(async tx => {
      const stored = await lockKeys(tx)
      const rows = await usable(stored)
      const gone = rows.filter(row => isForgotten(row, clock())).map(row => row.kid)
      if (gone.length > 0) await removeKeys(tx, gone)
      for (const alg of algs) await prepare(tx, rows, alg, stored.length === 0)
    })
    await reload()
  }

  /** Whether `maintain` has anything to do, as far as is known here. */
  function isWanting(held: SigningKey[]): boolean {
    const now = clock()
    return (
      held.some(key => isForgotten(key, now)) ||
      (['prepared', 'active'] as const).some(state =>
        algs.some(alg => !held.some(key => key.alg === alg && stateOf(key, now) === state)),
      )
    )
  }

  /** Sees that the algorithm has a key that signs, or soon will, and a successor. */
  async function prepare(tx: Transaction, rows: KeyRow[], alg: SigningAlg, first: boolean): Promise<void> {
    const now = clock()
    const states = rows.map(row => (row.alg === alg ? stateOf(row, now) : null))
    let last = rows.findLast((_, i) => states[i] === 'active' || states[i] === 'prepared')
    if (!last) {
      // Nobody can have cached a JWK Set of a broker that never had a key.
      const activeAt = first ? now : earliestUse(now, times)
      last = await newKeyRow(masterKey, alg, {
        publishedAt: new Date(now),
        activeAt: new Date(activeAt),
        ttlMax: times.ttlMax,
      })
      await insertKey(tx, last)
    }
    if (last.activeAt.getTime() > now && !states.includes('active')) last = await hasten(tx, last, now)
    if (last.activeAt.getTime() <= now) await succeed(tx, last)
  }

  /** The key that should sign is lost or withdrawn: the one that is prepared takes over as soon as everybody can know it. */
  async function hasten(tx: Transaction, next: KeyRow, now: number): Promise<KeyRow> {
    const soonest = Math.max(earliestUse(next.publishedAt.getTime(), times), now)
    if (soonest >= next.activeAt.getTime()) return next
    const hastened = { ...next, activeAt: new Date(soonest) }
    await scheduleKey(tx, hastened)
    return hastened
  }

  async function succeed(tx: Transaction, last: KeyRow): Promise<void> {
    const now = clock()
    // Where its successor is lost or withdrawn it keeps its day, unless the new one cannot be known by then.
    const at = Math.max(last.retiredAt?.getTime() ?? last.activeAt.getTime() + times.active, now)
    const dates = { publishedAt: new Date(now), activeAt: new Date(at), ttlMax: times.ttlMax }
    const next = await newKeyRow(masterKey, last.alg as SigningAlg, dates)
    const planned = handOver(last, next, at, times)
    await insertKey(tx, planned.next)
    await scheduleKey(tx, planned.current)
  }

  async function rotate(tx: Transaction): Promise<void> {
    const now = clock()
    const rows = await usable(await lockKeys(tx))
    for (const alg of algs) {
      const next = rows.findLast(row => row.alg === alg && stateOf(row, now) === 'prepared')
      const signing = rows.findLast(row => row.alg === alg && stateOf(row, now) === 'active')
      if (!next || !signing)
        throw new HallpassError('unavailable', 'The next key is not prepared yet.', { retryAfter: 10 })
      // Rotated already, and waiting for the next key to be known everywhere.
      if (next.activeAt.getTime() <= earliestUse(next.publishedAt.getTime(), times)) continue
      const planned = handOver(signing, next, now, times)
      await scheduleKey(tx, planned.current)
      await scheduleKey(tx, planned.next)
      if (planned.next.activeAt.getTime() <= now) await succeed(tx, planned.next)
    }
  }

  async function withdraw(tx: Transaction, kid: string): Promise<Date | null> {
    const stored = await lockKeysAgainstUse(tx)
    const key = stored.find(row => row.kid === kid)
    if (!key) throw new HallpassError('not_found', 'There is no such key.')
    if (key.withdrawnAt) return null
    const ended = withdrawn(key, clock(), times)
    await writeWithdrawn(tx, ended)
    const rows = await usable(stored.map(row => (row === key ? ended : row)))
    const alg = algs.find(one => one === key.alg)
    if (alg) await prepare(tx, rows, alg, false)
    return ended.lastDay
  }

  await reload()
  await refuseForeignKeys(db, masterKey, clock())
  await db.transaction(tx => allowTtl(tx, times.ttlMax, new Date(clock())))
  await reload()

  return {
    isCurrent: () => clock() - readAt <= times.notice,
    reload,
    maintain,
    rotate,
    withdraw,
    signer(alg) {
      const key = current(alg)
      if (!key) throw new HallpassError('unavailable', `No ${alg} key can sign yet.`, { retryAfter: 10 })
      return key
    },
    find: kid => published().find(key => key.kid === kid) ?? null,
    jwks: () => published().map(key => key.jwk),
    list: () =>
      keys.map(key => ({ ...key, state: stateOf(key, clock()) })).filter(({ state }) => state !== 'gone'),
  }
}

/** Replicas under different master keys would each publish keys that the others do not know. Throws, so that this one does not start. */
async function refuseForeignKeys(db: Database, masterKey: MasterKey, now: number): Promise<void> {
  const foreign = (await readKeys(db)).find(
    row => stateOf(row, now) !== 'gone' && row.wrappedBy !== masterKey.id,
  )
  if (foreign)
    throw new Error(
      `the database's signing keys are wrapped by master key ${foreign.wrappedBy}, this broker has ${masterKey.id}`,
    )
}
