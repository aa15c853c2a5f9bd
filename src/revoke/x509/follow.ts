import type { Clock } from '../../clock.ts'
import {
  readSignedBy,
  readTaskFacts,
  readTouchedCertificates,
  readWithdrawn,
  type SignedPage,
  type SignedPlace,
  type StoredCertificate,
  type TaskFacts,
} from '../../store/certificates.ts'
import type { Database } from '../../store/database.ts'
import { type RecordPage, readRecordPage } from '../../store/status-lists.ts'
import { type Entry, entryWriter, serialOf } from './entry.ts'
import { inTurns } from './in-turns.ts'
import { entryPages, type Pages } from './pages.ts'
import { crlReasons } from './reasons.ts'
import { type CertificateStatus, skewMost, statusOf } from './status.ts'

/** What an authority signed and is not good, and what became of itself. */
export interface FollowedAuthority {
  /** By the `jti`. */
  entries: ReadonlyMap<string, Entry>
  /** DER of those that stand in a complete CRL, many at a time. */
  complete(): Iterable<Buffer>
  /** Another one when the entries have changed. */
  version: number
  /** Milliseconds since the epoch; null where the record does not say that it was withdrawn, or no longer. */
  withdrawnAt: number | null
}

export interface CertificateReading {
  /** By the database's clock, in microseconds since the epoch: what was committed before is in it. */
  at: bigint
  /** Of the authority with that `kid`, until the next reading. */
  of(kid: string): FollowedAuthority
}

export interface CertificateRecord {
  /**
   * Reads the record to its end. One at a time: whoever goes through the entries must be done before the next one begins. Throws
   * `unavailable`.
   */
  read(): Promise<CertificateReading>
}

interface Followed extends FollowedAuthority {
  entries: Map<string, Entry>
  pages: Pages
}

interface Position {
  /** null where nothing of the record was read yet. */
  epoch: string | null
  seq: number
}

const start: Position = { epoch: null, seq: 0 }

/** Rows of the record at a time, and certificates of a withdrawn authority. */
const rowsMost = 1_000
const withdrawnMost = 5_000
/** Tasks of one statement at the most. */
const tasksMost = 5_000

/** How long after it expired a certificate stays: it must be on one CRL of after that (RFC 5280 §3.3). Milliseconds. */
const stay = 10 * 60_000
/** What can matter no more is read all the same for so long. Milliseconds; rows of the record are kept for longer. */
const margin = stay + 5 * 60_000
/** How often what has expired is looked for. Milliseconds. */
const forgetEvery = 60_000

/**
 * What has become of certificates is derived from the revocation record, and when somebody asks, as status lists are (status-list/follow.ts):
 * what the record's new rows are about is looked at again, as it is now. The first reading goes through every row that still matters.
 * What was looked at, and what it comes to, is the same on every replica.
 */
export function followCertificates({
  db,
  clock,
}: {
  db: Pick<Database, 'query'>
  clock: Clock
}): CertificateRecord {
  const write = entryWriter()
  let authorities = new Map<string, Followed>()
  let position = start
  let forgotAt = Number.NEGATIVE_INFINITY
  let changes = 0

  function authority(kid: string): Followed {
    const known = authorities.get(kid)
    if (known) return known
    const pages = entryPages()
    const followed = {
      entries: new Map(),
      pages,
      complete: pages.complete,
      version: ++changes,
      withdrawnAt: null,
    }
    authorities.set(kid, followed)
    return followed
  }

  function put(kid: string, jti: string, entry: Omit<Entry, 'der'> | null): void {
    const { entries, pages } = authority(kid)
    const before = entries.get(jti)
    const isSame = entry
      ? before?.reason === entry.reason && before.at === entry.at && before.changedAt === entry.changedAt
      : !before
    if (isSame) return
    if (entry) {
      const written = { ...entry, der: write(serialOf(jti), entry.at, entry.reason) }
      entries.set(jti, written)
      pages.put(jti, written)
    } else {
      entries.delete(jti)
      pages.remove(jti)
    }
    authority(kid).version = ++changes
  }

  async function read(): Promise<CertificateReading> {
    for (;;) {
      const now = clock()
      const page = await readRecordPage(db, {
        after: position.seq,
        until: new Date(now - margin),
        most: rowsMost,
      })
      if (page.head < position.seq || (position.epoch !== null && page.epoch !== position.epoch)) {
        // It went back, as after a restore.
        authorities = new Map()
        position = start
        continue
      }
      await apply(page, new Date(now - stay))
      position = { epoch: page.epoch, seq: page.next }
      if (page.more) continue
      await forget(now)
      return { at: page.readAt, of: authority }
    }
  }

  async function apply({ tasks, jtis, kids }: RecordPage, expired: Date): Promise<void> {
    if (tasks.length + jtis.length > 0) {
      const certificates = await readTouchedCertificates(db, { tasks, jtis, expired })
      const facts = await factsOf(certificates)
      await inTurns(certificates, one => put(one.kid, one.jti, entryOf(one, statusOf(one, facts))))
    }
    for (const kid of new Set(kids)) await withdraw(kid, expired)
  }

  async function factsOf(certificates: StoredCertificate[]): Promise<Map<string, TaskFacts>> {
    const ids = [...new Set(certificates.map(({ taskId }) => taskId))]
    const facts = new Map<string, TaskFacts>()
    for (let n = 0; n < ids.length; n += tasksMost)
      for (const [id, task] of await readTaskFacts(db, ids.slice(n, n + tasksMost))) facts.set(id, task)
    return facts
  }

  /** Everything that it signed is on its CRL, and what had ended before keeps its time. */
  async function withdraw(kid: string, expired: Date): Promise<void> {
    const withdrawnAt = await readWithdrawn(db, kid)
    if (withdrawnAt === null) return
    authority(kid).withdrawnAt = withdrawnAt
    for (let place: SignedPlace | null = { expiresAt: expired.toISOString(), jti: lastOfIds }; place; ) {
      const page: SignedPage = await readSignedBy(db, kid, place, withdrawnMost)
      await inTurns(page.certificates, ({ jti, expiresAt, revokedAt }) => {
        const before = authority(kid).entries.get(jti)
        const ended = before && isFinal(before) ? before.at : Number.POSITIVE_INFINITY
        const at = Math.min(revokedAt ?? Number.POSITIVE_INFINITY, withdrawnAt, ended)
        if (withdrawnAt < expiresAt + skewMost)
          put(kid, jti, { at, reason: crlReasons.caCompromise, changedAt: withdrawnAt, expiresAt })
      })
      place = page.next
    }
  }

  async function forget(now: number): Promise<void> {
    if (Math.abs(now - forgotAt) < forgetEvery) return
    forgotAt = now
    for (const [kid, { entries }] of authorities)
      await inTurns(entries, ([jti, { expiresAt }]) => {
        if (expiresAt + stay <= now) put(kid, jti, null)
      })
  }

  return { read }
}

/** Sorts after every other. */
const lastOfIds = 'ffffffff-ffff-ffff-ffff-ffffffffffff'

const isFinal = ({ reason }: Entry): boolean =>
  reason !== crlReasons.certificateHold && reason !== crlReasons.removeFromCrl

function entryOf({ expiresAt }: StoredCertificate, status: CertificateStatus): Omit<Entry, 'der'> | null {
  if (status.is === 'ended')
    return { at: status.at, reason: status.reason, changedAt: status.changedAt, expiresAt }
  if (status.is === 'held')
    return { at: status.at, reason: crlReasons.certificateHold, changedAt: status.changedAt, expiresAt }
  const at = status.releasedAt
  return at === null ? null : { at, reason: crlReasons.removeFromCrl, changedAt: at, expiresAt }
}
