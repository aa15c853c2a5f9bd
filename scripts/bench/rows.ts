import type { BenchDatabase } from './database.ts'

/** A UUIDv7 of that moment (RFC 9562 §5.7), by means that every PostgreSQL has. */
const uuidv7 = (moment: string): string =>
  `overlay(replace(gen_random_uuid()::text, '-', '') placing
    lpad(to_hex((extract(epoch FROM ${moment}) * 1000)::bigint), 12, '0') || '7' from 1 for 13)::uuid`

const columns = `jti, task_id, task_ver, type, scope, audience, kid, attestation, issued_at, expires_at`

const values = (task: string, moment: string): string =>
  `${uuidv7(moment)}, ${task}, 1, 'jwt', 'deploy:prod', ARRAY['https://deploy.example'],
    'Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYmE', sha256(gen_random_uuid()::text::bytea), ${moment}`

/** Live credentials of one task. */
export async function addLiveCredentials(db: BenchDatabase, taskId: string, count: number): Promise<void> {
  await db.sql(
    `INSERT INTO credentials (${columns})
      SELECT ${values('$1::uuid', `now()`)}, now() + interval '15 minutes' FROM generate_series(1, $2::int)`,
    [taskId, count],
  )
}

const credentialsEach = 50

/**
 * Credentials of the last 80 days, fifty to each task, in the order in which they would have come. Most have expired, and their
 * tasks are closed; nothing of it is old enough to be pruned.
 */
export async function addHistory(db: BenchDatabase, count: number): Promise<void> {
  const tasks = Math.ceil(count / credentialsEach)
  await db.sql(
    `CREATE TABLE history AS
      SELECT ${uuidv7('at')} AS id, at, n FROM (
        SELECT n, now() - interval '80 days' + n * (interval '80 days' / $1::int) AS at FROM generate_series(1, $1::int) n
      ) moments`,
    [tasks],
  )
  await db.sql(
    `INSERT INTO tasks (id, trust, kind, ref, name_key, templated, principal, subject, state, close_reason, context, bind, ver, rev,
        opened_at, deadline, closed_at)
      SELECT id, 'prod', 'agent-run', 'run-' || n, sha256(id::text::bytea), false, principal, principal, 'closed', 'completed',
        '{"repository": "acme/payments", "environment": "production", "ticket": "OPS-4711"}', ARRAY['environment'], 1, 2,
        at, at + interval '8 hours', at + interval '2 hours'
      FROM (SELECT *, 'spiffe://prod.example/agent/' || n % 500 AS principal FROM history) h`,
  )
  await db.sql(
    `INSERT INTO credentials (${columns})
      SELECT ${values('id', 'moment')}, moment + interval '5 minutes'
      FROM (SELECT id, at + g * interval '1 minute' AS moment FROM history, generate_series(1, ${credentialsEach}) g
        ORDER BY n, g) c`,
  )
  await db.sql('DROP TABLE history')
}
