import type { Transaction } from './database.ts'
import type { TaskState } from './task-record.ts'

/**
 * One end or change: of a task and its whole tree, of a single credential, or of a signing key. However many credentials it kills, it
 * is one row. `until` is the latest that anything it kills may live; what the longest lifetime allows is less, and is found in SQL.
 */
export type Revocation = { at: Date; reason: string; until: Date } & (
  | { taskId: string; state: TaskState; ver: number }
  | { jti: string }
  | { kid: string }
)

/** Where replicas listen to be woken: the record has grown. A hint, no more (LISTEN, NOTIFY). */
export const recordChannel = 'hallpass_revocations'

/**
 * Appends what a query gives, in the order of its `n`, which counts from 1. Nothing lives for longer than the longest `ttl_max`, and the
 * clocks of two replicas that serve differ by two minutes at the most; but who has taken a key can sign with it for longer.
 */
const appendOf = (rows: string): string => `WITH rows AS (
      ${rows}
    ), longest AS MATERIALIZED (
      SELECT max(ttl_max) * interval '1 millisecond' + interval '3 minutes' AS life FROM signing_keys
    ), counter AS (
      UPDATE revocation_counter SET seq = seq + (SELECT count(*) FROM rows) RETURNING seq
    ), woken AS (
      SELECT pg_notify('${recordChannel}', seq::text) FROM counter
    )
    INSERT INTO revocations (seq, at, task_id, state, ver, jti, kid, reason, until)
    SELECT counter.seq - (SELECT count(*) FROM rows) + n, at, task_id, state, ver, jti, kid, reason,
      CASE WHEN kid IS NULL THEN least(until, at + life) ELSE until END
    FROM rows, longest, counter, woken`

const append = {
  name: 'revocations_append',
  text: appendOf(`SELECT * FROM ROWS FROM (
        jsonb_to_recordset($1::jsonb) AS (at timestamptz, task_id uuid, state text, ver integer, jti uuid, kid text, reason text,
          until timestamptz)
      ) WITH ORDINALITY AS r (at, task_id, state, ver, jti, kid, reason, until, n)`),
}
const appendEnded = {
  name: 'revocations_append_ended',
  // Whose rows were written by this very transaction: another may close tasks at the same moment, and appends its own. The topmost of a
  // branch is the one whose parent is not closed.
  text: appendOf(`SELECT t.closed_at AS at, t.id AS task_id, t.state, t.ver, NULL::uuid AS jti, NULL::text AS kid,
        t.close_reason AS reason, t.deadline AS until, row_number() OVER (ORDER BY t.id) AS n
      FROM tasks t LEFT JOIN tasks p ON p.id = t.parent_id
      WHERE t.state = 'closed' AND t.closed_at = $1 AND t.xmin = pg_current_xact_id()::xid
        AND (p.id IS NULL OR p.state <> 'closed')`),
}

/**
 * Appends to the revocation record. The last statement of its transaction: the counter's row lock is held from here to the commit, so
 * that numbers are in commit order (invariant 10), and nothing else may wait while it is held.
 */
export async function appendRevocations(tx: Transaction, revocations: Revocation[]): Promise<void> {
  if (revocations.length === 0) return
  await tx.query(append, [JSON.stringify(revocations.map(json))])
}

/**
 * Appends the end of every task that this transaction has closed at `at`, of each branch the topmost, without their going through the
 * broker: there can be very many. The last statement of its transaction, as `appendRevocations`.
 */
export async function appendEndedHere(tx: Transaction, at: Date): Promise<void> {
  await tx.query(appendEnded, [at])
}

function json(revocation: Revocation): Record<string, unknown> {
  const { at, reason, until } = revocation
  if ('jti' in revocation) return { at, reason, until, jti: revocation.jti }
  if ('kid' in revocation) return { at, reason, until, kid: revocation.kid }
  const { taskId: task_id, state, ver } = revocation
  return { at, reason, until, task_id, state, ver }
}
