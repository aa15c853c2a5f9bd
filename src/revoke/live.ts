import type { CredentialWithTask } from '../store/credentials.ts'

/** Whether a credential is live (contract §6), by what is known now of its task, of those above it, and of its signing key. */
export function isLive({ credential, task }: CredentialWithTask, now: number): boolean {
  return (
    now < credential.expiresAt.getTime() &&
    credential.revokedAt === null &&
    !credential.keyWithdrawn &&
    task.state === 'open' &&
    now < task.deadline.getTime() &&
    task.ver <= credential.taskVer &&
    // One that was minted where the path was another is none of this path's.
    task.ancestors.length === credential.pathVers.length &&
    task.ancestors.every(({ state, ver }, i) => state === 'open' && ver <= (credential.pathVers[i] ?? 0))
  )
}
