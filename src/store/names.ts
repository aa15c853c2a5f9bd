import { createHash } from 'node:crypto'
import type { Database, Transaction } from './database.ts'

/** A name that a template makes, for ever: of a task, of an end that was told before there was a task, or of a run that is over. */
export type Name = { taskId: string } | 'ended'

const insertEnd = {
  name: 'names_insert_end',
  text: `INSERT INTO task_names (name_key, task_id, ended_at) VALUES ($1, NULL, $2)
    ON CONFLICT DO NOTHING RETURNING 1 AS first`,
}
const find = { name: 'names_find', text: 'SELECT task_id FROM task_names WHERE name_key = $1' }
const findEnded = {
  name: 'names_find_ended',
  text: 'SELECT name_key FROM task_names WHERE name_key = ANY ($1::bytea[]) AND task_id IS NULL',
}
const hold = { name: 'names_hold', text: 'SELECT pg_advisory_xact_lock($1)' }
const share = {
  name: 'names_share',
  text: 'SELECT pg_advisory_xact_lock_shared(key) FROM unnest($1::bigint[]) AS held (key)',
}
const openByRef = {
  name: 'names_open_by_ref',
  text: `SELECT id FROM tasks
    WHERE hashtextextended(ref, 0) = hashtextextended($1, 0) AND ref = $1 AND state <> 'closed' AND ($2::text IS NULL OR trust = $2)
    ORDER BY id`,
}
const openUnder = {
  name: 'names_open_under',
  text: `SELECT id FROM tasks WHERE state <> 'closed' AND trust = $1 AND starts_with(ref, $2) ORDER BY id`,
}

/**
 * Remembers the end of a name that nobody has had: answers null where it is remembered now, or whose the name is. Of an end and the
 * opening of the task that it is the end of, one is first with the name: the row is unique, and the second waits for the first.
 */
export async function rememberEnd(tx: Transaction, key: Buffer, at: Date): Promise<Name | null> {
  for (;;) {
    if ((await tx.query(insertEnd, [key, at])).length === 1) return null
    const [name] = await tx.query<{ task_id: string | null }>(find, [key])
    // Gone between the two only where it was an old end, which was just forgotten.
    if (name) return name.task_id === null ? 'ended' : { taskId: name.task_id }
  }
}

/** The key under which the end of a run is remembered: of all whose `ref` begins so. */
export const runKey = (trust: string, prefix: string): Buffer =>
  createHash('sha256')
    .update(JSON.stringify(['run', trust, prefix]))
    .digest()

/** Waits for tasks of the run that are being opened, and holds off those that would come, until the transaction ends. */
export async function holdRun(tx: Transaction, key: Buffer): Promise<void> {
  await tx.query(hold, [lockOf(key)])
}

/**
 * Those of the runs that are over; the others cannot end before the transaction does. The lock is a statement of its own: whoever
 * waited for an end has to see it.
 */
export async function endedRuns(tx: Transaction, keys: Buffer[]): Promise<Set<string>> {
  if (keys.length === 0) return new Set()
  // In one order everywhere, so that two never wait for each other.
  const locks = [...new Set(keys.map(lockOf))].sort()
  await tx.query(share, [locks])
  const rows = await tx.query<{ name_key: Buffer }>(findEnded, [keys])
  return new Set(rows.map(row => row.name_key.toString('hex')))
}

/** A number for PostgreSQL's advisory locks; two runs that share one only wait for each other. */
const lockOf = (key: Buffer): string => key.readBigInt64BE().toString()

/** Tasks of that `ref` that are not closed, whoever works on them; `trust` null for those of any source. */
export async function findOpenByRef(
  db: Pick<Database, 'query'>,
  { ref, trust }: { ref: string; trust: string | null },
): Promise<string[]> {
  return (await db.query<{ id: string }>(openByRef, [ref, trust])).map(({ id }) => id)
}

/** Tasks of the source that are not closed, and whose `ref` begins so. */
export async function findOpenUnder(
  db: Pick<Database, 'query'>,
  { prefix, trust }: { prefix: string; trust: string },
): Promise<string[]> {
  return (await db.query<{ id: string }>(openUnder, [trust, prefix])).map(({ id }) => id)
}
