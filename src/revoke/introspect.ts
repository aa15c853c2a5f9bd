import { HallpassError } from '../errors.ts'
import type { AccessTokenClaims } from '../mint/jwt.ts'
import type { Asker } from '../observe/asker.ts'
import { allowed, denied, newEvent } from '../observe/record.ts'
import type { CredentialWithTask } from '../store/credentials.ts'
import { circumstances } from '../task/authorize.ts'
import type { TaskDeps } from '../task/deps.ts'
import { viewOf } from '../task/view.ts'
import { isLive } from './live.ts'
import type { OwnTokens } from './own-token.ts'

export interface IntrospectDeps extends TaskDeps {
  openToken: OwnTokens
  readCredential: (jti: string) => Promise<CredentialWithTask | null>
}

/** What is told of a live token (RFC 7662 §2.2). */
export interface ActiveToken extends Omit<AccessTokenClaims, 'status'> {
  active: true
  token_type: 'Bearer'
}

export type Introspection = ActiveToken | { active: false }

const inactive: Introspection = { active: false }

/**
 * The truth about a token, read from the database as it is now. Anything unknown, dead, or not the caller's business is
 * `{ active: false }` and nothing more (RFC 7662 §2.2).
 */
export async function introspect(deps: IntrospectDeps, asker: Asker, token: string): Promise<Introspection> {
  const claims = deps.openToken(token)
  if (!claims) return unknown(deps, asker)
  const found = await deps.readCredential(claims.jti)
  if (!found) return unknown(deps, asker)

  const event = newEvent(asker, 'introspect', deps.clock(), {
    jti: claims.jti,
    audience: found.credential.audience,
  })
  event.task = found.task
  event.jti = claims.jti
  if (!mayIntrospect(deps, event.asker, found, decision => event.decisions.push(decision))) {
    await deps.writeDecision(
      denied(event, new HallpassError('refused', 'Policy does not allow to introspect it.')),
    )
    return inactive
  }
  const active = isLive(found, deps.clock())
  event.asked.active = active
  await deps.writeDecision(allowed(event))
  return active ? activeToken(claims) : inactive
}

/** That it was asked, and that there is nothing to tell. */
async function unknown(deps: IntrospectDeps, asker: Asker): Promise<Introspection> {
  const event = newEvent(asker, 'introspect', deps.clock(), {})
  await deps.writeDecision(denied(event, new HallpassError('not_found', 'It is no token of this broker.')))
  return inactive
}

/** A service is asked about one of the token's audiences: policy must allow it for any of them. */
function mayIntrospect(
  deps: IntrospectDeps,
  asker: Asker,
  { credential, task }: CredentialWithTask,
  seen: (decision: ReturnType<TaskDeps['decide']>) => void,
): boolean {
  if (asker.token || asker.principal.kind !== 'workload') return false
  const task_ = viewOf(task, asker)
  return credential.audience.some(audience => {
    const decision = deps.decide({
      ...circumstances(deps, asker),
      action: 'introspect',
      task: task_,
      audience,
    })
    seen(decision)
    return decision.allow
  })
}

/** What the token says of itself; its place in a list is of no use to who was told already. */
function activeToken({ status, ...claims }: AccessTokenClaims): ActiveToken {
  return { active: true, ...claims, token_type: 'Bearer' }
}
