import { batched } from './batch.ts'
import type { Database, Transaction } from './database.ts'
import type { DecisionRow } from './decision-row.ts'
import { answered, isUnavailable } from './failure.ts'
import type { Task } from './task-record.ts'
import { taskOf } from './tasks.ts'

/** The row of a credential that was minted. The credential itself is nowhere. */
export interface Credential {
  jti: string
  taskId: string
  taskVer: number
  type: 'jwt'
  scope: string
  audience: string[]
  kid: string
  issuedAt: Date
  expiresAt: Date
  revokedAt: Date | null
}

interface Row {
  jti: string
  task_id: string
  task_ver: number
  type: 'jwt'
  scope: string
  audience: string[]
  kid: string
  issued_at: Date
  expires_at: Date
  revoked_at: Date | null
}

const withTask = {
  name: 'credential_with_task',
  text: `SELECT c.jti, c.task_id, c.task_ver, c.type AS type, c.scope, c.audience, c.kid, c.issued_at, c.expires_at, c.revoked_at,
      t.id, t.trust, t.kind, t.ref, t.templated, t.purpose, t.principal, t.subject, t.state, t.close_reason, t.context, t.bind, t.ver,
      t.rev, t.opened_at, t.deadline, t.heartbeat_timeout, t.last_heartbeat_at, t.closed_at
    FROM credentials c JOIN tasks t ON t.id = c.task_id WHERE c.jti = ANY ($1::uuid[])`,
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
      const rows = await db.query<Row & Parameters<typeof taskOf>[0]>(withTask, [[...new Set(jtis)]])
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
    .selectFrom('credentials')
    .select([
      'jti',
      'task_id',
      'task_ver',
      'type',
      'scope',
      'audience',
      'kid',
      'issued_at',
      'expires_at',
      'revoked_at',
    ])
    .where('task_id', '=', taskId)
    .orderBy('jti', 'desc')
    .limit(limit)
  if (before) query = query.where('jti', '<', before)
  return (await answered(query.execute())).map(credentialOf)
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
  }
}
