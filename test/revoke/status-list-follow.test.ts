import { randomUUID } from 'node:crypto'
import pino from 'pino'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { HallpassError } from '../../src/errors.ts'
import { newId } from '../../src/ids.ts'
import { followStatusLists, type StatusLists } from '../../src/revoke/status-list/follow.ts'
import { type Database, openDatabase } from '../../src/store/database.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { type StatusRows, listSize as size, statusRows } from '../support/status-list-rows.ts'

const minute = 60_000
const log = pino({ level: 'silent' })

let database: TestDatabase
let db: Database
let rows: StatusRows
let now = Date.now()
const clock = () => now
beforeAll(async () => {
  database = await createTestDatabase()
  db = openDatabase({ url: database.url, log })
  rows = statusRows(database.url, db, clock)
})
afterAll(async () => {
  await rows?.close()
  await db?.close()
  await database?.drop()
})

/** The places that are not valid, with their statuses. */
async function dead(lists: StatusLists, { id }: { id: string }): Promise<Record<number, number>> {
  const { bits } = (await lists.read(id))!.list
  const entries = Array.from({ length: size }, (_, n) => [n, ((bits[n >> 2] as number) >> ((n & 3) * 2)) & 3])
  return Object.fromEntries(entries.filter(([, status]) => status !== 0))
}
const invalid = (places: number[]) => Object.fromEntries(places.map(place => [place, 1]))
const range = (from: number, to: number) => Array.from({ length: to - from }, (_, n) => from + n)

test('a list that nobody asked for yet starts from the whole record, however many rows that is', async () => {
  const list = await rows.newList()
  const task = await rows.newTask()
  const jtis = await rows.mint(list, task, range(0, 3_000))
  await rows.revoke(...jtis.slice(0, 2_500))
  const [ended, running] = [await rows.newTask(), await rows.newTask()]
  await rows.mint(list, ended, range(3_000, 3_100))
  await rows.mint(list, running, range(3_100, 3_200))
  await rows.end(ended)
  expect(await dead(followStatusLists({ db, clock }), list)).toEqual(
    invalid([...range(0, 2_500), ...range(3_000, 3_100)]),
  )
})

test('a list that is followed learns what is new, and one of another key or broker is left alone', async () => {
  const lists = followStatusLists({ db, clock })
  const [one, two] = [await rows.newList(), await rows.newList()]
  const task = await rows.newTask()
  const [first] = await rows.mint(one, task, [5])
  await rows.mint(two, task, [6])
  expect([await dead(lists, one), await dead(lists, two)]).toEqual([{}, {}])
  await rows.revoke(first as string)
  expect([await dead(lists, one), await dead(lists, two)]).toEqual([{ 5: 1 }, {}])
  await rows.mint(one, task, [7])
  await rows.end(task)
  expect([await dead(lists, one), await dead(lists, two)]).toEqual([{ 5: 1, 7: 1 }, { 6: 1 }])
})

test('a credential whose path is not that of its task, or whose task is gone, is invalid', async () => {
  const list = await rows.newList()
  const root = await rows.newTask()
  const child = await rows.newTask([root])
  await rows.mint(list, child, [1], { vers: [1] })
  await rows.mint(list, child, [2], { vers: null })
  await rows.mint(list, child, [3], { vers: [1, 1] })
  const gone = randomUUID()
  await rows.mint(list, gone, [4])
  await rows.append({ taskId: child, state: 'open', ver: 1 }, { taskId: gone, state: 'closed', ver: 1 })
  expect(await dead(followStatusLists({ db, clock }), list)).toEqual(invalid([2, 3, 4]))
})

test('a task below one that is closed is no good, whatever it says itself', async () => {
  const list = await rows.newList()
  const root = await rows.newTask()
  const parent = await rows.newTask([root])
  await rows.mint(list, await rows.newTask([root, parent]), [1], { vers: [1, 1] })
  await rows.end(root)
  expect(await dead(followStatusLists({ db, clock }), list)).toEqual({ 1: 1 })
})

test('a withdrawn key kills its lists as a whole, whether they were followed or not, and no other', async () => {
  const lists = followStatusLists({ db, clock })
  const [list, other] = [await rows.newList(), await rows.newList()]
  const task = await rows.newTask()
  await rows.mint(list, task, [1])
  expect(await dead(lists, list)).toEqual({})
  await rows.append({ kid: list.kid })
  expect(Object.keys(await dead(lists, list))).toHaveLength(size)
  expect(Object.keys(await dead(followStatusLists({ db, clock }), list))).toHaveLength(size)
  await rows.append({ taskId: task, state: 'open', ver: 1 })
  expect(Object.keys(await dead(lists, list))).toHaveLength(size)
  expect(await dead(lists, other)).toEqual({})
})

test('clocks of brokers may differ: a credential is found that says it is older than its list', async () => {
  const list = await rows.newList()
  const task = await rows.newTask()
  await rows.mint(list, task, [9], { at: Date.now() - 30 * minute })
  await rows.end(task)
  expect(await dead(followStatusLists({ db, clock }), list)).toEqual({ 9: 1 })
})

test('a list is there until it ends, and no other is', async () => {
  const lists = followStatusLists({ db, clock })
  const list = await rows.newList({ life: minute })
  expect(await lists.read(list.id)).not.toBeNull()
  expect(await lists.read(newId())).toBeNull()
  now += minute - 1
  expect(await lists.read(list.id)).not.toBeNull()
  now += 1
  expect(await lists.read(list.id)).toBeNull()
  expect(await followStatusLists({ db, clock }).read(list.id)).toBeNull()
})

test('what is read agrees with the record at a moment after the question', async () => {
  const lists = followStatusLists({ db, clock })
  const list = await rows.newList()
  for (let n = 0; n < 3; n++) {
    now += 10_000
    expect((await lists.read(list.id))!.asOf).toBe(now)
  }
})

test('a database that was restored is read anew, whether its record is shorter or another', async () => {
  const lists = followStatusLists({ db, clock })
  const list = await rows.newList()
  const task = await rows.newTask()
  const [first, second] = (await rows.mint(list, task, [1, 2])) as [string, string]
  const lives = (jti: string) => rows.sql('UPDATE credentials SET revoked_at = NULL WHERE jti = $1', [jti])
  await rows.revoke(first, second)
  expect(await dead(lists, list)).toEqual(invalid([1, 2]))

  // Back to before the second one.
  await lives(second)
  await rows.sql('DELETE FROM revocations WHERE jti = $1', [second])
  await rows.sql('UPDATE revocation_counter SET seq = seq - 1')
  expect(await dead(lists, list)).toEqual(invalid([1]))

  // Back to before both, and further than it was since.
  await lives(first)
  await rows.sql('DELETE FROM revocations WHERE jti = $1', [first])
  await rows.sql('UPDATE revocation_counter SET seq = seq + 10, epoch = gen_random_uuid()')
  expect(await dead(lists, list)).toEqual({})
})

test.each(['a list that is new', 'a list that is followed'])(
  'a reading that fails anywhere gives no list, and the next one is whole: %s',
  async which => {
    const list = await rows.newList()
    const jtis = await rows.mint(list, await rows.newTask(), range(0, 2_000))
    // More than is read at a time.
    await rows.revoke(...jtis.splice(0, 1_100))
    let left = Number.POSITIVE_INFINITY
    const failing: Pick<Database, 'query'> = {
      query: async (statement, values) => {
        if (left-- === 0) throw new HallpassError('unavailable', 'Storage is not available.')
        return db.query(statement, values)
      },
    }
    let failures = 0
    for (let failed = true; failed; ) {
      const lists = followStatusLists({ db: failing, clock })
      left = Number.POSITIVE_INFINITY
      if (which === 'a list that is followed') await lists.read(list.id)
      await rows.revoke(...jtis.splice(0, 10))
      left = failures
      failed = await lists.read(list.id).then(
        () => false,
        (error: HallpassError) => error.code === 'unavailable',
      )
      left = Number.POSITIVE_INFINITY
      expect(Object.keys(await dead(lists, list))).toHaveLength(2_000 - jtis.length)
      if (failed) failures += 1
    }
    expect(failures).toBeGreaterThanOrEqual(which === 'a list that is new' ? 5 : 2)
  },
)

test('however many ask at once, the record is read for the first of them and once for all others', async () => {
  const list = await rows.newList()
  let readings = 0
  const counting: Pick<Database, 'query'> = {
    query: (statement, values) => {
      if (statement.name === 'status_record_page') readings += 1
      return db.query(statement, values)
    },
  }
  const lists = followStatusLists({ db: counting, clock })
  await lists.read(list.id)
  const before = readings
  await Promise.all(Array.from({ length: 64 }, () => lists.read(list.id)))
  expect(readings - before).toBeLessThanOrEqual(2)
})

test('a standby, which may lag, is not believed', async () => {
  const list = await rows.newList()
  await rows.sql(`CREATE FUNCTION public.pg_is_in_recovery() RETURNS boolean LANGUAGE sql AS 'SELECT true'`)
  const options = encodeURIComponent('-c search_path=public,pg_catalog')
  const url = `${database.url}${database.url.includes('?') ? '&' : '?'}options=${options}`
  const standby = openDatabase({ url, log })
  await expect(followStatusLists({ db: standby, clock }).read(list.id)).rejects.toMatchObject({
    code: 'unavailable',
  })
  await standby.close()
})
