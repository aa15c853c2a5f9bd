import type { Database } from './database.ts'
import { decisionColumns, decisionJson, decisionNames } from './decisions.ts'
import {
  credentialColumns,
  credentialJson,
  credentialNames,
  type Reservation,
  type Reserved,
} from './reservation.ts'

/**
 * The steps of `reserveHeld` in one statement, which is a transaction of its own: one round trip. A task that was changed between the
 * statement's snapshot and its lock is read again as it is now (PostgreSQL, 13.2.1), so the checks see what the lock holds.
 */
const reserve = {
  name: 'reserve_at_once',
  text: `WITH asked AS MATERIALIZED (
      SELECT * FROM jsonb_to_recordset($1::jsonb) AS r (n integer, rev integer, now timestamptz, ${credentialColumns})
    ), held AS MATERIALIZED (
      SELECT id, state, rev, deadline, silent_at FROM tasks WHERE id = ANY ($3::uuid[]) ORDER BY id FOR SHARE SKIP LOCKED
    ), fit AS MATERIALIZED (
      SELECT asked.* FROM asked JOIN held ON held.id = asked.task_id JOIN signing_keys k ON k.kid = asked.kid
      WHERE held.state = 'open' AND held.rev = asked.rev AND held.deadline > asked.now
        AND (held.silent_at IS NULL OR held.silent_at > asked.now) AND asked.expires_at <= held.deadline
        AND (k.last_day IS NULL OR asked.expires_at <= k.last_day)
    ), written AS (
      INSERT INTO credentials (${credentialNames}) SELECT ${credentialNames} FROM fit
    ), logged AS (
      INSERT INTO decisions (${decisionNames})
      SELECT ${decisionNames} FROM jsonb_to_recordset($2::jsonb) AS d (${decisionColumns})
      WHERE id IN (SELECT decision_id FROM fit)
    )
    SELECT n, CASE WHEN n IN (SELECT n FROM fit) THEN 'reserved'
      WHEN task_id IN (SELECT id FROM held) THEN 'stale' ELSE 'busy' END AS answer
    FROM asked`,
}

/** Answers for each reservation in order. `busy`: the task is being changed at this moment, or is not there. */
export async function reserveAtOnce(db: Database, items: Reservation[]): Promise<(Reserved | 'busy')[]> {
  // By place in the list; what policy no longer stands for is not asked.
  const standing = items.flatMap((item, n) => (item.policyStands() ? [{ item, n }] : []))
  const answers = items.map((): Reserved | 'busy' => 'stale')
  if (standing.length === 0) return answers
  const rows = await db.query<{ n: number; answer: Reserved | 'busy' }>(reserve, [
    JSON.stringify(
      standing.map(({ item, n }) => ({ n, rev: item.task.rev, now: item.now, ...credentialJson(item) })),
    ),
    JSON.stringify(standing.map(({ item }) => decisionJson(item.decision))),
    [...new Set(standing.map(({ item }) => item.task.id))],
  ])
  for (const { n, answer } of rows) {
    // Policy may have been replaced while the statement waited: then the row is there, for a credential that nobody gets.
    const stands = answer !== 'reserved' || items[n]?.policyStands() === true
    answers[n] = stands ? answer : 'stale'
  }
  return answers
}
