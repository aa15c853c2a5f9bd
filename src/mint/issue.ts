import type { Config } from '../config.ts'
import { HallpassError } from '../errors.ts'
import { newId } from '../ids.ts'
import type { Asker } from '../observe/asker.ts'
import { allowed, newEvent, refusalsLogged } from '../observe/record.ts'
import type {
  CredentialType,
  NewCredential,
  Reservation,
  Reserved,
  StatusEntry,
} from '../store/reservation.ts'
import type { Task } from '../store/task-record.ts'
import { mustNotBeBlocked, mustNotBeBlockedNow } from '../task/blocked.ts'
import { type ForMintDeps, taskForMint, type Wanted } from '../task/for-mint.ts'
import { type Ask, checkAsk, decideMint, type Grant } from './ask.ts'

export interface MintDeps extends ForMintDeps {
  issuer: string
  credentials: Config['credentials']
  reserve: (reservation: Reservation) => Promise<Reserved>
  /** The version of the policy set in force. */
  policyVersion: () => string
}

/** What signs a credential, and until when that may be valid. */
export interface Signer {
  kid: string
  lastDay: Date | null
}

/** A kind of credential: what is told apart in the story of its mint. */
export interface Form<Key extends Signer, Issued> {
  type: CredentialType
  /** What was asked beyond what every mint asks, for the log. */
  asked: Record<string, unknown>
  /** Refuses what no task is needed to refuse: `malformed`, `invalid_target`. Answers what more was asked, for the log. */
  check(): Record<string, unknown>
  /** What signs it now. Throws `unavailable` while there is nothing, `malformed` for a task whose credential cannot be written. */
  signer(task: Task): Key
  /** Its place in a status list; null where it has none. */
  place(key: Key, expiresAt: Date): Promise<StatusEntry | null> | StatusEntry | null
  /** Reads what signs again: what was decided did not stand, and a key may be why. */
  reload(): Promise<void>
  /** Signs what was reserved. */
  sign(task: Task, credential: NewCredential, key: Key, grant: Grant): Promise<Issued> | Issued
}

/** How often a decision is taken again because what it rested on changed while it was taken. */
const attemptsMost = 8

/**
 * The story of a mint, once the attestation is verified: find or open the task, decide, reserve, sign (architecture, Issue (3) to
 * (6)). A credential's row is committed before it is signed (invariant 1). Throws the codes of contract §4's table.
 */
export async function issue<Key extends Signer, Issued>(
  deps: MintDeps,
  asker: Asker,
  ask: Ask & Wanted,
  form: Form<Key, Issued>,
): Promise<Issued> {
  const event = newEvent(asker, 'mint', deps.clock(), {
    scope: ask.scopes.join(' '),
    audience: ask.audiences,
    ttl: ask.ttl,
    task_id: ask.taskId,
    task_ver: ask.taskVer,
    credential: form.type,
    ...(ask.binding && { binding: ask.binding }),
    ...form.asked,
  })
  return refusalsLogged(event, deps.writeDecision, async () => {
    if (asker.token || asker.principal.kind !== 'workload')
      throw new HallpassError('refused', 'Only a workload’s attestation mints.')
    checkAsk(ask, asker, deps.issuer)
    Object.assign(event.asked, form.check())
    const who = { principal: asker.principal.id, trust: asker.principal.trust }
    await mustNotBeBlocked(deps.blocks, who)

    for (let attempt = 1; attempt <= attemptsMost; attempt++) {
      // An attempt that came to nothing may have left its row.
      event.id = newId()
      event.decisions = []
      event.jti = null
      let recalled = false
      let task: Task
      let grant: Grant
      let key: Key
      let credential: NewCredential
      try {
        task = await taskForMint(deps, asker, ask, attempt > 1, found => {
          event.task = found.task
          recalled = found.recalled
        })
        grant = decideMint(deps, deps.credentials, event, task, ask)
        key = form.signer(task)
        credential = await newCredential(deps, task, ask, grant, form, key)
      } catch (error) {
        // A refusal that rests on memory is taken again on what is there now.
        if (recalled) continue
        // Where another replica has blocked the principal, that is why its task is closed.
        if (error instanceof HallpassError && error.code === 'task_closed')
          await mustNotBeBlockedNow(deps.blocks, who)
        throw error
      }
      event.jti = credential.jti

      const reserved = await deps.reserve({
        task: { id: task.id, rev: task.rev, ancestors: task.ancestors },
        credential,
        use: useOf(asker),
        decision: allowed(event),
        now: new Date(deps.clock()),
        policyStands: () => event.decisions.every(decision => decision.version === deps.policyVersion()),
      })
      if (reserved === 'reused') {
        event.jti = null
        throw new HallpassError('attestation_reused', 'The attestation was used before.')
      }
      if (reserved === 'reserved') return form.sign(task, credential, key, grant)
      event.jti = null
      await form.reload()
    }
    throw new HallpassError('unavailable', 'The task keeps changing.', { retryAfter: 1 })
  })
}

async function newCredential<Key extends Signer>(
  { clock, credentials }: MintDeps,
  task: Task,
  { scopes, audiences }: Ask,
  grant: Grant,
  { type, place }: Form<Key, unknown>,
  key: Key,
): Promise<NewCredential> {
  const issuedAt = Math.floor(clock() / 1000)
  // Invariant 2.
  const expiresAt = Math.floor(
    Math.min(
      issuedAt + grant.ttl,
      issuedAt + credentials.ttlMax / 1000,
      task.deadline.getTime() / 1000,
      (key.lastDay?.getTime() ?? Number.POSITIVE_INFINITY) / 1000,
    ),
  )
  if (expiresAt <= issuedAt) throw new HallpassError('task_closed', 'The task is at its deadline.')
  return {
    jti: newId(),
    taskId: task.id,
    taskVer: task.ver,
    type,
    scope: scopes.join(' '),
    audience: audiences,
    kid: key.kid,
    issuedAt: new Date(issuedAt * 1000),
    expiresAt: new Date(expiresAt * 1000),
    pathVers: task.ancestors.length === 0 ? null : task.ancestors.map(({ ver }) => ver),
    status: await place(key, new Date(expiresAt * 1000)),
  }
}

function useOf({ principal, requestId }: Asker): Reservation['use'] {
  const { reuse, useKey: key, acceptableUntil } = principal.attestation
  return reuse === 'once' ? { key, requestId, acceptableUntil: new Date(acceptableUntil) } : null
}
