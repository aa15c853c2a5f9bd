import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import pg from 'pg'

const folder = new URL('../../migrations/', import.meta.url)
/** Any constant will do, as long as it stays the same: the key of the advisory lock. */
const lock = 7_255_841

interface Migration {
  version: number
  name: string
  text: string
  sha256: string
}

/**
 * Brings the database to the newest schema, forward only, all in one transaction: replicas that start at the same moment wait for
 * each other. Refuses a database whose schema is newer than this broker, and one whose history differs from the files.
 */
export async function migrate(url: string): Promise<void> {
  const migrations = await readMigrations()
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 10_000 })
  await client.connect()
  try {
    await client.query('BEGIN')
    await client.query('SELECT pg_advisory_xact_lock($1)', [lock])
    await client.query(
      'CREATE TABLE IF NOT EXISTS schema_migrations (version integer PRIMARY KEY, name text NOT NULL, sha256 text NOT NULL)',
    )
    const { rows } = await client.query<{ version: number; sha256: string }>(
      'SELECT version, sha256 FROM schema_migrations ORDER BY version',
    )
    for (const done of rows) {
      const known = migrations.find(m => m.version === done.version)
      if (!known) throw new Error(`the database has schema ${done.version}, which is newer than this broker`)
      if (known.sha256 !== done.sha256)
        throw new Error(`migration ${known.name} differs from the one that was applied`)
    }
    for (const { version, name, text, sha256 } of migrations.slice(rows.length)) {
      await client.query(text)
      await client.query('INSERT INTO schema_migrations (version, name, sha256) VALUES ($1, $2, $3)', [
        version,
        name,
        sha256,
      ])
    }
    await client.query('COMMIT')
  } finally {
    await client.end()
  }
}

async function readMigrations(): Promise<Migration[]> {
  const names = (await readdir(folder)).filter(name => name.endsWith('.sql')).sort()
  return Promise.all(
    names.map(async (name, index) => {
      const version = Number(name.slice(0, 4))
      if (version !== index + 1) throw new Error(`migration ${name} is out of order`)
      const text = await readFile(new URL(name, folder), 'utf8')
      return { version, name, text, sha256: createHash('sha256').update(text).digest('hex') }
    }),
  )
}
