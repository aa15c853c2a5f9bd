import { randomBytes } from 'node:crypto'
import pg from 'pg'
import { inject } from 'vitest'

declare module 'vitest' {
  interface ProvidedContext {
    /** Of a role that may create databases; and the database, migrated and otherwise empty, that they are copied from. */
    testServer: { url: string; template: string }
  }
}

export interface TestDatabase {
  url: string
  /** Ends what is still connected. What is not dropped goes at the end of the run. */
  drop(): Promise<void>
}

/** A database of the test file's own on the run's PostgreSQL, with all migrations applied. */
export async function createTestDatabase(): Promise<TestDatabase> {
  const { url, template } = inject('testServer')
  const name = `${template}_${randomBytes(6).toString('hex')}`
  await asAdmin(url, client => client.query(`CREATE DATABASE ${name} TEMPLATE ${template}`))
  return {
    url: onDatabase(url, name),
    async drop() {
      try {
        await asAdmin(url, client => client.query(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`))
      } catch (error) {
        // insufficient_privilege: the server's own vacuum is at work in it.
        if (!(error instanceof pg.DatabaseError && error.code === '42501')) throw error
      }
    },
  }
}

/** The same server, role and parameters. A Unix socket's URL has no host, which `URL` would not parse. */
export function onDatabase(url: string, name: string): string {
  return url.replace(/^(postgres(?:ql)?:\/\/[^/?]*)(?:\/[^?]*)?/, `$1/${name}`)
}

export async function asAdmin<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 10_000 })
  await client.connect()
  try {
    return await work(client)
  } finally {
    await client.end()
  }
}
