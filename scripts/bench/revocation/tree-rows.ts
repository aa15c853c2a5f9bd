import type { BenchDatabase } from '../database.ts'
import { copy, uuidv7 } from '../rows.ts'

/** Tasks of one tree that the broker has opened and minted a credential for each: what is copied. */
export interface TreeModel {
  root: string
  /** A child of the root, a child of that, and so on. */
  path: string[]
}

/**
 * Grows a tree by copies of its tasks and their credentials, until each level has so many tasks, spread evenly below those of the
 * level above, and each task but the root so many credentials, as late as they may expire.
 *
 * @param levels tasks of each level below the root
 */
export async function growTree(
  db: BenchDatabase,
  { root, path }: TreeModel,
  { levels, credentialsEach }: { levels: number[]; credentialsEach: number },
): Promise<void> {
  for (const [level, model] of path.entries()) {
    const above = levels[level - 1] ?? 1
    await copy(
      db,
      'tasks',
      `id = '${model}'`,
      `(SELECT p.id AS parent_id, p.path || p.id AS path, ${uuidv7('now()')} AS id
        FROM generate_series(1, ${(levels[level] ?? 1) - 1}) n JOIN (
          SELECT id, path, row_number() OVER (ORDER BY id) - 1 AS number FROM tasks
          WHERE root_id = '${root}' AND cardinality(path) = ${level}
        ) p ON p.number = n % ${above})`,
      {
        id: 'source.id',
        parent_id: 'source.parent_id',
        path: 'source.path',
        ref: `'part-' || source.id`,
        name_key: 'sha256(source.id::text::bytea)',
      },
    )
    await copy(
      db,
      'credentials',
      `task_id = '${model}'`,
      `(SELECT t.id, row_number() OVER () AS number FROM tasks t, generate_series(1, ${credentialsEach}) n
        WHERE t.root_id = '${root}' AND cardinality(t.path) = ${level + 1} AND NOT (t.id = '${model}' AND n = 1))`,
      {
        jti: uuidv7('template.issued_at'),
        task_id: 'source.id',
        status_idx: 'source.number',
        expires_at: `template.issued_at + interval '15 minutes'`,
      },
    )
  }
}

export interface TreeCount {
  /** Tasks below the root that are open. */
  open: number
  /** Credentials of these that have not expired. */
  live: number
  /** Rows of the revocation record that are about any task of the tree. */
  recorded: number
}

export async function countTree(db: BenchDatabase, root: string): Promise<TreeCount> {
  const [count] = await db.sql<{ [Name in keyof TreeCount]: string }>(
    `WITH open AS (SELECT id FROM tasks WHERE root_id = $1 AND parent_id IS NOT NULL AND state = 'open')
    SELECT (SELECT count(*) FROM open) AS open,
      (SELECT count(*) FROM open JOIN credentials ON task_id = id WHERE expires_at > now()) AS live,
      (SELECT count(*) FROM revocations r JOIN tasks t ON t.id = r.task_id WHERE t.root_id = $1) AS recorded`,
    [root],
  )
  const { open, live, recorded } = count!
  return { open: Number(open), live: Number(live), recorded: Number(recorded) }
}
