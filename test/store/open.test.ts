import pino from 'pino'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { type Database, openDatabase } from '../../src/store/database.ts'
import { opener } from '../../src/store/open.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { later, newTask, opening, openTask } from '../support/stored-tasks.ts'

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

const exists = async (id: string) =>
  (await db.query({ name: 'test_exists', text: 'SELECT 1 FROM tasks WHERE id = $1' }, [id])).length > 0

it('below a task that is not as it was decided on no child is opened', async () => {
  const open = opener(db)
  const wrong: [string, string][] = [
    ['closed', `state = 'closed', close_reason = 'failed', closed_at = now()`],
    ['suspended', `state = 'suspended'`],
    ['another rev', 'rev = rev + 1'],
    ['past its deadline', `deadline = '2026-01-01T00:00:00Z'`],
    ['silent', `silent_at = '2026-01-01T00:00:00Z'`],
    ['gone', `id = gen_random_uuid(), root_id = root_id`],
  ]
  for (const [name, change] of wrong) {
    for (const place of [0, 1]) {
      const root = await openTask(db, `root, ${name} ${place}`)
      const middle = await openTask(db, `middle, ${name} ${place}`, root)
      const child = newTask(`child, ${name} ${place}`, middle)
      if (name === 'gone' && place === 0) continue
      await db.query({ name: `test ${name}`, text: `UPDATE tasks SET ${change} WHERE id = $1` }, [
        [root, middle][place]!.id,
      ])
      expect([name, await open(opening(child))]).toEqual([name, 'stale'])
      expect(await exists(child.id)).toBe(false)
    }
  }
  // A child that would outlive what is above it was decided on something else as well.
  const root = await openTask(db, 'short root')
  expect(await open(opening({ ...newTask('long child', root), deadline: later(3601) }))).toBe('stale')
})

it('a child waits for whoever is changing its tree; those of other trees, and tasks that stand alone, do not', async () => {
  const [busy, free] = [await openTask(db, 'busy'), await openTask(db, 'free')]
  const open = opener(db)
  const waiting: Promise<string>[] = []
  await db.transaction(async tx => {
    await tx.query({ name: 'test_close', text: 'UPDATE tasks SET rev = rev + 1 WHERE id = $1' }, [busy.id])
    for (let n = 0; n < 30; n++) {
      waiting.push(open(opening(newTask(`waits ${n}`, busy))))
      if (n % 10 > 0) continue
      expect(await open(opening(newTask(`does not wait ${n}`, free)))).toBe('opened')
      expect(await open(opening(newTask(`stands alone ${n}`)))).toBe('opened')
    }
  })
  expect(new Set(await Promise.all(waiting))).toEqual(new Set(['stale']))
  // What was held and let go as it was bears children.
  const held: Promise<string>[] = []
  const again = { ...busy, rev: 2 }
  await db.transaction(async tx => {
    await tx.query({ name: 'test_hold', text: 'SELECT 1 FROM tasks WHERE id = $1 FOR UPDATE' }, [busy.id])
    for (let n = 0; n < 5; n++) held.push(open(opening(newTask(`held ${n}`, again))))
    expect(await open(opening(newTask('meanwhile', free)))).toBe('opened')
  })
  expect(new Set(await Promise.all(held))).toEqual(new Set(['opened']))
})

it('of children with one name in different trees, at once, one is opened', async () => {
  const roots = await Promise.all([1, 2, 3].map(n => openTask(db, `name root ${n}`)))
  const answers = await Promise.all(roots.map(root => opener(db)(opening(newTask('one name', root)))))
  expect(answers.toSorted()).toEqual(['opened', 'taken', 'taken'])
})
