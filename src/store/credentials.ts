import { batched } from './batch.ts'
import type { Database, Transaction } from './database.ts'
import type { DecisionRow } from './decision-row.ts'
import { answered, isUnavailable } from './failure.ts'
import type { CredentialType } from './reservation.ts'
import type { Task } from './task-record.ts'
import { type TaskRow, taskColumns, taskOf } from './tasks.ts'

/** The row of a credential that was minted. The credential itself is nowhere. */
export interface Credential {
  jti: string
  taskId: string
  taskVer: number
  type: CredentialType
  scope: string
  audience: string[]
  kid: string
  issuedAt: Date
  expiresAt: Date
  revokedAt: Date | null
  /** `ver` of each ancestor of the task, root first, as it was minted; none at the root. */
  pathVers: number[]
  /** Its signing key was withdrawn: everything that it signed is dead. */
  keyWithdrawn: boolean
}

interface Row {
  jti: string
  task_id: string
  task_ver: number
  type: CredentialType
  scope: string
  audience: string[]
  kid: string
  issued_at: Date
  expires_at: Date
  revoked_at: Date | null
  path_vers: number[] | null
  key_withdrawn: boolean
}

const withTask = {
  name: 'credential_with_task',
  text: `SELECT c.jti, c.task_id, c.task_ver, c.type, c.scope, c.audience, c.kid, c.issued_at, c.expires_at, c.revoked_at,
      c.path_vers, k.withdrawn_at IS NOT NULL AS key_withdrawn, ${taskColumns}
    FROM credentials c JOIN tasks t ON t.id = c.task_id LEFT JOIN signing_keys k ON k.kid = c.kid
    WHERE c.jti = ANY ($1::uuid[])`,
}
const mintedForJti = {
  name: 'credential_minted_for',
  text: 'SELECT d.workload FROM credentials c JOIN decisions d ON d.id = c.decision_id WHERE c.jti = $1',
}
const revoke = {
  name: 'credential_revoke',
  text: `UPDATE credentials SET revoked_at = $2 WHERE jti = $1 AND revoked_at IS NULL RETURNING jti`,
}

export interface CredentialWithTask {
  credential: Credential
  task: Task
}

/** Reads a credential and its task as they are committed now, one statement for all who ask at the same time. */
export function credentialReader(db: Database): (jti: string) => Promise<CredentialWithTask | null> {
  return batched<string, CredentialWithTask | null>(
    async jtis => {
      const rows = await db.query<Row & TaskRow>(withTask, [[...new Set(jtis)]])
      const found = new Map(rows.map(row => [row.jti, { credential: credentialOf(row), task: taskOf(row) }]))
      return jtis.map(jti => found.get(jti) ?? null)
    },
    { most: 500, isShared: isUnavailable },
  )
}

/** The claims and groups of the attestation that a credential was minted for; null where the log no longer has them. */
export async function mintedFor(
  db: Database,
  jti: string,
): Promise<NonNullable<DecisionRow['workload']> | null> {
  const [row] = await db.query<{ workload: DecisionRow['workload'] }>(mintedForJti, [jti])
  return row?.workload ?? null
}

/** Newest first; `before` is the `jti` of the last one of the page before. */
export async function listCredentials(
  db: Database,
  taskId: string,
  before: string | null,
  limit: number,
): Promise<Credential[]> {
  let query = db.kysely
    .selectFrom('credentials as c')
    .leftJoin('signing_keys as k', 'k.kid', 'c.kid')
    .select([
      'c.jti',
      'c.task_id',
      'c.task_ver',
      'c.type',
      'c.scope',
      'c.audience',
      'c.kid',
      'c.issued_at',
      'c.expires_at',
      'c.revoked_at',
      'c.path_vers',
    ])
    .select(eb => eb('k.withdrawn_at', 'is not', null).as('key_withdrawn'))
    .where('c.task_id', '=', taskId)
    .orderBy('c.jti', 'desc')
    .limit(limit)
  if (before) query = query.where('c.jti', '<', before)
  return (await answered(query.execute())).map(row =>
    credentialOf({ ...row, key_withdrawn: Boolean(row.key_withdrawn) }),
  )
}

/** Whether this call is the one that revoked it. */
export async function revokeCredential(tx: Transaction, jti: string, at: Date): Promise<boolean> {
  return (await tx.query(revoke, [jti, at])).length === 1
}

function credentialOf(row: Row): Credential {
  return {
    jti: row.jti,
    taskId: row.task_id,
    taskVer: row.task_ver,
    type: row.type,
    scope: row.scope,
    audience: row.audience,
    kid: row.kid,
    issuedAt: row.issued_at,
    expiresAt: row.expires_at,
    revokedAt: row.revoked_at,
    pathVers: row.path_vers ?? [],
    keyWithdrawn: row.key_withdrawn,
  }
}
