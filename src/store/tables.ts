import type { ColumnType } from 'kysely'
import type { CloseReason, TaskState } from './task-record.ts'

/** jsonb: read as parsed, written as text. */
type Json<T> = ColumnType<T, string, string>

/** The tables of migrations/, for Kysely. Columns are documented there. */
export interface Tables {
  tasks: {
    id: string
    trust: string
    kind: string
    ref: string
    name_key: Buffer
    templated: boolean
    purpose: string | null
    principal: string
    subject: string
    state: TaskState
    close_reason: CloseReason | null
    context: Json<Record<string, string>>
    bind: string[]
    ver: number
    rev: number
    opened_at: Date
    deadline: Date
    heartbeat_timeout: number | null
    last_heartbeat_at: Date | null
    silent_at: Date | null
    closed_at: Date | null
    parent_id: string | null
    root_id: string
    path: string[]
  }
  task_names: { name_key: Buffer; task_id: string | null; ended_at: Date | null }
  credentials: {
    jti: string
    task_id: string
    task_ver: number
    type: 'jwt' | 'x509'
    scope: string
    audience: string[]
    kid: string
    decision_id: string
    issued_at: Date
    expires_at: Date
    revoked_at: Date | null
    path_vers: number[] | null
    status_list: string | null
    status_idx: number | null
  }
  status_lists: { id: string; kid: string; size: number; opened_at: Date; ends_at: Date }
  attestation_uses: { use_key: Buffer; request_id: string; acceptable_until: Date }
  decisions: {
    id: string
    at: Date
    request_id: string
    action: string
    decision: 'allow' | 'deny'
    code: string | null
    reason: string | null
    principal: string | null
    trust: string | null
    task_id: string | null
    task_ver: number | null
    jti: string | null
    policy_version: string | null
    policies: string[]
    asked: Json<Record<string, unknown>>
    workload: Json<{ tags: Record<string, string>; groups: string[] } | null>
    context: Json<Record<string, string> | null>
    attestation: Buffer | null
    address: string | null
  }
  signing_keys: {
    kid: string
    alg: string
    published_at: Date
    active_at: Date
    retired_at: Date | null
    last_day: Date | null
    ttl_max: string
    private_key: Buffer
    wrapped_by: string
    withdrawn_at: Date | null
    use: 'jwt' | 'x509'
    chain: Buffer[] | null
    root_kid: string | null
  }
  ca_roots: {
    kid: string
    sealed: Buffer
    wrapped_by: string
    own: boolean
    published_at: Date
    active_at: Date
    retired_at: Date | null
    last_day: Date | null
  }
  ca_bundle: { one: boolean; sequence: string }
  ca_requests: { kid: string; private_key: Buffer; wrapped_by: string; created_at: Date }
  blocks: {
    id: string
    principal: string | null
    trust: string | null
    everything: boolean
    reason: string | null
    created_at: Date
    created_by: string
    until: Date | null
  }
  block_gate: { one: boolean; generation: string }
  revocations: {
    seq: string
    at: Date
    task_id: string | null
    state: TaskState | null
    ver: number | null
    jti: string | null
    kid: string | null
    reason: string
    until: Date
  }
  revocation_counter: { one: boolean; seq: string; epoch: string }
}
