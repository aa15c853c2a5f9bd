import type { TaskVersion } from './claims.ts'
import type { CredentialMessage, SnapshotMessage, TaskMessage } from './messages.ts'
import type { RefusalCode } from './refusal.ts'

/** What is dead, as the feed told it: a few maps in memory. */
export interface DeadRecord {
  /**
   * Everything that still matters. What the record that was followed till now (`isSameRecord`) said of keys stays: one is withdrawn for ever, but
   * is told only as long as what the broker signed with it can live, and whoever has stolen it signs for longer.
   */
  replace(snapshot: SnapshotMessage, isSameRecord: boolean): void
  /** A snapshot from before what is known: nothing comes alive by it, nor is a task suspended that has been resumed since. */
  merge(snapshot: SnapshotMessage): void
  task(message: TaskMessage): void
  credential(message: CredentialMessage): void
  key(kid: string): void
  /** Drops what can kill nothing any more. `at` is the database's time, in milliseconds since the epoch. */
  forget(at: number): void
  /** Why a credential is dead; null where nothing is known to have killed it (contract §6). */
  causeOf(credential: { kid: string; jti: string; tasks: readonly TaskVersion[] }): RefusalCode | null
  isWithdrawn(kid: string): boolean
  /** How many entries are held. */
  size(): number
}

interface Ended {
  state: string
  ver: number
  until: number
}

/** Milliseconds of the database's time between two searches for what may be dropped. */
const forgetEvery = 60_000

export function createDeadRecord(): DeadRecord {
  const tasks = new Map<string, Ended>()
  const credentials = new Map<string, number>()
  const keys = new Set<string>()
  let forgotten = Number.NEGATIVE_INFINITY

  /** Applied twice or late, it changes nothing: closed is final, versions only grow. */
  function task({ taskId, state, ver, until }: TaskMessage): void {
    const known = tasks.get(taskId)
    tasks.set(
      taskId,
      known
        ? {
            state: known.state === 'closed' ? known.state : state,
            ver: Math.max(known.ver, ver),
            until: Math.max(known.until, until),
          }
        : { state, ver, until },
    )
  }

  function credential({ jti, until }: CredentialMessage): void {
    credentials.set(jti, Math.max(credentials.get(jti) ?? 0, until))
  }

  function merge(snapshot: SnapshotMessage): void {
    for (const message of snapshot.tasks) {
      const isResumed = message.state === 'suspended' && tasks.get(message.taskId)?.state === 'open'
      task(isResumed ? { ...message, state: 'open' } : message)
    }
    for (const message of snapshot.credentials) credential(message)
    for (const kid of snapshot.keys) keys.add(kid)
  }

  function ended({ id, ver }: TaskVersion): RefusalCode | null {
    const known = tasks.get(id)
    if (known === undefined) return null
    if (known.state === 'suspended') return 'task_suspended'
    // A state that this version does not know is not `open` either.
    if (known.state !== 'open') return 'task_closed'
    return ver < known.ver ? 'task_changed' : null
  }

  return {
    replace(snapshot, isSameRecord) {
      tasks.clear()
      credentials.clear()
      if (!isSameRecord) keys.clear()
      forgotten = snapshot.at
      merge(snapshot)
    },
    merge,
    task,
    credential,
    key: kid => void keys.add(kid),
    forget(at) {
      if (at - forgotten < forgetEvery) return
      forgotten = at
      for (const [id, { until }] of tasks) if (until < at) tasks.delete(id)
      for (const [jti, until] of credentials) if (until < at) credentials.delete(jti)
    },
    causeOf({ kid, jti, tasks: path }) {
      if (keys.has(kid)) return 'key_withdrawn'
      for (const each of path) {
        const cause = ended(each)
        if (cause !== null) return cause
      }
      return credentials.has(jti) ? 'credential_revoked' : null
    },
    isWithdrawn: kid => keys.has(kid),
    size: () => tasks.size + credentials.size + keys.size,
  }
}
