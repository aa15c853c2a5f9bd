import { randomBytes } from 'node:crypto'
import pg from 'pg'
import { superuser } from '../../src/store/embedded/cluster.ts'
import { migrate } from '../../src/store/migrate.ts'

/** A database of the bench's own, with all migrations applied. */
export interface BenchDatabase {
  url: string
  sql<Row extends pg.QueryResultRow>(text: string, values?: unknown[]): Promise<Row[]>
  /** As who may do everything. */
  admin(text: string): Promise<void>
  /** Writes out what is dirty and takes statistics, so that the rounds do not pay for the loading. */
  settle(): Promise<void>
  /** May be called twice. */
  drop(): Promise<void>
}

/** @param server a URL of the server that the bench uses; of the embedded one, the broker's own */
export async function createDatabase(server: string): Promise<BenchDatabase> {
  const name = `hallpass_bench_${randomBytes(6).toString('hex')}`
  const url = parsable(onDatabase(server, name))
  await run(asAdmin(server), `CREATE DATABASE ${name}${isEmbedded(server) ? ' OWNER hallpass' : ''}`)
  await migrate(url)
  const pool = new pg.Pool({ connectionString: url, max: 2 })
  // Connections that are being ended are ended once more when the database is dropped.
  pool.on('error', () => {})
  const admin = (text: string) => run(onDatabase(asAdmin(server), name), text)
  return {
    url,
    sql: async (text, values) => (await pool.query(text, values)).rows,
    admin,
    async settle() {
      await pool.query('VACUUM ANALYZE')
      // A role that may not ask for one gets none.
      await admin('CHECKPOINT').catch(() => {})
    },
    async drop() {
      if (pool.ended) return
      await pool.end()
      await run(asAdmin(server), `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`)
    },
  }
}

/** The embedded server's URL has no host, only the directory of its socket. */
const isEmbedded = (url: string): boolean => /^postgres(ql)?:\/\/[^@/]*@\/hallpass\?/.test(url)

const asAdmin = (url: string): string =>
  isEmbedded(url) ? onDatabase(url, 'postgres').replace(/\/\/[^@]*@/, `//${superuser}@`) : url

/** The user as a parameter: with a user and no host, it is no URL to the broker's configuration. */
const parsable = (url: string): string => url.replace(/^(\w+:\/\/)([^@/]+)@(\/.*)$/, '$1$3&user=$2')

const onDatabase = (url: string, name: string): string =>
  url.replace(/^(postgres(?:ql)?:\/\/[^/?]*)(?:\/[^?]*)?/, `$1/${name}`)

async function run(url: string, text: string): Promise<void> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 10_000 })
  await client.connect()
  try {
    await client.query(text)
  } finally {
    await client.end()
  }
}
