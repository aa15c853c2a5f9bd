import type { DecisionRow } from './decision-row.ts'
import type { Use } from './uses.ts'

/** A credential about to be signed, with all that it rests on. */
export interface Reservation {
  /** The task and its ancestors, as they were decided on. */
  task: { id: string; rev: number; ancestors: { id: string; rev: number }[] }
  credential: NewCredential
  /** Set where the attestation may be used once. */
  use: Use | null
  decision: DecisionRow
  now: Date
  /** Whether the policy set that decided is still the one in force. */
  policyStands: () => boolean
}

export interface NewCredential {
  jti: string
  taskId: string
  taskVer: number
  type: CredentialType
  scope: string
  audience: string[]
  kid: string
  issuedAt: Date
  expiresAt: Date
  /** `ver` of each ancestor of the task, root first; null where it has none. */
  pathVers: number[] | null
  /** null for certificates: their ends are told by CRL and OCSP. */
  status: StatusEntry | null
}

/** What was minted: an access token or a certificate. */
export type CredentialType = 'jwt' | 'x509'

/** A credential's place in a Token Status List: no other credential ever has it. */
export interface StatusEntry {
  list: string
  idx: number
}

/**
 * `stale`: what was decided no longer stands (the task changed or ended, its deadline passed, the policy or the signing key was
 * replaced); read again and decide again. `reused`: the attestation was used before.
 */
export type Reserved = 'reserved' | 'stale' | 'reused'

/** The task and those above it. */
export const pathOf = ({ task }: Reservation): string[] => [task.id, ...task.ancestors.map(({ id }) => id)]

/** The top of the task's tree. */
export const rootOf = ({ task }: Reservation): string => task.ancestors[0]?.id ?? task.id

/** The columns of a credential as JSON gives them to `jsonb_to_recordset`, and their names. */
export const credentialColumns = `jti uuid, task_id uuid, task_ver integer, type text, scope text, audience text[], kid text,
  decision_id uuid, issued_at timestamptz, expires_at timestamptz, path_vers integer[], status_list uuid, status_idx integer`
export const credentialNames = `jti, task_id, task_ver, type, scope, audience, kid, decision_id, issued_at, expires_at, path_vers,
  status_list, status_idx`

export function credentialJson({ credential, decision }: Reservation): Record<string, unknown> {
  return {
    jti: credential.jti,
    task_id: credential.taskId,
    task_ver: credential.taskVer,
    type: credential.type,
    scope: credential.scope,
    audience: credential.audience,
    kid: credential.kid,
    decision_id: decision.id,
    issued_at: credential.issuedAt,
    expires_at: credential.expiresAt,
    path_vers: credential.pathVers,
    status_list: credential.status?.list ?? null,
    status_idx: credential.status?.idx ?? null,
  }
}
