import pino from 'pino'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { newId } from '../../src/ids.ts'
import { type Database, openDatabase } from '../../src/store/database.ts'
import type { DecisionRow } from '../../src/store/decision-row.ts'
import { opener } from '../../src/store/open.ts'
import type { Reservation } from '../../src/store/reservation.ts'
import { reserver } from '../../src/store/reserve.ts'
import type { Task } from '../../src/store/task-record.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'

let database: TestDatabase
let db: Database
const now = new Date('2026-01-01T00:00:00Z')
const later = (seconds: number) => new Date(now.getTime() + seconds * 1000)

beforeAll(async () => {
  database = await createTestDatabase()
  db = openDatabase({ url: database.url, log: pino({ level: 'silent' }) })
  await db.query(
    {
      name: 'test_key',
      text: `INSERT INTO signing_keys (kid, alg, published_at, active_at, ttl_max, private_key, wrapped_by)
        VALUES ('k', 'ES256', $1, $1, 900000, '', '')`,
    },
    [now],
  )
})
afterAll(async () => {
  await db?.close()
  await database?.drop()
})

const decision = (): DecisionRow => ({
  id: newId(),
  at: now,
  requestId: newId(),
  action: 'mint',
  decision: 'allow',
  code: null,
  reason: null,
  principal: 'ci:job',
  trust: 'ci',
  taskId: null,
  taskVer: null,
  jti: null,
  policyVersion: 'v',
  policies: [],
  asked: {},
  workload: null,
  context: null,
  attestation: null,
  address: null,
})

async function openTask(ref: string): Promise<Task> {
  const id = newId()
  const task: Task = {
    id,
    trust: 'ci',
    kind: 'ci-job',
    ref,
    templated: true,
    purpose: null,
    principal: 'ci:job',
    subject: 'ci:job',
    state: 'open',
    closeReason: null,
    context: {},
    bind: [],
    ver: 1,
    rev: 1,
    openedAt: now,
    deadline: later(3600),
    heartbeatTimeout: null,
    lastHeartbeatAt: null,
    closedAt: null,
    parentId: null,
    rootId: id,
    ancestors: [],
  }
  expect(await opener(db)({ task, generation: '0', runs: [], use: null, decision: decision() })).toBe(
    'opened',
  )
  return task
}

const reservation = (task: Task, more: Partial<Reservation> = {}): Reservation => ({
  task: { id: task.id, rev: task.rev, ancestors: task.ancestors },
  credential: {
    jti: newId(),
    taskId: task.id,
    taskVer: task.ver,
    type: 'jwt',
    scope: 'a',
    audience: ['b'],
    kid: 'k',
    issuedAt: now,
    expiresAt: later(300),
    pathVers: null,
    status: { list: newId(), idx: 0 },
  },
  use: null,
  decision: decision(),
  now,
  policyStands: () => true,
  ...more,
})

const rows = (task: Task) =>
  db.query({ name: 'test_rows', text: 'SELECT jti FROM credentials WHERE task_id = $1' }, [task.id])

it('a reservation is refused as stale once what it rests on is no more, and writes nothing', async () => {
  const task = await openTask('stale')
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
  const task = await openTask('policy')
  let asked = 0
  const answer = await reserver(db)(reservation(task, { policyStands: () => ++asked === 1 }))
  expect(answer).toBe('stale')
  expect(asked).toBe(2)
})

it('a reservation that cannot be written fails nobody else, and is no second time for those that were', async () => {
  const task = await openTask('poison')
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
  const [busy, free] = [await openTask('busy'), await openTask('free')]
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
