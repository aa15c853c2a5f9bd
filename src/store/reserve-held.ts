import type { Transaction } from './database.ts'
import { decisionJson, insertDecisions } from './decisions.ts'
import {
  credentialColumns,
  credentialJson,
  credentialNames,
  pathOf,
  type Reservation,
  type Reserved,
  rootOf,
} from './reservation.ts'
import { holdTrees } from './tree.ts'
import { consumeUses, type Use } from './uses.ts'

interface HeldTask {
  id: string
  state: string
  rev: number
  deadline: Date
  silent_at: Date | null
}

interface HeldKey {
  kid: string
  last_day: Date | null
  withdrawn_at: Date | null
}

const holdKeys = `SELECT kid, last_day, withdrawn_at FROM signing_keys WHERE kid = ANY ($1::text[]) ORDER BY kid FOR SHARE`
const holdKeysFree = { name: 'reserve_keys_free', text: `${holdKeys} SKIP LOCKED` }
const holdKeysWaiting = { name: 'reserve_keys_waiting', text: holdKeys }
const readTasks = {
  name: 'reserve_read_tasks',
  text: 'SELECT id, state, rev, deadline, silent_at FROM tasks WHERE id = ANY ($1::uuid[]) AND root_id = ANY ($2::uuid[])',
}
const write = {
  name: 'reserve_write',
  text: `WITH c AS (
      INSERT INTO credentials (${credentialNames})
      SELECT ${credentialNames} FROM jsonb_to_recordset($1::jsonb) AS r (${credentialColumns})
    ) ${insertDecisions(2)}`,
}

/**
 * Reserves in steps: holds the trees and the keys, checks what was decided against them, consumes what may be used once, writes. For
 * attestations that may be used once, and for what has to be waited for. The locks are statements of their own: what is read after them
 * is what they hold. What is being changed at this moment is waited for or passed over. `busy`: it is being changed, or is not there.
 */
export async function reserveHeld(
  tx: Transaction,
  items: Reservation[],
  wait: boolean,
): Promise<(Reserved | 'busy')[]> {
  const rootIds = await holdTrees(tx, [...new Set(items.map(rootOf))], wait)
  const kids = [...new Set(items.map(item => item.credential.kid))]
  const heldKeys = await tx.query<HeldKey>(wait ? holdKeysWaiting : holdKeysFree, [kids])
  const rows = await tx.query<HeldTask>(readTasks, [[...new Set(items.flatMap(pathOf))], rootIds])
  const tasks = new Map(rows.map(row => [row.id, row]))
  const keysByKid = new Map(heldKeys.map(key => [key.kid, key]))
  const answers = items.map((item): Reserved | 'busy' => {
    const path = pathOf(item).map(id => tasks.get(id))
    const key = keysByKid.get(item.credential.kid)
    if (!key || !path.every(task => task !== undefined)) return 'busy'
    return stands(item, path, key) ? 'reserved' : 'stale'
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

/** What `reserveAtOnce` checks in SQL; `path` is the task and those above it. */
function stands(
  { task, credential, now, policyStands }: Reservation,
  path: HeldTask[],
  { last_day, withdrawn_at }: HeldKey,
): boolean {
  const decidedOn = [task, ...task.ancestors]
  return (
    path.every(
      (row, i) =>
        row.state === 'open' &&
        row.rev === decidedOn[i]?.rev &&
        row.deadline > now &&
        (row.silent_at === null || row.silent_at > now) &&
        credential.expiresAt <= row.deadline,
    ) &&
    policyStands() &&
    withdrawn_at === null &&
    (last_day === null || credential.expiresAt <= last_day)
  )
}
