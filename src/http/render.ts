import { writePem } from '../der/pem.ts'
import type { Dated } from '../mint/custody.ts'
import type { IssuedToken } from '../mint/issue-token.ts'
import type { KeyState } from '../mint/key-schedule.ts'
import type { IssuedCertificate } from '../mint/x509/issue-certificate.ts'
import { isLive } from '../revoke/live.ts'
import type { Block } from '../store/blocks.ts'
import type { CredentialWithTask } from '../store/credentials.ts'
import type { DecisionRow } from '../store/decision-row.ts'
import type { KeyUse } from '../store/signing-keys.ts'
import type { Task } from '../store/task-record.ts'
import type * as wire from './openapi.generated.d.ts'

/** Records as the outside sees them (contract §5, openapi.yaml). */

export const taskJson = (task: Task): wire.Task => ({
  id: task.id,
  kind: task.kind,
  ref: task.ref,
  purpose: task.purpose,
  principal: task.principal,
  subject: task.subject,
  trust: task.trust,
  parent_id: task.parentId,
  state: task.state,
  close_reason: task.closeReason,
  context: task.context,
  bind: task.bind,
  ver: task.ver,
  opened_at: time(task.openedAt),
  deadline: time(task.deadline),
  heartbeat_timeout: task.heartbeatTimeout,
  last_heartbeat_at: timeOrNull(task.lastHeartbeatAt),
  closed_at: timeOrNull(task.closedAt),
})

/** Grows with every change that a decision may rest on. */
export const entityTag = ({ rev }: Task): string => `"${rev}"`

export const credentialJson = ({ credential, task }: CredentialWithTask, now: number): wire.Credential => ({
  jti: credential.jti,
  type: credential.type,
  task_id: credential.taskId,
  task_ver: credential.taskVer,
  scope: credential.scope,
  audience: credential.audience as [string, ...string[]],
  kid: credential.kid,
  issued_at: time(credential.issuedAt),
  expires_at: time(credential.expiresAt),
  revoked_at: timeOrNull(credential.revokedAt),
  live: isLive({ credential, task }, now),
})

export const tokenJson = (
  issued: IssuedToken,
  { exchanged }: { exchanged: boolean },
): wire.TokenResponse => ({
  access_token: issued.accessToken,
  ...(exchanged && { issued_token_type: 'urn:ietf:params:oauth:token-type:access_token' as const }),
  token_type: 'Bearer',
  expires_in: issued.expiresIn,
  scope: issued.scope,
  task_id: issued.taskId,
})

/** Authorities sign very many certificates, each of which comes with theirs. */
const chainPems = new WeakMap<Buffer, string>()

function chainPem(der: Buffer): string {
  const known = chainPems.get(der)
  if (known !== undefined) return known
  const pem = writePem('CERTIFICATE', der)
  chainPems.set(der, pem)
  return pem
}

export const certificateJson = (issued: IssuedCertificate): wire.CertificateResponse => ({
  jti: issued.jti,
  serial: issued.serial,
  ...(issued.certificate && { certificate: writePem('CERTIFICATE', issued.certificate) }),
  ...(issued.pkcs12 && { pkcs12: issued.pkcs12.toString('base64') }),
  chain: issued.chain.map(chainPem) as [string, ...string[]],
  expires_at: time(issued.expiresAt),
  task_id: issued.taskId,
})

export const decisionJson = (row: DecisionRow): wire.DecisionRecord => ({
  id: row.id,
  at: time(row.at),
  request_id: row.requestId,
  action: row.action,
  decision: row.decision,
  code: row.code as wire.ErrorCode | null,
  reason: row.reason,
  principal: row.principal,
  trust: row.trust,
  task_id: row.taskId,
  task_ver: row.taskVer,
  jti: row.jti,
  policy_version: row.policyVersion,
  policies: row.policies,
  asked: row.asked,
  workload: row.workload,
  context: row.context,
  address: row.address,
})

export const keyJson = (key: Dated & { state: KeyState; use: KeyUse }): wire.SigningKey => ({
  kid: key.kid,
  use: key.use,
  alg: key.alg,
  state: key.state as wire.SigningKey['state'],
  published_at: time(key.publishedAt),
  active_at: time(key.activeAt),
  retired_at: timeOrNull(key.retiredAt),
  last_day: timeOrNull(key.lastDay),
})

export const blockJson = (block: Block): wire.Block => ({
  id: block.id,
  principal: block.principal,
  trust: block.trust,
  everything: block.everything,
  reason: block.reason,
  created_at: time(block.createdAt),
  created_by: block.createdBy,
  until: timeOrNull(block.until),
})

const time = (date: Date): string => date.toISOString()
const timeOrNull = (date: Date | null): string | null => date?.toISOString() ?? null
