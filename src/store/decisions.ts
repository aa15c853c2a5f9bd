import { type Selectable, sql } from 'kysely'
import { batched } from './batch.ts'
import type { Database, Transaction } from './database.ts'
import type { DecisionRow } from './decision-row.ts'
import { answered, isUnavailable } from './failure.ts'
import type { Tables } from './tables.ts'

/** The columns of a decision row as JSON gives them to `jsonb_to_recordset`. */
export const decisionColumns = `id uuid, at timestamptz, request_id uuid, action text, decision text, code text, reason text,
  principal text, trust text, task_id uuid, task_ver integer, jti uuid, policy_version text, policies text[],
  asked jsonb, workload jsonb, context jsonb, attestation bytea, address inet`

export const decisionNames = `id, at, request_id, action, decision, code, reason, principal, trust, task_id, task_ver, jti, policy_version,
  policies, asked, workload, context, attestation, address`

/** Inserts the decisions in the JSON array `$n`; a fragment, so that a reservation can write them with its credentials. */
export const insertDecisions = (n: number): string =>
  `INSERT INTO decisions (${decisionNames}) SELECT ${decisionNames} FROM jsonb_to_recordset($${n}::jsonb) AS d (${decisionColumns})`

const insert = { name: 'insert_decisions', text: insertDecisions(1) }

export function decisionJson(row: DecisionRow): Record<string, unknown> {
  return {
    id: row.id,
    at: row.at,
    request_id: row.requestId,
    action: row.action,
    decision: row.decision,
    code: row.code,
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
    attestation: row.attestation && `\\x${row.attestation}`,
    address: row.address,
  }
}

/** Writes decisions as part of the transaction that they belong to. */
export async function writeDecisions(tx: Transaction, rows: DecisionRow[]): Promise<void> {
  await tx.query(insert, [JSON.stringify(rows.map(decisionJson))])
}

/** A writer of decisions that stand alone (refusals, reads): those that arrive together are committed together. */
export function decisionWriter(db: Database): (row: DecisionRow) => Promise<void> {
  return batched<DecisionRow, void>(
    async rows => {
      await db.query(insert, [JSON.stringify(rows.map(decisionJson))])
      return rows.map(() => undefined)
    },
    { most: 500, isShared: isUnavailable },
  )
}

export interface DecisionFilter {
  task?: string | undefined
  principal?: string | undefined
  action?: string | undefined
  decision?: 'allow' | 'deny' | undefined
}

/** Newest first; `before` is the ID of the last row of the page before. */
export async function listDecisions(
  db: Database,
  filter: DecisionFilter,
  before: string | null,
  limit: number,
): Promise<DecisionRow[]> {
  let query = db.kysely.selectFrom('decisions').selectAll().orderBy('id', 'desc').limit(limit)
  if (before) query = query.where('id', '<', before)
  if (filter.task) query = query.where('task_id', '=', filter.task)
  if (filter.principal !== undefined) {
    const { principal } = filter
    query = query
      .where(sql<boolean>`hashtextextended(principal, 0) = hashtextextended(${principal}, 0)`)
      .where('principal', '=', principal)
  }
  if (filter.action) query = query.where('action', '=', filter.action)
  if (filter.decision) query = query.where('decision', '=', filter.decision)
  return (await answered(query.execute())).map(rowOf)
}

function rowOf(row: Selectable<Tables['decisions']>): DecisionRow {
  return {
    id: row.id,
    at: row.at,
    requestId: row.request_id,
    action: row.action,
    decision: row.decision,
    code: row.code,
    reason: row.reason,
    principal: row.principal,
    trust: row.trust,
    taskId: row.task_id,
    taskVer: row.task_ver,
    jti: row.jti,
    policyVersion: row.policy_version,
    policies: row.policies,
    asked: row.asked,
    workload: row.workload,
    context: row.context,
    attestation: row.attestation?.toString('hex') ?? null,
    address: row.address,
  }
}
