import type { Config, SigningAlg } from '../config.ts'
import { HallpassError } from '../errors.ts'
import { newId } from '../ids.ts'
import type { Asker } from '../observe/asker.ts'
import { allowed, newEvent, refusalsLogged } from '../observe/record.ts'
import type { NewCredential, Reservation, Reserved } from '../store/reservation.ts'
import type { Task } from '../store/task-record.ts'
import { mustNotBeBlocked, mustNotBeBlockedNow } from '../task/blocked.ts'
import { type ForMintDeps, taskForMint, type Wanted } from '../task/for-mint.ts'
import { type Ask, checkAsk, decideMint, type Grant } from './ask.ts'
import { signAccessToken } from './jwt.ts'
import type { Keyring } from './keyring.ts'
import type { SigningKey } from './signing-key.ts'
import { type StatusIndexes, statusListUri } from './status-index.ts'

export interface MintDeps extends ForMintDeps {
  issuer: string
  credentials: Config['credentials']
  keyring: Keyring
  reserve: (reservation: Reservation) => Promise<Reserved>
  /** Gives each credential its place in a status list. */
  statusIndexes: StatusIndexes
  /** The version of the policy set in force. */
  policyVersion: () => string
}

export interface Issued {
  accessToken: string
  jti: string
  /** Seconds. */
  expiresIn: number
  scope: string
  taskId: string
}

/** How often a decision is taken again because what it rested on changed while it was taken. */
const attemptsMost = 8

/**
 * The story of a mint, once the attestation is verified: find or open the task, decide, reserve, sign (architecture, Issue (3) to
 * (6)). A credential's row is committed before it is signed (invariant 1). Throws the codes of contract §4's table.
 */
export async function issue(deps: MintDeps, asker: Asker, ask: Ask & Wanted): Promise<Issued> {
  const event = newEvent(asker, 'mint', deps.clock(), {
    scope: ask.scopes.join(' '),
    audience: ask.audiences,
    ttl: ask.ttl,
    task_id: ask.taskId,
    task_ver: ask.taskVer,
    credential: 'jwt',
  })
  return refusalsLogged(event, deps.writeDecision, async () => {
    if (asker.token || asker.principal.kind !== 'workload')
      throw new HallpassError('refused', 'Only a workload’s attestation mints.')
    checkAsk(ask, deps.issuer)
    const who = { principal: asker.principal.id, trust: asker.principal.trust }
    await mustNotBeBlocked(deps.blocks, who)
    const alg = algFor(deps.credentials, ask.audiences)

    for (let attempt = 1; attempt <= attemptsMost; attempt++) {
      // An attempt that came to nothing may have left its row.
      event.id = newId()
      event.decisions = []
      event.jti = null
      let recalled = false
      let task: Task
      let key: SigningKey
      let credential: NewCredential
      try {
        task = await taskForMint(deps, asker, ask, attempt > 1, found => {
          event.task = found.task
          recalled = found.recalled
        })
        const grant = decideMint(deps, deps.credentials, event, task, ask)
        key = deps.keyring.signer(alg)
        credential = await newCredential(deps, task, ask, grant, key)
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
      if (reserved === 'reserved') return sign(deps, task, credential, key)
      event.jti = null
      await deps.keyring.reload()
    }
    throw new HallpassError('unavailable', 'The task keeps changing.', { retryAfter: 1 })
  })
}

/** One token has one signature. Throws `invalid_target` where the audiences need different algorithms. */
function algFor({ signingAlg, signingAlgFor }: Config['credentials'], audiences: string[]): SigningAlg {
  const algs = new Set(
    audiences.map(
      audience =>
        (Object.hasOwn(signingAlgFor, audience) ? signingAlgFor[audience] : undefined) ?? signingAlg,
    ),
  )
  const [alg] = algs
  if (algs.size !== 1 || !alg)
    throw new HallpassError('invalid_target', 'These audiences need tokens signed with different algorithms.')
  return alg
}

async function newCredential(
  { clock, credentials, statusIndexes }: MintDeps,
  task: Task,
  { scopes, audiences }: Ask,
  grant: Grant,
  key: SigningKey,
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
    type: 'jwt',
    scope: scopes.join(' '),
    audience: audiences,
    kid: key.kid,
    issuedAt: new Date(issuedAt * 1000),
    expiresAt: new Date(expiresAt * 1000),
    pathVers: task.ancestors.length === 0 ? null : task.ancestors.map(({ ver }) => ver),
    status: await statusIndexes.take(key.kid, new Date(expiresAt * 1000)),
  }
}

function useOf({ principal, requestId }: Asker): Reservation['use'] {
  const { reuse, useKey: key, acceptableUntil } = principal.attestation
  return reuse === 'once' ? { key, requestId, acceptableUntil: new Date(acceptableUntil) } : null
}

async function sign(
  { issuer }: MintDeps,
  task: Task,
  credential: NewCredential,
  key: SigningKey,
): Promise<Issued> {
  const { jti, scope, audience, status } = credential
  const iat = credential.issuedAt.getTime() / 1000
  const exp = credential.expiresAt.getTime() / 1000
  const accessToken = await signAccessToken(key, {
    iss: issuer,
    sub: task.subject,
    client_id: task.principal,
    aud: audience.length === 1 ? (audience[0] as string) : audience,
    iat,
    exp,
    jti,
    scope,
    task_id: task.id,
    task_ver: task.ver,
    ...(task.ancestors.length > 0 && { task_path: task.ancestors.map(({ id, ver }) => `${id}:${ver}`) }),
    status: { status_list: { idx: status.idx, uri: statusListUri(issuer, status.list) } },
  })
  return { accessToken, jti, expiresIn: exp - iat, scope, taskId: task.id }
}
