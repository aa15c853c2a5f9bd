import type { Logger } from 'pino'
import type { Clock } from '../../clock.ts'
import { HallpassError } from '../../errors.ts'
import type { MasterKey } from '../../secrets/master-key.ts'
import {
  advanceBundle,
  insertRoot,
  type Reads,
  type RootRow,
  readBundle,
  removeRoots,
  replaceRoot,
  scheduleRoot,
} from '../../store/ca-roots.ts'
import type { Database, Transaction } from '../../store/database.ts'
import { lockKeys } from '../../store/signing-keys.ts'
import { earliestUse, type KeyTimes } from '../key-schedule.ts'
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
  /** How long before its end it signs no more, however late the next one is: no authority is cut short. */
  spare: 120 * day,
  /** As `behind`, where its authorities sign no more from that moment on, and `ttl_max` comes on top. */
  replaced: 2 * day,
}

/** The roots of the broker's trust domain: one that signs authorities, the next one ahead of its day, and those still needed. */
export interface Roots {
  /** Those that are published, oldest first. What they are changes with the sequence, and never otherwise. */
  published(): Root[]
  /** The one that signs authorities; null where there is none, or an organisation's own has taken its place. */
  signing(): Root | null
  /** Whether an organisation's root has taken the place of the broker's own, which comes back by nobody's hand. */
  isTaken(): boolean
  /** `spiffe_sequence` of the bundle. */
  sequence(): string
  /** Reads the roots again, within a transaction too. */
  reload(from?: Reads): Promise<void>
  /** Makes the first root, and the next one when its time has come; removes those past their last day. One replica at a time. */
  maintain(): Promise<void>
  /**
   * Puts an organisation's own root in the place of what signed before, within a transaction that has locked the keys. Throws `malformed` for
   * one whose key is published already as something else.
   */
  succeedBy(tx: Transaction, row: RootRow): Promise<void>
}

export interface RootsDeps {
  db: Database
  masterKey: MasterKey
  clock: Clock
  log: Logger
  trustDomain: string
  times: KeyTimes
}

/** The roots as they were at one moment. */
interface Reading {
  sequence: string
  roots: Root[]
  /** Whether an organisation's root is in the place of the broker's own: there it stays, be it expired or damaged. */
  isTaken: boolean
}

export function createRoots({ db, masterKey, clock, log, trustDomain, times }: RootsDeps): Roots {
  let held: Reading = { sequence: '0', roots: [], isTaken: false }
  let begun = 0
  let heldSince = 0
  const opened = new Map<string, { sealed: Buffer; root: Root }>()
  /** Said once. */
  const unopened = new Set<string>()

  /** What was read later is never replaced by what was read before. */
  async function reload(from: Reads = db): Promise<void> {
    const turn = ++begun
    const reading = await read(from)
    if (turn < heldSince) return
    heldSince = turn
    held = reading
  }

  async function read(from: Reads): Promise<Reading> {
    const { sequence, rows } = await readBundle(from)
    const roots = await Promise.all(rows.map(open))
    return {
      sequence,
      roots: roots.filter(root => root !== null),
      isTaken: rows.some(row => !row.own && row.retiredAt === null),
    }
  }

  async function open(row: RootRow): Promise<Root | null> {
    const { kid, sealed, publishedAt, activeAt, retiredAt, lastDay } = row
    const known = opened.get(kid)
    // Its dates alone can have changed.
    if (known?.sealed.equals(sealed)) return { ...known.root, publishedAt, activeAt, retiredAt, lastDay }
    try {
      const root = await openRootRow(masterKey, row)
      opened.set(kid, { sealed, root })
      return root
    } catch {
      if (!unopened.has(kid)) log.error({ kid }, 'a root does not decrypt and is neither used nor published')
      unopened.add(kid)
      return null
    }
  }

  const isOver = ({ notAfter, lastDay }: Root): boolean =>
    notAfter <= clock() || (lastDay !== null && lastDay.getTime() <= clock())
  /** An organisation's that nothing has replaced stays: its end is no reason for a root that nobody asked for. */
  const isGone = (root: Root): boolean => isOver(root) && !(root.signer === null && root.retiredAt === null)
  const isAhead = (root: Root): boolean => root.activeAt.getTime() > clock()
  const current = (roots: Root[]): Root | undefined =>
    roots.findLast(
      root =>
        !isOver(root) && !isAhead(root) && !(root.retiredAt !== null && root.retiredAt.getTime() <= clock()),
    )

  /** Which root is to be made. */
  function wanting({ roots, isTaken }: Reading): 'first' | 'next' | null {
    if (isTaken || roots.some(isAhead)) return null
    const last = current(roots)
    if (!last) return 'first'
    if (last.signer === null) return null
    return clock() >= handsOver(last) - rootTimes.ahead ? 'next' : null
  }

  const handsOver = ({ activeAt, notAfter }: Root): number =>
    Math.min(activeAt.getTime() + rootTimes.active, notAfter - rootTimes.spare)

  async function maintain(): Promise<void> {
    if (wanting(held) === null && !held.roots.some(isGone)) return
    await db.transaction(async tx => {
      await lockKeys(tx)
      // Another replica may have done it.
      const reading = await read(tx)
      const now = clock()
      const gone = reading.roots.filter(isGone).map(({ kid }) => kid)
      if (gone.length > 0) await removeRoots(tx, gone)
      const wanted = wanting(reading)
      const last = current(reading.roots)
      if (wanted === 'first') await insertRoot(tx, await newRow(now, now))
      if (wanted === 'next' && last) {
        const at = Math.max(
          Math.min(Math.max(handsOver(last), now + rootTimes.ahead), last.notAfter - rootTimes.spare),
          earliestUse(now, times),
        )
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
    })

  async function succeedBy(tx: Transaction, row: RootRow): Promise<void> {
    const now = clock()
    const { roots } = await read(tx)
    const same = roots.find(({ kid }) => kid === row.kid)
    const isChanged = same ? await restore(tx, same, row) : true
    if (!same) await insertRoot(tx, row)
    for (const root of roots)
      if (root !== same && !(root.retiredAt && root.retiredAt.getTime() <= now))
        await retire(tx, root, now, now + rootTimes.replaced + times.ttlMax)
    if (isChanged) await advanceBundle(tx, new Date(now))
  }

  /** One that is published already, retired perhaps, is in force again, with the certificate that it has now. Answers whether that is another. */
  async function restore(tx: Transaction, held: Root, row: RootRow): Promise<boolean> {
    const next = await openRootRow(masterKey, row)
    if (held.signer !== null)
      throw new HallpassError('malformed', 'The chain is refused: its root is the broker’s own.')
    if (next.subject !== held.subject)
      throw new HallpassError(
        'malformed',
        'The chain is refused: the key of its root is published under another name.',
      )
    await replaceRoot(tx, row)
    return !next.certificate.equals(held.certificate)
  }

  return {
    published: () => held.roots,
    signing: () => {
      const root = current(held.roots)
      return root?.signer ? root : null
    },
    isTaken: () => held.isTaken,
    sequence: () => held.sequence,
    reload,
    maintain,
    succeedBy,
  }
}
