import { Kysely, PostgresDialect, sql } from 'kysely'
import pg from 'pg'
import type { Logger } from 'pino'
import { answered, failureOf } from './failure.ts'
import type { Tables } from './tables.ts'

/** PostgreSQL as every room uses it: `kysely` for what it types well, `query` where each microsecond counts. */
export interface Database {
  kysely: Kysely<Tables>
  /** One statement, prepared under its name on each connection. Rows as they come. */
  query<Row extends pg.QueryResultRow>(statement: Statement, values: unknown[]): Promise<Row[]>
  /** All or nothing. A connection lost in it is `unavailable`, whatever became of the commit. */
  transaction<T>(work: (tx: Transaction) => Promise<T>): Promise<T>
  close(): Promise<void>
}

export interface Statement {
  name: string
  text: string
}

export interface Transaction {
  query<Row extends pg.QueryResultRow>(statement: Statement, values: unknown[]): Promise<Row[]>
}

export interface DatabaseOptions {
  url: string
  log: Logger
  /** Connections of this replica at the most. */
  connections?: number
}

/**
 * Times are bounded on both sides: the server ends a statement or an idle transaction, the client gives up a little later.
 * Errors are HallpassErrors: `unavailable` for whatever a later try may mend.
 */
export function openDatabase({ url, log, connections = 10 }: DatabaseOptions): Database {
  const pool = new pg.Pool({
    connectionString: url,
    max: connections,
    connectionTimeoutMillis: 3_000,
    idleTimeoutMillis: 30_000,
    query_timeout: 12_000,
    statement_timeout: 10_000,
    lock_timeout: 5_000,
    idle_in_transaction_session_timeout: 10_000,
    application_name: 'hallpass',
    allowExitOnIdle: false,
  })
  let closing = false
  // Without a listener an idle connection's end would end the process.
  pool.on('error', error => {
    if (!closing) log.warn({ err: error.message }, 'an idle database connection was lost')
  })

  const kysely = new Kysely<Tables>({ dialect: new PostgresDialect({ pool }) })

  async function run<Row extends pg.QueryResultRow>(
    client: pg.Pool | pg.PoolClient,
    { name, text }: Statement,
    values: unknown[],
  ): Promise<Row[]> {
    try {
      return (await client.query<Row>({ name, text, values })).rows
    } catch (error) {
      throw failureOf(error)
    }
  }

  return {
    kysely,
    query: (statement, values) => run(pool, statement, values),

    async transaction(work) {
      const client = await connect(pool)
      let broken: Error | undefined
      try {
        await client.query('BEGIN')
        const result = await work({ query: (statement, values) => run(client, statement, values) })
        // A transaction that failed earlier answers COMMIT with ROLLBACK, not with an error.
        const { command } = await client.query('COMMIT')
        if (command !== 'COMMIT') throw new Error(`the commit was answered ${command}`)
        return result
      } catch (error) {
        broken = await client.query('ROLLBACK').then(
          () => undefined,
          (failure: Error) => failure,
        )
        throw failureOf(error)
      } finally {
        client.release(broken)
      }
    },

    close() {
      closing = true
      return kysely.destroy()
    },
  }
}

async function connect(pool: pg.Pool): Promise<pg.PoolClient> {
  try {
    return await pool.connect()
  } catch (error) {
    throw failureOf(error)
  }
}

/** Whether the database answers. Throws `unavailable`. */
export async function ping({ kysely }: Database): Promise<void> {
  await answered(sql`SELECT 1`.execute(kysely))
}
