import { HallpassError } from '../errors.ts'
import type { Asker } from '../observe/asker.ts'
import { allowed, denied, newEvent, refusalsLogged } from '../observe/record.ts'
import { type CredentialWithTask, revokeCredential } from '../store/credentials.ts'
import { writeDecisions } from '../store/decisions.ts'
import { appendRevocations } from '../store/revocations.ts'
import { authorize } from '../task/authorize.ts'
import type { TaskDeps } from '../task/deps.ts'
import type { OwnTokens } from './own-token.ts'

export interface RevokeDeps extends TaskDeps {
  openToken: OwnTokens
  readCredential: (jti: string) => Promise<CredentialWithTask | null>
}

/** Ends one credential, for ever. Repeating it changes nothing. Throws `not_found` and `refused` as for its task. */
export async function revoke(
  deps: RevokeDeps,
  asker: Asker,
  jti: string,
  { reason }: { reason?: string | undefined },
): Promise<CredentialWithTask> {
  const event = newEvent(asker, 'revoke', deps.clock(), { jti, reason })
  return refusalsLogged(event, deps.writeDecision, async () => {
    const found = await deps.readCredential(jti)
    if (found) event.jti = jti
    authorize(deps, event, found?.task ?? null, 'revoke')
    const { credential, task } = found as CredentialWithTask
    await deps.db.transaction(async tx => {
      const first = await revokeCredential(tx, jti, event.at)
      await writeDecisions(tx, [allowed(event)])
      if (first)
        await appendRevocations(tx, [{ at: event.at, jti, reason: 'revoked', until: credential.expiresAt }])
    })
    return { credential: { ...credential, revokedAt: credential.revokedAt ?? event.at }, task }
  })
}

/**
 * RFC 7009 §2: revokes the token that is presented. A token that is unknown, or that is none of the caller's business, is answered as
 * one that was revoked (§2.2). Throws `refused` to a caller who may see its task and not revoke it.
 */
export async function revokeToken(deps: RevokeDeps, asker: Asker, token: string): Promise<void> {
  const claims = deps.openToken(token)
  if (!claims) {
    const event = newEvent(asker, 'revoke', deps.clock(), {})
    await deps.writeDecision(denied(event, new HallpassError('not_found', 'It is no token of this broker.')))
    return
  }
  try {
    await revoke(deps, asker, claims.jti, {})
  } catch (error) {
    if (!(error instanceof HallpassError && error.code === 'not_found')) throw error
  }
}
