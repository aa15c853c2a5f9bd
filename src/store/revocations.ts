import type { Transaction } from './database.ts'
import type { TaskState } from './task-record.ts'

/** One end or change: of a task, or of a single credential. However many credentials it kills, it is one row. */
export type Revocation = { at: Date; reason: string; until: Date } & (
  | { taskId: string; state: TaskState; ver: number }
  | { jti: string }
)

const append = {
  name: 'revocations_append',
  text: `WITH rows AS (
      SELECT * FROM ROWS FROM (
        jsonb_to_recordset($1::jsonb) AS (at timestamptz, task_id uuid, state text, ver integer, jti uuid, reason text,
          until timestamptz)
      ) WITH ORDINALITY AS r (at, task_id, state, ver, jti, reason, until, n)
    ), counter AS (
      UPDATE revocation_counter SET seq = seq + (SELECT count(*) FROM rows) RETURNING seq
    )
    INSERT INTO revocations (seq, at, task_id, state, ver, jti, reason, until)
    SELECT counter.seq - (SELECT count(*) FROM rows) + n, at, task_id, state, ver, jti, reason, until FROM rows, counter`,
}

/**
 * Appends to the revocation record. The last statement of its transaction: the counter's row lock is held from here to the commit, so
 * that numbers are in commit order (invariant 10), and nothing else may wait while it is held.
 */
export async function appendRevocations(tx: Transaction, revocations: Revocation[]): Promise<void> {
  if (revocations.length === 0) return
  await tx.query(append, [JSON.stringify(revocations.map(json))])
}

function json(revocation: Revocation): Record<string, unknown> {
  const { at, reason, until } = revocation
  if ('jti' in revocation) return { at, reason, until, jti: revocation.jti }
  const { taskId: task_id, state, ver } = revocation
  return { at, reason, until, task_id, state, ver }
}
