import type { Asker } from '../observe/asker.ts'
import { allowed, newEvent, refusalsLogged } from '../observe/record.ts'
import { type CredentialWithTask, listCredentials } from '../store/credentials.ts'
import { authorize } from '../task/authorize.ts'
import { type Page, readTask } from '../task/read.ts'
import type { RevokeDeps } from './revoke.ts'

/** What was minted for a task that the caller may read, newest first. Throws `not_found`. */
export async function listTaskCredentials(
  deps: RevokeDeps,
  asker: Asker,
  taskId: string,
  { cursor, limit }: { cursor: string | null; limit: number },
): Promise<Page<CredentialWithTask>> {
  const task = await readTask(deps, asker, taskId, { credentials: true })
  const rows = await listCredentials(deps.db, taskId, cursor, limit + 1)
  const items = rows.slice(0, limit).map(credential => ({ credential, task }))
  return { items, next: rows.length > limit ? (items.at(-1)?.credential.jti ?? null) : null }
}

/** The record of one credential of a task that the caller may read. Throws `not_found`. */
export function readOneCredential(deps: RevokeDeps, asker: Asker, jti: string): Promise<CredentialWithTask> {
  const event = newEvent(asker, 'read', deps.clock(), { jti })
  return refusalsLogged(event, deps.writeDecision, async () => {
    const found = await deps.readCredential(jti)
    authorize(deps, event, found?.task ?? null, 'read')
    event.jti = jti
    await deps.writeDecision(allowed(event))
    return found as CredentialWithTask
  })
}
