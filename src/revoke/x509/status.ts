import type { StoredCertificate, TaskFacts } from '../../store/certificates.ts'
import { type CrlReason, crlReasons, reasonOfClosed } from './reasons.ts'

/**
 * What has become of a certificate, by contract §6, whether or not it has expired. Times are in milliseconds since the epoch.
 * `changedAt` is when it last became what it is, so that whoever knows what it was before can tell whether that still holds.
 */
export type CertificateStatus =
  | {
      is: 'good'
      /** When it was last released from a hold; null where it was never on one, as far as the record still tells. */
      releasedAt: number | null
    }
  | { is: 'held'; at: number; changedAt: number }
  | { is: 'ended'; at: number; changedAt: number; reason: CrlReason }

/**
 * How far the clocks of two replicas that serve may differ, in milliseconds: a minute off the database's each. What one wrote first may
 * say that it was written later.
 */
export const skewMost = 120_000

interface End {
  at: number
  reason: CrlReason
}

/** What everything that is known comes to; `tasks` are those of the certificate's own path, by their IDs. */
export function statusOf(
  certificate: StoredCertificate,
  tasks: ReadonlyMap<string, TaskFacts>,
): CertificateStatus {
  const { revokedAt, withdrawnAt, issuedAt } = certificate
  // What it was when it expired it stays; but clocks differ, and what came soon after may have come before.
  const over = certificate.expiresAt + skewMost
  const path = pathOf(certificate, tasks)
  const ends: End[] = path
    ? path.flatMap(member => endsOf(member, issuedAt))
    : [{ at: issuedAt, reason: crlReasons.unspecified }]
  if (revokedAt !== null) ends.push({ at: revokedAt, reason: crlReasons.privilegeWithdrawn })
  if (withdrawnAt !== null) ends.push({ at: withdrawnAt, reason: crlReasons.caCompromise })
  const first = ends.reduce<End | null>((one, end) => (one && one.at <= end.at ? one : end), null)
  if (first && first.at < over) {
    const { at, reason } = first
    // Nothing that such an authority signed is to be believed, not even what it was ended for.
    return withdrawnAt !== null && withdrawnAt < over
      ? { is: 'ended', at, reason: crlReasons.caCompromise, changedAt: withdrawnAt }
      : { is: 'ended', at, reason, changedAt: at }
  }
  const heldAt = least((path ?? []).map(({ task }) => suspendedAt(task, issuedAt, over)))
  if (heldAt !== null) return { is: 'held', at: heldAt, changedAt: heldAt }
  const releases = (path ?? [])
    .flatMap(({ task }) => releasesOf(task))
    .filter(at => at >= issuedAt - skewMost && at < over)
  return { is: 'good', releasedAt: releases.length > 0 ? Math.max(...releases) : null }
}

/** A task of the path, and the `ver` that it had when the certificate was minted. */
interface Member {
  task: TaskFacts
  ver: number
}

/** Root first; null where the path is not the one that it was minted for, or is gone. */
function pathOf(
  { taskId, taskVer, pathVers }: StoredCertificate,
  tasks: ReadonlyMap<string, TaskFacts>,
): Member[] | null {
  const own = tasks.get(taskId)
  if (!own || own.path.length !== pathVers.length) return null
  const members: Member[] = []
  for (const [n, ver] of pathVers.entries()) {
    const task = tasks.get(own.path[n] as string)
    if (!task) return null
    members.push({ task, ver })
  }
  members.push({ task: own, ver: taskVer })
  return members
}

function endsOf({ task, ver }: Member, issuedAt: number): End[] {
  const ends: End[] = []
  if (task.state !== 'open' && task.state !== 'suspended')
    ends.push({
      at: task.closedAt ?? issuedAt,
      reason: task.closeReason ? reasonOfClosed[task.closeReason] : crlReasons.unspecified,
    })
  if (task.ver > ver)
    ends.push({
      at: task.changes.find(change => change.ver > ver)?.at ?? issuedAt,
      reason: crlReasons.superseded,
    })
  return ends
}

/** Since when it was suspended when the certificate was over, or is now; null where it was not. */
function suspendedAt({ state, changes }: TaskFacts, issuedAt: number, over: number): number | null {
  const known = changes.filter(({ at }) => at < over)
  // The record no longer has it, or never had: nothing of it was changed.
  if (known.length === 0) return state === 'suspended' && changes.length === 0 ? issuedAt : null
  if (known.at(-1)?.state !== 'suspended') return null
  const before = known.findLastIndex(change => change.state !== 'suspended')
  return known[before + 1]?.at ?? issuedAt
}

/** When it was resumed, each time. */
const releasesOf = ({ changes }: TaskFacts): number[] =>
  changes
    .filter(({ state }, n) => state === 'open' && changes[n - 1]?.state === 'suspended')
    .map(({ at }) => at)

const least = (times: (number | null)[]): number | null =>
  times.reduce((one, other) => (one === null || (other !== null && other < one) ? other : one), null)
