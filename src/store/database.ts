import { Kysely, PostgresDialect } from 'kysely'
import pg from 'pg'
import type { Logger } from 'pino'
import { failureOf, isUnavailable } from './failure.ts'
import type { Tables } from './tables.ts'
import { type Waiting, waitingRoom } from './waiting.ts'

/** PostgreSQL as every room uses it: `kysely` for searches, `query` and `transaction` for all else. */
export interface Database {
  kysely: Kysely<Tables>
  /** One statement, prepared under its name on each connection. Rows as they come. */
  query<Row extends pg.QueryResultRow>(statement: Statement, values: unknown[]): Promise<Row[]>
  /**
   * All or nothing. A connection lost in it is `unavailable`, whatever became of the commit. `patience`, in milliseconds, is how long
   * each of its statements may take and wait, where that is longer than usual.
   */
  transaction<T>(work: (tx: Transaction) => Promise<T>, options?: { patience?: number }): Promise<T>
  /** For transactions that may have to wait long for rows, by what they wait for: the others keep their connections. */
  waiting: Waiting
  /** The same for operators, authorities and the sweeper: no workload is ever before them. */
  waitingToEnd: Waiting
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
  const pool = openPool({ url, log, connections, statementTimeout: 10_000 })
  // Searches have connections of their own: what a caller can make slow holds up no mint and no close.
  const searches = openPool({ url, log, connections: 2, statementTimeout: 2_000 })
  const kysely = new Kysely<Tables>({ dialect: new PostgresDialect({ pool: searches }) })

  async function run<Row extends pg.QueryResultRow>(
    client: pg.Pool | pg.PoolClient,
    { name, text }: Statement,
    values: unknown[],
    patience?: number,
  ): Promise<Row[]> {
    try {
      return (await client.query<Row>({ name, text, values, ...clientTimeout(patience) })).rows
    } catch (error) {
      throw failureOf(error)
    }
  }

  const room = { most: Math.ceil(connections / 3), patience: lockTimeout }

  return {
    kysely,
    waiting: waitingRoom(room),
    waitingToEnd: waitingRoom(room),
    query: (statement, values) => run(pool, statement, values),

    async transaction(work, { patience } = {}) {
      const client = await connect(pool)
      let broken: Error | undefined
      try {
        await client.query('BEGIN')
        if (patience !== undefined) await run(client, serverTimeouts, [String(patience)])
        const result = await work({
          query: (statement, values) => run(client, statement, values, patience),
        })
        // A transaction that failed earlier answers COMMIT with ROLLBACK, not with an error.
        const { command } = await client.query('COMMIT')
        if (command !== 'COMMIT') throw new Error(`the commit was answered ${command}`)
        return result
      } catch (error) {
        const failure = failureOf(error)
        // On a connection that is gone or does not answer, ROLLBACK would only double the wait: the server does it by itself.
        broken = isLost(failure)
          ? new Error('the connection was lost')
          : await client.query('ROLLBACK').then(
              () => undefined,
              (failed: Error) => failed,
            )
        throw failure
      } finally {
        client.release(broken)
      }
    },

    // Not kysely.destroy(), which leaves the pool open where Kysely itself was never used.
    close: async () => {
      await Promise.all([pool.end(), searches.end()])
    },
  }
}

/** Until the transaction ends. */
const serverTimeouts = {
  name: 'timeouts',
  text: `SELECT set_config('statement_timeout', $1, true), set_config('lock_timeout', $1, true)`,
}

/** Milliseconds. */
const lockTimeout = 5_000

/** The client gives up a little later than the server. Milliseconds. */
const giveUpAfter = 2_000

/** What pg takes with a single query, and its types do not know. */
const clientTimeout = (patience: number | undefined): { query_timeout?: number } =>
  patience === undefined ? {} : { query_timeout: patience + giveUpAfter }

interface PoolOptions extends Required<DatabaseOptions> {
  /** Milliseconds. */
  statementTimeout: number
}

function openPool({ url, log, connections, statementTimeout }: PoolOptions): pg.Pool {
  const pool = new pg.Pool({
    connectionString: url,
    max: connections,
    connectionTimeoutMillis: 3_000,
    idleTimeoutMillis: 30_000,
    query_timeout: statementTimeout + giveUpAfter,
    statement_timeout: statementTimeout,
    lock_timeout: lockTimeout,
    idle_in_transaction_session_timeout: 10_000,
    application_name: 'hallpass',
    allowExitOnIdle: false,
  })
  // Without a listener an idle connection's end would end the process.
  pool.on('error', error => log.warn({ err: error.message }, 'an idle database connection was lost'))
  // The pool listens to idle connections alone: one that is lost in the middle of a transaction tells whoever uses it, and
  // without a listener of its own would end the process as well.
  pool.on('connect', client => {
    client.on('error', () => {})
  })
  return pool
}

/** Whether the server may not have answered: what it did answer is a DatabaseError. */
const isLost = (failure: unknown): boolean =>
  isUnavailable(failure) && !((failure as Error).cause instanceof pg.DatabaseError)

async function connect(pool: pg.Pool): Promise<pg.PoolClient> {
  try {
    return await pool.connect()
  } catch (error) {
    throw failureOf(error)
  }
}

const now = { name: 'now', text: 'SELECT clock_timestamp() AS now' }

/** The database's clock, in milliseconds since the epoch. Throws `unavailable` where the database does not answer. */
export async function databaseNow(db: Pick<Database, 'query'>): Promise<number> {
  const [row] = await db.query<{ now: Date }>(now, [])
  return row?.now.getTime() ?? Number.NaN
}
