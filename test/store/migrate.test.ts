import pg from 'pg'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { migrate } from '../../src/store/migrate.ts'
import { asAdmin, createTestDatabase, onDatabase, type TestDatabase } from '../support/database.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database?.drop())

async function run(text: string): Promise<pg.QueryResult> {
  const client = new pg.Client({ connectionString: database.url })
  await client.connect()
  try {
    return await client.query(text)
  } finally {
    await client.end()
  }
}

describe('migrations', () => {
  it('are applied once by replicas that start at the same moment', async () => {
    const { url } = inject('testServer')
    const name = 'migrate_at_once'
    await asAdmin(url, client => client.query(`CREATE DATABASE ${name}`))
    try {
      const empty = onDatabase(url, name)
      await Promise.all(Array.from({ length: 5 }, () => migrate(empty)))
      const rows = await asAdmin(
        empty,
        async client => (await client.query('SELECT version FROM schema_migrations')).rows,
      )
      expect(rows.map(row => row.version)).toEqual(rows.map((_, i) => i + 1))
    } finally {
      await asAdmin(url, client => client.query(`DROP DATABASE ${name} WITH (FORCE)`))
    }
  })

  it('are not applied again', async () => {
    await expect(migrate(database.url)).resolves.toBeUndefined()
  })

  it('refuse a schema that is newer than the broker', async () => {
    await run(`INSERT INTO schema_migrations VALUES (9999, '9999_future.sql', 'x')`)
    await expect(migrate(database.url)).rejects.toThrow('newer than this broker')
    await run('DELETE FROM schema_migrations WHERE version = 9999')
  })

  it('refuse a history that differs from the files', async () => {
    await run(`UPDATE schema_migrations SET sha256 = 'other' WHERE version = 1`)
    await expect(migrate(database.url)).rejects.toThrow('differs from the one that was applied')
  })
})
