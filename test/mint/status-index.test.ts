import fc from 'fast-check'
import pino from 'pino'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { HallpassError } from '../../src/errors.ts'
import { type StatusIndexesDeps, statusIndexes, statusListUri } from '../../src/mint/status-index.ts'
import { type Database, openDatabase } from '../../src/store/database.ts'
import type { StatusEntry } from '../../src/store/reservation.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { type DatabaseLink, linkTo } from '../support/database-link.ts'

const ttlMax = 900_000
const window = 900_000
const log = pino({ level: 'silent' })

let database: TestDatabase
let link: DatabaseLink
let db: Database
let now = Date.now()
beforeAll(async () => {
  database = await createTestDatabase()
  link = await linkTo(database.url)
  db = openDatabase({ url: link.url, log })
})
afterAll(async () => {
  await db?.close()
  await link?.close()
  await database?.drop()
})

const broker = (more: Partial<StatusIndexesDeps> = {}) =>
  statusIndexes({ db, clock: () => now, log, ttlMax, ...more })
const expiry = (ttl = ttlMax) => new Date(Math.floor(now / 1000) * 1000 + ttl)

interface Row {
  id: string
  kid: string
  size: number
  opened_at: Date
  ends_at: Date
}
const rows = async (kid: string) =>
  db.query<Row>(
    { name: 'test_lists', text: 'SELECT * FROM status_lists WHERE kid = $1 ORDER BY opened_at' },
    [kid],
  )
const nameOf = ({ list, idx }: StatusEntry) => `${list} ${idx}`

test('no place is given twice, and no credential outlives its list: any mints, on any replicas, through restarts and jumps of the clock', async () => {
  const step = fc.oneof(
    {
      weight: 8,
      arbitrary: fc.record({ mints: fc.integer({ min: 1, max: 20 }), ttl: fc.integer({ min: 1, max: 900 }) }),
    },
    { weight: 2, arbitrary: fc.record({ jump: fc.integer({ min: -7_200, max: 7_200 }) }) },
    { weight: 1, arbitrary: fc.constant('restart' as const) },
  )
  let run = 0
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(fc.nat({ max: 1 }), step), { maxLength: 30 }), async steps => {
      const kid = `run-${run++}`
      const replicas = [broker({ size: 16 }), broker({ size: 16 })]
      const given: (StatusEntry & { expiresAt: Date })[] = []
      for (const [at, what] of steps) {
        if (what === 'restart') replicas[at] = broker({ size: 16 })
        else if ('jump' in what) now += what.jump * 1000
        else {
          const expiresAt = expiry(what.ttl * 1000)
          const taking = Array.from({ length: what.mints }, () => replicas[at]!.take(kid, expiresAt))
          for (const entry of await Promise.all(taking)) given.push({ ...entry, expiresAt })
        }
      }
      expect(new Set(given.map(nameOf)).size).toBe(given.length)
      const lists = new Map((await rows(kid)).map(row => [row.id, row]))
      for (const { list, idx, expiresAt } of given) {
        const row = lists.get(list)
        expect(row).toMatchObject({ kid, size: 16 })
        expect(idx).toBeLessThan(16)
        expect(row!.ends_at.getTime()).toBeGreaterThanOrEqual(expiresAt.getTime())
      }
    }),
    { numRuns: 40 },
  )
})

test('a list is committed before anybody has a place in it', async () => {
  const indexes = broker({
    db: {
      query: async (statement, values) => {
        const before = taken
        const answer = await db.query<never>(statement, values)
        expect([before, taken]).toEqual([0, 0])
        return answer
      },
    },
  })
  let taken = 0
  const { list } = await indexes.take('first', expiry())
  taken = 1
  expect((await rows('first')).map(({ id }) => id)).toEqual([list])
})

test('a list takes credentials for a window, and ends when the last of them must have expired', async () => {
  const indexes = broker()
  const first = await indexes.take('window', expiry())
  now += window - 1_000
  expect((await indexes.take('window', expiry())).list).toBe(first.list)
  await expect.poll(() => rows('window')).toHaveLength(2)
  now += 1_000
  const second = await indexes.take('window', expiry())
  expect(second.list).not.toBe(first.list)
  const [row] = await rows('window')
  const life = row!.ends_at.getTime() - row!.opened_at.getTime()
  expect(life).toBeGreaterThanOrEqual(window + ttlMax)
  expect(life).toBeLessThan(window + ttlMax + 120_000)
})

test('a credential that would outlive the list gets another, which ends after it', async () => {
  const indexes = broker()
  const first = await indexes.take('long', expiry())
  // As where the clock was set back since its expiry was reckoned.
  const far = expiry(ttlMax + 2 * window)
  const { list } = await indexes.take('long', far)
  expect(list).not.toBe(first.list)
  const row = (await rows('long')).find(({ id }) => id === list)
  expect(row!.ends_at.getTime()).toBeGreaterThan(far.getTime())
})

test('a next list that was not needed in its time is not used later', async () => {
  const indexes = broker({ size: 64 })
  for (let n = 0; n < 62; n++) await indexes.take('idle', expiry())
  await expect.poll(() => rows('idle')).toHaveLength(2)
  now += 2 * window
  const { list } = await indexes.take('idle', expiry())
  expect((await rows('idle')).map(({ id }) => id).indexOf(list)).toBe(2)
})

test('each key has lists of its own', async () => {
  const indexes = broker()
  const [a, b] = [await indexes.take('key-a', expiry()), await indexes.take('key-b', expiry())]
  expect([(await rows('key-a'))[0]?.id, (await rows('key-b'))[0]?.id]).toEqual([a.list, b.list])
  expect((await indexes.take('key-a', expiry())).list).toBe(a.list)
})

test('64 mints that come at once to a broker without a list make one', async () => {
  const indexes = broker()
  const taken = await Promise.all(Array.from({ length: 64 }, () => indexes.take('crowd', expiry())))
  expect(new Set(taken.map(nameOf)).size).toBe(64)
  expect(await rows('crowd')).toHaveLength(1)
})

test('the next list is made before it is needed, when the list or its window runs out: no mint waits', async () => {
  const indexes = broker({ size: 64 })
  await indexes.take('ahead', expiry())
  for (let n = 0; n < 60; n++) expect(indexes.take('ahead', expiry())).not.toBeInstanceOf(Promise)
  await expect.poll(() => rows('ahead')).toHaveLength(2)
  const lists = new Set<string>()
  for (let n = 0; n < 20; n++) lists.add((indexes.take('ahead', expiry()) as StatusEntry).list)
  expect(lists.size).toBe(2)

  now += window * 0.9
  expect(indexes.take('ahead', expiry())).not.toBeInstanceOf(Promise)
  await expect.poll(() => rows('ahead')).toHaveLength(3)
  now += window * 0.1
  expect(indexes.take('ahead', expiry())).not.toBeInstanceOf(Promise)
})

test('a broker that starts again begins a list of its own', async () => {
  const before = await broker().take('restart', expiry())
  const after = await broker().take('restart', expiry())
  expect(after.list).not.toBe(before.list)
})

test('a clock that is set back does not make a list last longer', async () => {
  const indexes = broker()
  const before = await indexes.take('back', expiry())
  now -= 3_600_000
  const after = await indexes.take('back', expiry())
  expect(after.list).not.toBe(before.list)
  now += 3_600_000
  const [row] = (await rows('back')).filter(({ id }) => id === after.list)
  const again = await indexes.take('back', expiry())
  expect(again.list).not.toBe(after.list)
  expect(row!.ends_at.getTime()).toBeLessThan(now)
})

test('with the database away nothing is given, and once it is back there is a list', async () => {
  const indexes = broker()
  link.cut()
  const failed = await Promise.allSettled([indexes.take('away', expiry()), indexes.take('away', expiry())])
  for (const answer of failed) {
    expect(answer.status).toBe('rejected')
    expect((answer as PromiseRejectedResult).reason).toBeInstanceOf(HallpassError)
    expect((answer as PromiseRejectedResult).reason).toMatchObject({ code: 'unavailable' })
  }
  link.mend()
  await expect.poll(() => indexes.take('away', expiry()), { timeout: 10_000 }).toHaveProperty('idx')
})

test('while the next list cannot be made, the present one serves to its end', async () => {
  const indexes = broker({ size: 32 })
  await indexes.take('last', expiry())
  link.cut()
  for (let n = 1; n < 32; n++) expect(indexes.take('last', expiry())).toHaveProperty('idx')
  await expect(async () => indexes.take('last', expiry())).rejects.toMatchObject({ code: 'unavailable' })
  link.mend()
  await expect.poll(() => indexes.take('last', expiry()), { timeout: 10_000 }).toHaveProperty('idx')
})

test('a list of which it is not known whether it was written is not used', async () => {
  let lost = 0
  const indexes = broker({
    db: {
      query: async (statement, values) => {
        const answer = await db.query<never>(statement, values)
        if (lost++ === 0) throw new HallpassError('unavailable', 'Storage is not available.')
        return answer
      },
    },
  })
  await expect(async () => indexes.take('lost', expiry())).rejects.toMatchObject({ code: 'unavailable' })
  const { list } = await indexes.take('lost', expiry())
  const [abandoned] = await rows('lost')
  expect(abandoned!.id).not.toBe(list)
})

test('the address of a list is below the issuer, whether or not that ends with a slash', () => {
  const uri = 'https://hallpass.test/a/status-lists/x'
  for (const issuer of ['https://hallpass.test/a', 'https://hallpass.test/a/'])
    expect(statusListUri(issuer, 'x')).toBe(uri)
})
