import type { Database } from './database.ts'
import { decisionColumns, decisionJson, decisionNames } from './decisions.ts'
import {
  credentialColumns,
  credentialJson,
  credentialNames,
  pathOf,
  type Reservation,
  type Reserved,
} from './reservation.ts'

/**
 * The steps of `reserveHeld` in one statement, which is a transaction of its own: one round trip. Every row that a check reads is
 * locked, the task's and those above it alike: what was changed between the statement's snapshot and its lock is read again as it is
 * now (PostgreSQL, 13.2.1), so the checks see what the locks hold.
 */
const reserve = {
  name: 'reserve_at_once',
  text: `WITH asked AS MATERIALIZED (
      SELECT * FROM jsonb_to_recordset($1::jsonb)
        AS r (n integer, rev integer, above uuid[], above_revs integer[], now timestamptz, ${credentialColumns})
    ), held AS MATERIALIZED (
      SELECT id, state, rev, deadline, silent_at FROM tasks WHERE id = ANY ($3::uuid[]) ORDER BY id FOR SHARE SKIP LOCKED
    ), held_keys AS MATERIALIZED (
      SELECT kid, last_day, withdrawn_at FROM signing_keys WHERE kid = ANY ($4::text[]) ORDER BY kid FOR SHARE SKIP LOCKED
    ), fit AS MATERIALIZED (
      SELECT asked.* FROM asked JOIN held ON held.id = asked.task_id JOIN held_keys k ON k.kid = asked.kid
      WHERE held.state = 'open' AND held.rev = asked.rev AND held.deadline > asked.now
        AND (held.silent_at IS NULL OR held.silent_at > asked.now) AND asked.expires_at <= held.deadline
        AND k.withdrawn_at IS NULL AND (k.last_day IS NULL OR asked.expires_at <= k.last_day)
        AND (asked.above IS NULL OR cardinality(asked.above) = (
          SELECT count(*) FROM unnest(asked.above, asked.above_revs) AS a (id, rev) JOIN held h ON h.id = a.id AND h.rev = a.rev
          WHERE h.state = 'open' AND h.deadline > asked.now AND (h.silent_at IS NULL OR h.silent_at > asked.now)
        ))
    ), written AS (
      INSERT INTO credentials (${credentialNames}) SELECT ${credentialNames} FROM fit
    ), logged AS (
      INSERT INTO decisions (${decisionNames})
      SELECT ${decisionNames} FROM jsonb_to_recordset($2::jsonb) AS d (${decisionColumns})
      WHERE id IN (SELECT decision_id FROM fit)
    )
    SELECT n, CASE WHEN n IN (SELECT n FROM fit) THEN 'reserved'
      WHEN task_id || coalesce(above, '{}') <@ ARRAY (SELECT id FROM held) AND kid IN (SELECT kid FROM held_keys) THEN 'stale'
      ELSE 'busy' END AS answer
    FROM asked`,
}

/** Answers for each reservation in order. `busy`: its tree or its key is being changed at this moment, or is not there. */
export async function reserveAtOnce(db: Database, items: Reservation[]): Promise<(Reserved | 'busy')[]> {
  // By place in the list; what policy no longer stands for is not asked.
  const standing = items.flatMap((item, n) => (item.policyStands() ? [{ item, n }] : []))
  const answers = items.map((): Reserved | 'busy' => 'stale')
  if (standing.length === 0) return answers
  const rows = await db.query<{ n: number; answer: Reserved | 'busy' }>(reserve, [
    JSON.stringify(
      standing.map(({ item, n }) => ({ n, ...decidedOn(item), now: item.now, ...credentialJson(item) })),
    ),
    JSON.stringify(standing.map(({ item }) => decisionJson(item.decision))),
    [...new Set(standing.flatMap(({ item }) => pathOf(item)))],
    [...new Set(standing.map(({ item }) => item.credential.kid))],
  ])
  for (const { n, answer } of rows) {
    // Policy may have been replaced while the statement waited: then the row is there, for a credential that nobody gets.
    const stands = answer !== 'reserved' || items[n]?.policyStands() === true
    answers[n] = stands ? answer : 'stale'
  }
  return answers
}

function decidedOn({ task: { rev, ancestors } }: Reservation): Record<string, unknown> {
  if (ancestors.length === 0) return { rev }
  return { rev, above: ancestors.map(({ id }) => id), above_revs: ancestors.map(ancestor => ancestor.rev) }
}
