import type { CredentialWithTask } from '../store/credentials.ts'

/** Whether a credential is live (contract §6). What is published of keys is checked where the signature is. */
export function isLive({ credential, task }: CredentialWithTask, now: number): boolean {
  return (
    now < credential.expiresAt.getTime() &&
    credential.revokedAt === null &&
    task.state === 'open' &&
    now < task.deadline.getTime() &&
    task.ver <= credential.taskVer
  )
}
