import type { BenchDatabase } from './database.ts'

// Rows in bulk, as copies of real ones: whatever columns there are, they hold what the broker writes into them, but for
// those that must differ.

/** Live credentials of a task that has a single one. */
export async function addLiveCredentials(db: BenchDatabase, taskId: string, count: number): Promise<void> {
  await copy(db, 'credentials', `task_id = '${taskId}'`, `generate_series(1, ${count})`, {
    jti: uuidv7('template.issued_at'),
  })
}

const credentialsEach = 50

/**
 * Credentials of the last 80 days, fifty to each task, in the order in which they would have come. They have expired, and their
 * tasks are closed; nothing of it is old enough to be pruned. Takes the oldest task and its credential for a model.
 */
export async function addHistory(db: BenchDatabase, count: number): Promise<void> {
  const tasks = Math.ceil(count / credentialsEach)
  await db.sql(
    `CREATE TABLE history AS SELECT n, at, ${uuidv7('at')} AS id FROM (
      SELECT n, now() - interval '80 days' + n * (interval '80 days' / ${tasks}) AS at FROM generate_series(1, ${tasks}) n
    ) moments ORDER BY n`,
  )
  const [model] = await db.sql<{ id: string }>('SELECT id FROM tasks ORDER BY id LIMIT 1')
  await copy(db, 'tasks', `id = '${model?.id}'`, 'history', {
    id: 'source.id',
    root_id: 'source.id',
    ref: `'run-' || source.n`,
    name_key: 'sha256(source.id::text::bytea)',
    state: `'closed'`,
    close_reason: `'completed'`,
    opened_at: 'source.at',
    deadline: `source.at + interval '8 hours'`,
    closed_at: `source.at + interval '2 hours'`,
  })
  const moments = `(SELECT id, n, g, at + g * interval '1 minute' AS at FROM history, generate_series(1, ${credentialsEach}) g)`
  await copy(db, 'credentials', `task_id = '${model?.id}'`, `${moments}`, {
    jti: uuidv7('source.at'),
    task_id: 'source.id',
    issued_at: 'source.at',
    expires_at: `source.at + interval '5 minutes'`,
  })
  await db.sql('DROP TABLE history')
}

/** A UUIDv7 of that moment (RFC 9562 §5.7), by means that every PostgreSQL has. */
export const uuidv7 = (moment: string): string =>
  `overlay(replace(gen_random_uuid()::text, '-', '') placing
    lpad(to_hex((extract(epoch FROM ${moment}) * 1000)::bigint), 12, '0') || '7' from 1 for 13)::uuid`

/** For each row of the source a copy of the template, with these columns set to other expressions. */
export async function copy(
  db: BenchDatabase,
  table: string,
  template: string,
  source: string,
  others: Record<string, string>,
): Promise<void> {
  const columns = await db.sql<{ name: string }>(
    `SELECT column_name AS name FROM information_schema.columns
      WHERE table_name = $1 AND table_schema = current_schema() AND is_generated = 'NEVER'`,
    [table],
  )
  const names = columns.map(({ name }) => name)
  const values = names.map(name => others[name] ?? `template.${name}`)
  await db.sql(
    `INSERT INTO ${table} (${names}) SELECT ${values}
      FROM (SELECT * FROM ${table} WHERE ${template} LIMIT 1) template, ${source} source`,
  )
}
