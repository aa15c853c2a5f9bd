import type { BenchDatabase } from '../database.ts'
import { copy, uuidv7 } from '../rows.ts'

const credentialsEach = 10

/** A list that the broker has made, and what it holds so far. */
export interface ListModel {
  id: string
  size: number
  /** A task of the broker's own that has a credential in it. */
  task: string
}

/**
 * Fills a list up to so many credentials, at random places that are not taken, by copies of a task and its credential: ten
 * credentials to each task, as late as they may expire. So many of the copies have ended, half of them with their tasks and half one
 * by one, and are in the record as if the broker had ended them.
 */
export async function fillList(
  db: BenchDatabase,
  list: ListModel,
  { credentials, ended }: { credentials: number; ended: number },
): Promise<void> {
  const [held] = await db.sql<{ count: string }>('SELECT count(*) FROM credentials WHERE status_list = $1', [
    list.id,
  ])
  const missing = credentials - Number(held?.count)
  const closed = ended / 2 / credentialsEach
  const revoked = ended / 2
  await db.sql(
    `CREATE TABLE filling AS SELECT ${uuidv7('now()')} AS id, n FROM generate_series(1, ${Math.ceil(missing / credentialsEach)}) n`,
  )
  await copy(db, 'tasks', `id = '${list.task}'`, 'filling', {
    id: 'source.id',
    root_id: 'source.id',
    ref: `'run-' || source.id`,
    name_key: 'sha256(source.id::text::bytea)',
    state: `CASE WHEN n <= ${closed} THEN 'closed' ELSE 'open' END`,
    close_reason: `CASE WHEN n <= ${closed} THEN 'completed' END`,
    closed_at: `CASE WHEN n <= ${closed} THEN now() END`,
  })
  await copy(
    db,
    'credentials',
    `task_id = '${list.task}'`,
    `(SELECT filling.id, filling.n, number, place FROM (
        SELECT place, row_number() OVER (ORDER BY random()) - 1 AS number FROM generate_series(0, ${list.size - 1}) place
        WHERE place NOT IN (SELECT status_idx FROM credentials WHERE status_list = '${list.id}') LIMIT ${missing}
      ) free JOIN filling ON filling.n = number / ${credentialsEach} + 1)`,
    {
      jti: uuidv7('template.issued_at'),
      task_id: 'source.id',
      status_idx: 'source.place',
      expires_at: `template.issued_at + interval '15 minutes'`,
      // One of each task that is open.
      revoked_at: `CASE WHEN n > ${closed} AND n <= ${closed + revoked} AND number % ${credentialsEach} = 0 THEN now() END`,
    },
  )
  await db.sql('DROP TABLE filling')
  await recordEnds(db)
}

/** Of everything in a database in which nothing was recorded yet. */
async function recordEnds(db: BenchDatabase): Promise<void> {
  await db.sql(
    `WITH rows AS (
      SELECT *, row_number() OVER () AS n FROM (
        SELECT id AS task_id, ver, NULL::uuid AS jti FROM tasks WHERE state = 'closed'
        UNION ALL SELECT NULL, NULL, jti FROM credentials WHERE revoked_at IS NOT NULL
      ) ends
    ), counter AS (
      UPDATE revocation_counter SET seq = seq + (SELECT count(*) FROM rows) RETURNING seq
    )
    INSERT INTO revocations (seq, at, task_id, state, ver, jti, reason, until)
    SELECT counter.seq - (SELECT count(*) FROM rows) + n, now(), task_id, CASE WHEN jti IS NULL THEN 'closed' END, ver, jti,
      CASE WHEN jti IS NULL THEN 'completed' ELSE 'revoked' END, now() + interval '16 minutes'
    FROM rows, counter`,
  )
}
