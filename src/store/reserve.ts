import { batched } from './batch.ts'
import type { Database, Transaction } from './database.ts'
import type { DecisionRow } from './decision-row.ts'
import { decisionJson, insertDecisions } from './decisions.ts'
import { isUnavailable } from './failure.ts'
import { consumeUses, type Use } from './uses.ts'

/** A credential about to be signed, with all that it rests on. */
export interface Reservation {
  task: { id: string; rev: number }
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
  type: 'jwt'
  scope: string
  audience: string[]
  kid: string
  issuedAt: Date
  expiresAt: Date
}

/**
 * `stale`: what was decided no longer stands (the task changed or ended, its deadline passed, the policy or the signing key was
 * replaced); read again and decide again. `reused`: the attestation was used before.
 */
export type Reserved = 'reserved' | 'stale' | 'reused'

interface Held {
  id: string
  state: string
  rev: number
  deadline: Date
  silent_at: Date | null
  /** Keys that may not sign past a day: kid → milliseconds since the epoch; null: no such day. */
  keys: Record<string, number | null> | null
}

const held = `t.id, t.state, t.rev, t.deadline, t.silent_at, (SELECT jsonb_object_agg(k.kid, extract(epoch FROM k.last_day) * 1000)
    FROM signing_keys k WHERE k.kid = ANY ($2)) AS keys`
const holdFree = {
  name: 'reserve_hold_free',
  text: `SELECT ${held} FROM tasks t WHERE t.id = ANY ($1::uuid[]) ORDER BY t.id FOR SHARE OF t SKIP LOCKED`,
}
const holdWaiting = {
  name: 'reserve_hold_waiting',
  text: `SELECT ${held} FROM tasks t WHERE t.id = ANY ($1::uuid[]) ORDER BY t.id FOR SHARE OF t`,
}
const write = {
  name: 'reserve_write',
  text: `WITH c AS (
      INSERT INTO credentials (jti, task_id, task_ver, type, scope, audience, kid, decision_id, issued_at, expires_at)
      SELECT jti, task_id, task_ver, type, scope, audience, kid, decision_id, issued_at, expires_at
      FROM jsonb_to_recordset($1::jsonb) AS r (jti uuid, task_id uuid, task_ver integer, type text, scope text,
        audience text[], kid text, decision_id uuid, issued_at timestamptz, expires_at timestamptz)
    ) ${insertDecisions(2)}`,
}

/**
 * Writes reservations (architecture, Issue (5)): in one transaction the tasks are held against ending, everything that was decided
 * is checked to stand, and credential, decision and use are written. Reservations that arrive while one is being written
 * go into the next together. A task that is being changed at that moment holds up its own reservations only.
 */
export function reserver(db: Database): (reservation: Reservation) => Promise<Reserved> {
  async function run(items: Reservation[]): Promise<(Reserved | Promise<Reserved>)[]> {
    const answers = await db.transaction(tx => reserve(tx, items, holdFree))
    const busy = items.filter((_, i) => answers[i] === 'busy')
    if (busy.length === 0) return answers as Reserved[]
    const later = db.transaction(tx => reserve(tx, busy, holdWaiting))
    return items.map((item, i) =>
      answers[i] === 'busy'
        ? later.then(all => {
            const answer = all[busy.indexOf(item)]
            return answer === 'busy' || answer === undefined ? 'stale' : answer
          })
        : (answers[i] as Reserved),
    )
  }
  return batched(run, { most: 200, isShared: isUnavailable })
}

async function reserve(
  tx: Transaction,
  items: Reservation[],
  hold: typeof holdFree,
): Promise<(Reserved | 'busy')[]> {
  const rows = await tx.query<Held>(hold, [
    [...new Set(items.map(item => item.task.id))],
    [...new Set(items.map(item => item.credential.kid))],
  ])
  const tasks = new Map(rows.map(row => [row.id, row]))
  const answers = items.map((item): Reserved | 'busy' => {
    const task = tasks.get(item.task.id)
    if (!task) return 'busy'
    return stands(item, task) ? 'reserved' : 'stale'
  })

  const using = items.filter((item, i) => answers[i] === 'reserved' && item.use)
  const mine = await consumeUses(
    tx,
    using.map(item => item.use as Use),
  )
  using.forEach((item, i) => {
    if (!mine[i]) answers[items.indexOf(item)] = 'reused'
  })

  const reserved = items.filter((_, i) => answers[i] === 'reserved')
  if (reserved.length > 0) {
    await tx.query(write, [
      JSON.stringify(reserved.map(credentialJson)),
      JSON.stringify(reserved.map(item => decisionJson(item.decision))),
    ])
  }
  return answers
}

function stands({ task, credential, now, policyStands }: Reservation, row: Held): boolean {
  const lastDay = row.keys?.[credential.kid]
  return (
    row.state === 'open' &&
    row.rev === task.rev &&
    row.deadline > now &&
    (row.silent_at === null || row.silent_at > now) &&
    credential.expiresAt <= row.deadline &&
    policyStands() &&
    lastDay !== undefined &&
    (lastDay === null || credential.expiresAt.getTime() <= lastDay)
  )
}

function credentialJson({ credential, decision }: Reservation): Record<string, unknown> {
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
  }
}
