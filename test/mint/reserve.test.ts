import pino from 'pino'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { newId } from '../../src/ids.ts'
import { type Database, openDatabase } from '../../src/store/database.ts'
import type { Reservation } from '../../src/store/reservation.ts'
import { reserver } from '../../src/store/reserve.ts'
import type { Task } from '../../src/store/task-record.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { insertKey, later, openTask, reservation } from '../support/stored-tasks.ts'

let database: TestDatabase
let db: Database

beforeAll(async () => {
  database = await createTestDatabase()
  db = openDatabase({ url: database.url, log: pino({ level: 'silent' }) })
  await insertKey(db)
})
afterAll(async () => {
  await db?.close()
  await database?.drop()
})

const rows = (task: Task) =>
  db.query({ name: 'test_rows', text: 'SELECT jti FROM credentials WHERE task_id = $1' }, [task.id])

it('a reservation is refused as stale once what it rests on is no more, and writes nothing', async () => {
  const task = await openTask(db, 'stale')
  const good = reservation(task)
  const wrong: Reservation[] = [
    reservation(task, { task: { id: task.id, rev: 2, ancestors: [] } }),
    reservation(task, { now: later(3600) }),
    reservation(task, { policyStands: () => false }),
    { ...good, credential: { ...good.credential, jti: newId(), expiresAt: later(3601) } },
    { ...good, credential: { ...good.credential, jti: newId(), kid: 'unknown' } },
    reservation({ ...task, id: newId() }),
  ]
  const reserve = reserver(db)
  expect(await Promise.all(wrong.map(reserve))).toEqual(wrong.map(() => 'stale'))
  const single = { key: 'ab'.repeat(32), requestId: newId(), acceptableUntil: later(300) }
  const held = await Promise.all(wrong.slice(0, 5).map(item => reserve({ ...item, use: single })))
  expect(held).toEqual(['stale', 'stale', 'stale', 'stale', 'stale'])
  expect(await rows(task)).toEqual([])
  expect(await reserve(good)).toBe('reserved')
})

it('a policy that is replaced while the reservation is written leaves a row, and no credential', async () => {
  const task = await openTask(db, 'policy')
  let asked = 0
  const answer = await reserver(db)(reservation(task, { policyStands: () => ++asked === 1 }))
  expect(answer).toBe('stale')
  expect(asked).toBe(2)
})

it('a reservation that cannot be written fails nobody else, and is no second time for those that were', async () => {
  const task = await openTask(db, 'poison')
  const reserve = reserver(db)
  const poison = reservation(task, {
    use: { key: 'not hexadecimal', requestId: newId(), acceptableUntil: later(300) },
  })
  const answers = await Promise.allSettled([
    reserve(reservation(task)),
    reserve(poison),
    reserve(reservation(task)),
  ])
  expect(answers.map(answer => answer.status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
  expect(await rows(task)).toHaveLength(2)
})

it('while a task is being changed, its reservations wait and those of other tasks do not', async () => {
  const [busy, free] = [await openTask(db, 'busy'), await openTask(db, 'free')]
  const reserve = reserver(db)
  let waiting: Promise<string> | undefined
  await db.transaction(async tx => {
    await tx.query({ name: 'test_close', text: 'UPDATE tasks SET rev = rev + 1 WHERE id = $1' }, [busy.id])
    waiting = reserve(reservation(busy))
    expect(await reserve(reservation(free))).toBe('reserved')
  })
  expect(await waiting).toBe('stale')
  expect(await rows(busy)).toEqual([])
})

/** Of any attestation, and of one that may be used once: they are written in different ways. */
const ways = ['any', 'once'] as const
const useOf = (way: (typeof ways)[number]): Reservation['use'] =>
  way === 'any'
    ? null
    : { key: newId().replaceAll('-', '').repeat(2), requestId: newId(), acceptableUntil: later(300) }

it.each(ways)('below a task that is not as it was decided on nothing is reserved (reuse: %s)', async way => {
  const reserve = reserver(db)
  const wrong: [string, string][] = [
    ['closed', `state = 'closed', close_reason = 'failed', closed_at = now()`],
    ['suspended', `state = 'suspended'`],
    ['another rev', 'rev = rev + 1'],
    ['past its deadline', `deadline = '2026-01-01T00:00:00Z'`],
    ['silent', `silent_at = '2026-01-01T00:00:00Z'`],
  ]
  for (const [name, change] of wrong) {
    const root = await openTask(db, `${way} root, ${name}`)
    const middle = await openTask(db, `${way} middle, ${name}`, root)
    const task = await openTask(db, `${way} leaf, ${name}`, middle)
    expect(await reserve(reservation(task, { use: useOf(way) }))).toBe('reserved')
    for (const above of [root, middle]) {
      await db.query({ name: `test ${name}`, text: `UPDATE tasks SET ${change} WHERE id = $1` }, [above.id])
      expect([name, await reserve(reservation(task, { use: useOf(way) }))]).toEqual([name, 'stale'])
    }
    expect(await rows(task)).toHaveLength(1)
  }
})

it.each(ways)(
  'while the root of a tree is held for a change, nothing below it is reserved (reuse: %s)',
  async way => {
    const root = await openTask(db, `${way} held root`)
    const task = await openTask(db, `${way} held leaf`, await openTask(db, `${way} held middle`, root))
    const free = await openTask(db, `${way} free`)
    const reserve = reserver(db)
    const hold = { name: 'test_hold', text: 'SELECT 1 FROM tasks WHERE id = $1 FOR UPDATE' }
    const close = { name: 'test_close_one', text: `UPDATE tasks SET rev = rev + 1 WHERE id = $1` }
    for (const changed of [false, true]) {
      let settled = false
      const answer = await db.transaction(async tx => {
        await tx.query(hold, [root.id])
        const waiting = reserve(reservation(task, { use: useOf(way) })).finally(() => {
          settled = true
        })
        for (let n = 0; n < 5; n++)
          expect(await reserve(reservation(free, { use: useOf(way) }))).toBe('reserved')
        expect(settled).toBe(false)
        expect(await rows(task)).toHaveLength(0)
        if (changed) await tx.query(close, [task.id])
        return { waiting }
      })
      expect(await answer.waiting).toBe(changed ? 'stale' : 'reserved')
      if (!changed)
        await db.query({ name: 'test_forget', text: 'DELETE FROM credentials WHERE task_id = $1' }, [task.id])
    }
    expect(await rows(task)).toEqual([])
  },
)
