import pg from 'pg'
import pino from 'pino'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createFeed } from '../../src/revoke/feed/feed.ts'
import { type Database, openDatabase } from '../../src/store/database.ts'
import { openListener } from '../../src/store/listener.ts'
import { pageSize, readOrigin, readRecord, renewEpoch } from '../../src/store/record.ts'
import { appendRevocations, recordChannel } from '../../src/store/revocations.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { anEnd, aRevokedCredential, aWithdrawnKey } from '../support/record.ts'

let database: TestDatabase
let db: Database
beforeAll(async () => {
  database = await createTestDatabase()
  db = openDatabase({ url: database.url, log: pino({ level: 'silent' }) })
})
afterAll(async () => {
  await db?.close()
  await database?.drop()
})

type Query = Database['query']
const append = (rows: Parameters<typeof appendRevocations>[1]) =>
  db.transaction(tx => appendRevocations(tx, rows))

/** The database, but that this statement is answered by the test. */
const but = (name: string, answer: () => unknown): { query: Query } => ({
  query: (statement, values) =>
    statement.name === name ? (Promise.resolve().then(answer) as never) : db.query(statement, values),
})

describe('a reading of the record', () => {
  it('of an empty one has no rows, and says up to which number and when', async () => {
    const before = Date.now()
    const { rows, seq, at, epoch } = await readRecord(db, 0)
    expect([rows, seq]).toEqual([[], 0])
    expect(epoch).toMatch(/^[0-9a-f-]{36}$/)
    expect(Math.abs(at.getTime() - before)).toBeLessThan(60_000)
  })

  it('has every kind of row as it was appended, numbered', async () => {
    const appended = [anEnd({ state: 'suspended', ver: 3 }), aRevokedCredential(), aWithdrawnKey('k')]
    await append(appended)
    const { rows, seq } = await readRecord(db, 0)
    expect(rows).toEqual(appended.map((row, i) => ({ ...row, seq: i + 1 })))
    expect(seq).toBe(3)
    expect((await readRecord(db, 3)).rows).toEqual(rows.slice(2))
    expect(await readRecord(db, 4)).toMatchObject({ rows: [], seq: 3 })
  })

  it('is a page, in order, that says that there is more', async () => {
    await append(Array.from({ length: pageSize + 10 }, () => anEnd()))
    const { rows, seq } = await readRecord(db, 2)
    expect(seq).toBe(pageSize + 13)
    expect(rows.map(row => row.seq)).toEqual(Array.from({ length: pageSize }, (_, i) => i + 2))
  })

  it('is from no later than what it saw: what was committed before its time is in it', async () => {
    let last = 0
    const times: { committed: number; seq: number }[] = []
    const writing = (async () => {
      for (let n = 0; n < 200; n++) {
        await append([anEnd()])
        const [row] = await db.query<{ at: Date; seq: string }>(
          { name: 'test_now', text: 'SELECT clock_timestamp() AS at, seq FROM revocation_counter' },
          [],
        )
        times.push({ committed: row!.at.getTime(), seq: Number(row!.seq) })
      }
    })()
    let writes = true
    void writing.finally(() => {
      writes = false
    })
    while (writes) {
      const { at, seq } = await readRecord(db, Number.MAX_SAFE_INTEGER)
      expect(seq).toBeGreaterThanOrEqual(last)
      last = seq
      // Times are whole milliseconds here.
      for (const { committed, seq: number } of times)
        if (committed < at.getTime()) expect(seq).toBeGreaterThanOrEqual(number)
    }
    await writing
  })

  it('of a standby is none: it may lag', async () => {
    const row = { epoch: 'e', last: '9', read_at: new Date(), standby: true, seq: null }
    await expect(
      readRecord(
        but('record_read', () => [row]),
        0,
      ),
    ).rejects.toMatchObject({ code: 'unavailable' })
  })
})

describe('the epoch', () => {
  it('is renewed by whoever still sees the old one, and by nobody else', async () => {
    const { epoch } = await readRecord(db, 0)
    await renewEpoch(db, '0b8f5a4c-1e77-4c3a-9d2f-019f1c526b1e')
    expect((await readRecord(db, 0)).epoch).toBe(epoch)
    await Promise.all([renewEpoch(db, epoch), renewEpoch(db, epoch)])
    const renewed = (await readRecord(db, 0)).epoch
    expect(renewed).not.toBe(epoch)
    await renewEpoch(db, epoch)
    expect((await readRecord(db, 0)).epoch).toBe(renewed)
  })
})

describe('where the record is kept', () => {
  it('is told by the database itself, to the broker’s own role', async () => {
    const { database: oid, cluster } = await readOrigin(db)
    expect(oid).toMatch(/^\d+$/)
    expect(cluster?.system).toMatch(/^\d{10,}$/)
    expect(cluster?.timeline).toMatch(/^[0-9A-F]{8}$/)
  })

  it.each(['42501', '42883', '0A000'])(
    'is told in part where the database refuses (%s): the feed goes on, and says so',
    async code => {
      const refuse = () => {
        const error = new pg.DatabaseError('no', 2, 'error')
        error.code = code
        throw error
      }
      expect(await readOrigin(but('record_origin_cluster', refuse))).toMatchObject({ cluster: null })
      const logged: string[] = []
      const feed = createFeed({
        log: pino({ level: 'info' }, { write: line => void logged.push(line) }),
        connect: async events => {
          const listener = await openListener({ url: database.url, channel: recordChannel, ...events })
          const query: Query = (statement, values) =>
            statement.name === 'record_origin_cluster'
              ? Promise.resolve().then(refuse)
              : listener.query(statement, values)
          return { ...listener, query }
        },
      })
      feed.start()
      await feed.ready()
      await feed.stop()
      expect(logged.join('')).toContain('does not tell its cluster')
    },
  )

  it('is not guessed where the database does not answer', async () => {
    const lost = () => {
      throw new Error('Connection terminated')
    }
    await expect(readOrigin(but('record_origin_cluster', lost))).rejects.toThrow()
  })
})
