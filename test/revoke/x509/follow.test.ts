import pino from 'pino'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { HallpassError } from '../../../src/errors.ts'
import { type CertificateRecord, followCertificates } from '../../../src/revoke/x509/follow.ts'
import { type Database, openDatabase } from '../../../src/store/database.ts'
import { type CertificateRows, certificateRows } from '../../support/certificate-rows.ts'
import { createTestDatabase, type TestDatabase } from '../../support/database.ts'

const minute = 60_000

let database: TestDatabase
let db: Database
let rows: CertificateRows
let now = Date.now()
const clock = () => now
beforeAll(async () => {
  database = await createTestDatabase()
  db = openDatabase({ url: database.url, log: pino({ level: 'silent' }) })
  rows = certificateRows(database.url, db, clock)
})
afterAll(async () => {
  await rows?.close()
  await db?.close()
  await database?.drop()
})

/** Reasons by the `jti`. */
async function listed(record: CertificateRecord, kid: string): Promise<Record<string, number>> {
  const { entries } = (await record.read()).of(kid)
  return Object.fromEntries([...entries].map(([jti, { reason }]) => [jti, reason]))
}
const all = (jtis: string[], reason: number) => Object.fromEntries(jtis.map(jti => [jti, reason]))
const follow = (from: Pick<Database, 'query'> = db) => followCertificates({ db: from, clock })

test('the first reading is of the whole record, however many rows that is', async () => {
  const kid = await rows.newAuthority()
  const jtis = await rows.mint(kid, await rows.newTask(), { count: 3_000 })
  await rows.revoke(...jtis.slice(0, 2_500))
  const ended = await rows.newTask()
  const below = await rows.newTask([ended])
  const [own, child] = [
    await rows.mint(kid, ended, { count: 100 }),
    await rows.mint(kid, below, { count: 100, vers: [1] }),
  ]
  await rows.change(ended, { state: 'closed', reason: 'failed' })
  expect(await listed(follow(), kid)).toEqual({
    ...all(jtis.slice(0, 2_500), 9),
    ...all([...own, ...child], 5),
  })
})

test('one that is followed learns what is new; a token, and another authority’s certificate, is on no list of this one', async () => {
  const [kid, other] = [await rows.newAuthority(), await rows.newAuthority()]
  const record = follow()
  const task = await rows.newTask()
  const [one] = await rows.mint(kid, task)
  const [elsewhere] = await rows.mint(other, task)
  const [token] = await rows.mint(kid, task)
  await rows.sql(`UPDATE credentials SET type = 'jwt' WHERE jti = $1`, [token])
  expect([await listed(record, kid), await listed(record, other)]).toEqual([{}, {}])
  await rows.change(task, { state: 'suspended' })
  expect(await listed(record, kid)).toEqual(all([one as string], 6))
  await rows.change(task, { state: 'open' })
  expect(await listed(record, kid)).toEqual(all([one as string], 8))
  await rows.revoke(token as string)
  await rows.change(task, { state: 'closed' })
  expect(await listed(record, kid)).toEqual(all([one as string], 5))
  expect(await listed(record, other)).toEqual(all([elsewhere as string], 5))
})

test('a certificate whose path is not that of its task, or whose task is gone, is on the list', async () => {
  const kid = await rows.newAuthority()
  const root = await rows.newTask()
  const child = await rows.newTask([root])
  const [fits] = await rows.mint(kid, child, { vers: [1] })
  const [none] = await rows.mint(kid, child)
  const [long] = await rows.mint(kid, child, { vers: [1, 1] })
  const gone = await rows.newTask()
  const [left] = await rows.mint(kid, gone)
  await rows.change(child, {})
  await rows.change(gone, {})
  await rows.sql('DELETE FROM tasks WHERE id = $1', [gone])
  const list = await listed(follow(), kid)
  expect(list).toEqual(all([none, long, left] as string[], 0))
  expect(list).not.toHaveProperty(fits as string)
})

test('all that a withdrawn authority signed is on its list, followed or not, and nothing of another', async () => {
  const [kid, other] = [await rows.newAuthority(), await rows.newAuthority()]
  const record = follow()
  const task = await rows.newTask()
  // More than are read at a time, and all of one moment.
  const jtis = await rows.mint(kid, task, { count: 11_000 })
  await rows.mint(other, task, { count: 5 })
  expect(await listed(record, kid)).toEqual({})
  now += 1_000
  const before = now
  await rows.revoke(jtis[0] as string)
  now += 5_000
  await rows.withdraw(kid)
  for (const one of [record, follow()]) {
    const { entries, withdrawnAt } = (await one.read()).of(kid)
    expect(withdrawnAt).toBe(now)
    expect(Object.fromEntries([...entries].map(([jti, { reason }]) => [jti, reason]))).toEqual(all(jtis, 2))
    // What had ended before keeps its time, and is in deltas for what it is now.
    expect(entries.get(jtis[0] as string)).toMatchObject({ at: before, changedAt: now })
    expect(entries.get(jtis[1] as string)).toMatchObject({ at: now, changedAt: now })
  }
  await rows.change(task, { state: 'suspended' })
  await rows.change(task, { state: 'open' })
  expect(await listed(record, kid)).toEqual(all(jtis, 2))
  expect(Object.values(await listed(record, other))).toEqual([8, 8, 8, 8, 8])
})

test('a certificate stays for ten minutes after it expired, also for a broker that starts then, and one that ended later never comes', async () => {
  const kid = await rows.newAuthority()
  const record = follow()
  const [task, late] = [await rows.newTask(), await rows.newTask()]
  const [one] = await rows.mint(kid, task, { life: 2 * minute })
  await rows.mint(kid, late, { life: 2 * minute })
  await rows.change(task, { state: 'closed' })
  expect(await listed(record, kid)).toEqual(all([one as string], 5))
  now += 4 * minute
  await rows.change(late, { state: 'closed', reason: 'expired' })
  now += 8 * minute - 1
  expect(await listed(record, kid)).toEqual(all([one as string], 5))
  expect(await listed(follow(), kid)).toEqual(all([one as string], 5))
  now += minute
  expect(await listed(record, kid)).toEqual({})
  expect(await listed(follow(), kid)).toEqual({})
})

test('a reading is of a moment of the database’s clock, and each of a later one', async () => {
  const record = follow()
  let last = 0n
  for (let n = 0; n < 5; n++) {
    const before = BigInt(Date.now()) * 1000n
    const { at } = await record.read()
    expect(at > last).toBe(true)
    // Both clocks are this machine's.
    expect(at >= before - 5_000n && at <= BigInt(Date.now() + 1) * 1000n).toBe(true)
    last = at
  }
})

test('a database that was restored is read anew, whether its record is shorter or another', async () => {
  const kid = await rows.newAuthority()
  const record = follow()
  const [first, second] = (await rows.mint(kid, await rows.newTask(), { count: 2 })) as [string, string]
  const lives = (jti: string) => rows.sql('UPDATE credentials SET revoked_at = NULL WHERE jti = $1', [jti])
  await rows.revoke(first, second)
  expect(await listed(record, kid)).toEqual(all([first, second], 9))

  await lives(second)
  await rows.sql('DELETE FROM revocations WHERE jti = $1', [second])
  await rows.sql('UPDATE revocation_counter SET seq = seq - 1')
  const shorter = (await record.read()).of(kid)
  expect([...shorter.entries.keys()]).toEqual([first])
  const { version } = shorter

  await lives(first)
  await rows.sql('DELETE FROM revocations WHERE jti = $1', [first])
  await rows.sql('UPDATE revocation_counter SET seq = seq + 10, epoch = gen_random_uuid()')
  const another = (await record.read()).of(kid)
  expect(another.entries.size).toBe(0)
  // So that no CRL of before is taken for one of these entries.
  expect(another.version).not.toBe(version)
})

test.each(['a record that is new', 'a record that is followed'])(
  'a reading that fails anywhere gives no list, and the next one is whole: %s',
  async which => {
    // What the tests before this one have left matters no more.
    now += 120 * minute
    const kid = await rows.newAuthority()
    const withdrawn = await rows.newAuthority()
    const jtis = await rows.mint(kid, await rows.newTask(), { count: 1_500 })
    await rows.mint(withdrawn, await rows.newTask(), { count: 50 })
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
      left = Number.POSITIVE_INFINITY
      const record = follow(failing)
      if (which === 'a record that is followed') await record.read()
      await rows.revoke(...jtis.splice(0, 10))
      await rows.withdraw(withdrawn)
      left = failures
      failed = await record.read().then(
        () => false,
        (error: HallpassError) => error.code === 'unavailable',
      )
      left = Number.POSITIVE_INFINITY
      expect(Object.keys(await listed(record, kid))).toHaveLength(1_500 - jtis.length)
      expect(Object.keys(await listed(record, withdrawn))).toHaveLength(50)
      if (failed) failures += 1
    }
    expect(failures).toBeGreaterThanOrEqual(5)
  },
  120_000,
)
