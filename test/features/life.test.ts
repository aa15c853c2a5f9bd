import { decodeJwt } from 'jose'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import type { Task } from '../../src/http/openapi.generated.d.ts'
import { startWorld, type World } from './world.ts'

const minute = 60_000
const hour = 60 * minute

let world: World
beforeAll(async () => {
  world = await startWorld()
})
afterAll(() => world?.close())

const a = '/agent/a'
const later = (ms: number) => new Date(world.broker.clock.now() + ms).toISOString()
const read = async ({ id }: Task) => (await world.act(world.as(a), 'GET', `/v1/tasks/${id}`)).body
const act = (task: Task, action: string, json: object = {}) =>
  world.act(world.as(a), 'POST', `/v1/tasks/${task.id}/${action}`, json)
let refs = 0
const open = (body: object = {}) => world.open(a, { ref: `r${++refs}`, ...body })
const pass = async (ms: number) => {
  world.broker.clock.advance(ms)
  await world.broker.sweep()
}

describe('extend', () => {
  test('moves the deadline and signs nothing again: credentials keep their expiry, new ones have more', async () => {
    const task = await open({ deadline: later(minute) })
    const token = await world.mint(a, task)
    const [before] = await world.credentials(world.as(a), task)
    expect(decodeJwt(token).exp! * 1000).toBeLessThanOrEqual(Date.parse(task.deadline))
    const deadline = later(2 * hour)
    expect((await act(task, 'extend', { deadline })).body).toEqual({ ...task, deadline })
    expect(await world.credentials(world.as(a), task)).toEqual([before])
    expect(await world.live(token)).toBe(true)
    const longer = decodeJwt(await world.mint(a, task))
    expect(longer.exp! - longer.iat!).toBe(300)
    world.broker.clock.advance(minute)
    expect(await world.live(token)).toBe(false)
  })

  test('within deadline_max of the opening, never backwards, and never from beyond the grave', async () => {
    const task = await open({ deadline: later(minute) })
    const most = Date.parse(task.opened_at) + 24 * hour
    for (const deadline of [most + 1, Date.parse(task.deadline) - 1].map(time =>
      new Date(time).toISOString(),
    )) {
      const { status, body } = await act(task, 'extend', { deadline })
      expect([status, body.code]).toEqual([422, 'invalid'])
    }
    expect((await act(task, 'extend', { deadline: 'tomorrow' })).status).toBe(422)
    expect((await act(task, 'extend', { deadline: new Date(most).toISOString() })).status).toBe(200)
    const short = await open({ deadline: later(minute) })
    world.broker.clock.advance(minute)
    expect((await act(short, 'extend', { deadline: later(minute) })).body.code).toBe('wrong_state')
  })
})

describe('the deadline', () => {
  test('ends a task and its credentials at once, and the next sweep says so', async () => {
    const task = await open({ deadline: later(hour) })
    world.broker.clock.advance(hour - minute)
    const token = await world.mint(a, task)
    world.broker.clock.advance(minute)
    expect(await world.live(token)).toBe(false)
    expect((await world.exchange(world.as(a), { task_id: task.id })).body).toMatchObject({
      code: 'task_closed',
    })
    for (const action of ['suspend', 'resume', 'heartbeat'])
      expect((await act(task, action)).body.code).toBe('wrong_state')
    expect((await read(task)).state).toBe('open')

    await world.broker.sweep()
    expect(await read(task)).toMatchObject({
      state: 'closed',
      close_reason: 'expired',
      closed_at: expect.any(String),
    })
    const [own] = await world.decisions(`?task=${task.id}&action=close`)
    expect(own).toMatchObject({ decision: 'allow', principal: null, asked: { outcome: 'expired' } })
    const rows = await world.broker.sql('SELECT state, reason FROM revocations WHERE task_id = $1', [task.id])
    expect(rows).toEqual([{ state: 'closed', reason: 'expired' }])
  })

  test('closing a task past it says what it died of', async () => {
    const task = await open({ deadline: later(minute) })
    world.broker.clock.advance(minute)
    expect((await act(task, 'close', { outcome: 'completed' })).body.close_reason).toBe('expired')
  })

  test('is the default’s where none is given, and never past deadline_max or in the past', async () => {
    const task = await open()
    expect(Date.parse(task.deadline) - Date.parse(task.opened_at)).toBe(hour)
    for (const deadline of [later(25 * hour), later(-1000)]) {
      const { status } = await world.act(world.as(a), 'POST', '/v1/tasks', {
        kind: 'x',
        ref: `r${++refs}`,
        deadline,
      })
      expect(status).toBe(422)
    }
  })

  test('suspends nothing: a suspended task expires too', async () => {
    const task = await open({ deadline: later(minute) })
    await act(task, 'suspend')
    await pass(minute)
    expect((await read(task)).close_reason).toBe('expired')
  })

  test('frees the name of an agent’s task', async () => {
    const task = await open({ ref: 'again', deadline: later(minute) })
    await pass(minute)
    const next = await open({ ref: 'again' })
    expect(next.id).not.toBe(task.id)
  })
})

describe('heartbeats', () => {
  test('keep a task; silence for longer than its timeout closes it as silent', async () => {
    const task = await open({ heartbeat_timeout: '90s' })
    expect(task).toMatchObject({ heartbeat_timeout: 90, last_heartbeat_at: null })
    const token = await world.mint(a, task)
    await pass(89_000)
    expect((await act(task, 'heartbeat')).body.last_heartbeat_at).toEqual(expect.any(String))
    await pass(89_000)
    expect(await read(task)).toMatchObject({ state: 'open' })
    await pass(1000)
    expect(await read(task)).toMatchObject({ state: 'closed', close_reason: 'silent' })
    expect(await world.live(token)).toBe(false)
  })

  test('are not expected of a suspended task, nor for the time of its suspension', async () => {
    const task = await open({ heartbeat_timeout: 60 })
    await act(task, 'suspend')
    await pass(10 * minute)
    expect((await read(task)).state).toBe('suspended')
    expect((await act(task, 'heartbeat')).status).toBe(409)
    await act(task, 'resume')
    await pass(59_000)
    expect((await read(task)).state).toBe('open')
    await pass(1000)
    expect((await read(task)).close_reason).toBe('silent')
  })

  test('are never missed where no timeout was given', async () => {
    const task = await open({ heartbeat_timeout: null })
    expect((await act(task, 'heartbeat')).status).toBe(200)
    await pass(30 * minute)
    expect((await read(task)).state).toBe('open')
  })
})

describe('the sweeper', () => {
  test('closes more than one batch in a round, each task once, however many replicas sweep', async () => {
    const task = await open({ deadline: later(minute) })
    await world.broker.sql(
      `INSERT INTO tasks SELECT (jsonb_populate_record(t, jsonb_build_object('id', id, 'root_id', id,
         'name_key', '\\x' || md5(n::text) || md5(n::text)))).*
       FROM (SELECT t, n, gen_random_uuid() AS id FROM tasks t, generate_series(1, 1200) n WHERE t.id = $1) AS copy`,
      [task.id],
    )
    const other = await world.broker.replica()
    world.broker.clock.advance(minute)
    await Promise.all([world.broker.sweep(), other.sweep()])
    // Whoever did not get the lock has left it to the other.
    await other.sweep()
    const [count] = await world.broker.sql<{ closed: number; logged: number; recorded: number }>(
      `SELECT (SELECT count(*)::int FROM tasks WHERE ref = $1 AND close_reason = 'expired') AS closed,
         (SELECT count(*)::int FROM decisions JOIN tasks t ON t.id = task_id WHERE t.ref = $1 AND action = 'close') AS logged,
         (SELECT count(*)::int FROM revocations JOIN tasks t ON t.id = task_id WHERE t.ref = $1) AS recorded`,
      [task.ref],
    )
    expect(count).toEqual({ closed: 1201, logged: 1201, recorded: 1201 })
    await other.close()
  })

  test('runs by itself', async () => {
    const own = await startWorld({ sweeps: true })
    const task = await own.open(a, { deadline: new Date(Date.now() + 500).toISOString() })
    const state = async () => (await own.act(own.as(a), 'GET', `/v1/tasks/${task.id}`)).body.state
    await vi.waitFor(async () => expect(await state()).toBe('closed'), { timeout: 20_000, interval: 200 })
    await own.close()
  })
})
