import type { Transaction } from './database.ts'
import { decisionJson, insertDecisions } from './decisions.ts'
import {
  credentialColumns,
  credentialJson,
  credentialNames,
  type Reservation,
  type Reserved,
} from './reservation.ts'
import { consumeUses, type Use } from './uses.ts'

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
/** Passes over tasks that are being changed at this moment. */
export const holdFree = {
  name: 'reserve_hold_free',
  text: `SELECT ${held} FROM tasks t WHERE t.id = ANY ($1::uuid[]) ORDER BY t.id FOR SHARE OF t SKIP LOCKED`,
}
/** Waits for them. */
export const holdWaiting = {
  name: 'reserve_hold_waiting',
  text: `SELECT ${held} FROM tasks t WHERE t.id = ANY ($1::uuid[]) ORDER BY t.id FOR SHARE OF t`,
}
const write = {
  name: 'reserve_write',
  text: `WITH c AS (
      INSERT INTO credentials (${credentialNames})
      SELECT ${credentialNames} FROM jsonb_to_recordset($1::jsonb) AS r (${credentialColumns})
    ) ${insertDecisions(2)}`,
}

/**
 * Reserves in steps: holds the tasks, checks what was decided against them, consumes what may be used once, writes. For attestations
 * that may be used once, and for tasks that have to be waited for. `busy`: the task is being changed, or is not there.
 */
export async function reserveHeld(
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

/** What `reserveAtOnce` checks in SQL. */
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
