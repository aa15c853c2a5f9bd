import type { Logger } from 'pino'
import type { Clock } from '../../clock.ts'
import type { MasterKey } from '../../secrets/master-key.ts'
import {
  advanceBundle,
  insertRoot,
  type RootRow,
  readBundleSequence,
  readRoots,
  removeRoots,
  scheduleRoot,
} from '../../store/ca-roots.ts'
import type { Database, Transaction } from '../../store/database.ts'
import { lockKeys } from '../../store/signing-keys.ts'
import type { KeyTimes } from '../key-schedule.ts'
import { newRootRow, openRootRow, type Root } from './root.ts'

const day = 24 * 3_600_000

/** Times of the life of a root, in milliseconds. Whoever keeps the bundle in a file by hand has `ahead` to take up a new one. */
export const rootTimes = {
  valid: 10 * 365 * day,
  /** How long one signs authorities. */
  active: 5 * 365 * day,
  /** How long one is published before it signs. */
  ahead: 180 * day,
  /** How long one is published after it signed its last authority: longer than any of these signs, and what it signed lives. */
  behind: 200 * day,
  /** The same where its authorities sign no more from that moment on, and `ttl_max` comes on top. */
  replaced: 2 * day,
}

/** The roots of the broker's trust domain: one that signs authorities, the next one ahead of its day, and those still needed. */
export interface Roots {
  /** Those that are published, oldest first. */
  published(): Root[]
  /** The one that signs authorities; null where there is none, or an organisation's own has taken its place. */
  signing(): Root | null
  /** `spiffe_sequence` of the bundle. */
  sequence(): string
  reload(): Promise<void>
  /** Makes the first root, and the next one when its time has come; removes those past their last day. One replica at a time. */
  maintain(): Promise<void>
  /** Puts an organisation's own root in the place of the broker's, within a transaction that has locked the keys. */
  succeedBy(tx: Transaction, row: RootRow): Promise<void>
}

export interface RootsDeps {
  db: Database
  masterKey: MasterKey
  clock: Clock
  log: Logger
  trustDomain: string
  times: Pick<KeyTimes, 'ttlMax'>
}

export function createRoots({ db, masterKey, clock, log, trustDomain, times: { ttlMax } }: RootsDeps): Roots {
  let roots: Root[] = []
  let sequence = '0'
  /** Said once. */
  const unopened = new Set<string>()

  async function reload(): Promise<void> {
    const rows = await readRoots(db)
    sequence = await readBundleSequence(db)
    const opened = await Promise.all(rows.map(row => known(row) ?? open(row)))
    roots = opened.filter(root => root !== null)
  }

  /** One that is held already and whose dates alone can have changed. */
  function known({ kid, publishedAt, activeAt, retiredAt, lastDay }: RootRow): Root | undefined {
    const held = roots.find(root => root.kid === kid)
    return held && { ...held, publishedAt, activeAt, retiredAt, lastDay }
  }

  async function open(row: RootRow): Promise<Root | null> {
    try {
      return await openRootRow(masterKey, row)
    } catch {
      if (!unopened.has(row.kid))
        log.error({ kid: row.kid }, 'a root does not decrypt and is neither used nor published')
      unopened.add(row.kid)
      return null
    }
  }

  const isGone = ({ lastDay, notAfter }: Root): boolean =>
    notAfter <= clock() || (lastDay !== null && lastDay.getTime() <= clock())
  const current = (): Root | undefined =>
    roots.findLast(
      root =>
        !isGone(root) &&
        root.activeAt.getTime() <= clock() &&
        !(root.retiredAt && root.retiredAt.getTime() <= clock()),
    )
  const isAhead = (root: Root): boolean => root.activeAt.getTime() > clock()

  /** What has to be done, as far as is known here. */
  function wanting(): 'first' | 'next' | 'prune' | null {
    if (roots.some(isGone)) return 'prune'
    const last = current()
    if (!last) return roots.some(isAhead) ? null : 'first'
    if (last.signer === null || roots.some(isAhead)) return null
    return clock() >= last.activeAt.getTime() + rootTimes.active - rootTimes.ahead ? 'next' : null
  }

  async function maintain(): Promise<void> {
    if (wanting() === null) return
    await db.transaction(async tx => {
      await lockKeys(tx)
      // Another replica may have done it.
      await reload()
      const now = clock()
      const gone = roots.filter(isGone).map(({ kid }) => kid)
      if (gone.length > 0) await removeRoots(tx, gone)
      roots = roots.filter(root => !isGone(root))
      const wanted = wanting()
      if (wanted === 'first') await insertRoot(tx, await newRow(now, now))
      const last = current()
      if (wanted === 'next' && last) {
        const at = Math.max(last.activeAt.getTime() + rootTimes.active, now + rootTimes.ahead)
        await insertRoot(tx, await newRow(now, at))
        await retire(tx, last, at, at + rootTimes.behind)
      }
      if (gone.length > 0 || wanted !== null) await advanceBundle(tx, new Date(now))
    })
    await reload()
  }

  const newRow = (now: number, activeAt: number): Promise<RootRow> =>
    newRootRow(masterKey, trustDomain, {
      publishedAt: new Date(now),
      activeAt: new Date(activeAt),
      notBefore: now - 3_600_000,
      notAfter: activeAt + rootTimes.valid,
    })

  const retire = (tx: Transaction, { kid, activeAt }: Root, at: number, lastDay: number): Promise<void> =>
    scheduleRoot(tx, {
      kid,
      activeAt: new Date(Math.min(activeAt.getTime(), at)),
      retiredAt: new Date(at),
      lastDay: new Date(lastDay),
    } as RootRow)

  async function succeedBy(tx: Transaction, row: RootRow): Promise<void> {
    const now = clock()
    const published = roots.filter(root => !isGone(root))
    if (!published.some(({ kid }) => kid === row.kid)) await insertRoot(tx, row)
    for (const root of published)
      if (root.kid !== row.kid && !(root.retiredAt && root.retiredAt.getTime() <= now))
        await retire(tx, root, now, now + rootTimes.replaced + ttlMax)
    await advanceBundle(tx, new Date(now))
  }

  return {
    published: () => roots.filter(root => !isGone(root)),
    signing: () => {
      const root = current()
      return root?.signer ? root : null
    },
    sequence: () => sequence,
    reload,
    maintain,
    succeedBy,
  }
}
