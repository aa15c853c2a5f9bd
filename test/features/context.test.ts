import { decodeJwt } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Task } from '../../src/http/openapi.generated.d.ts'
import type { Reply } from '../support/client.ts'
import { type Problem, startWorld, type World } from './world.ts'

let world: World
beforeAll(async () => {
  world = await startWorld()
})
afterAll(() => world?.close())

const patch = (
  id: string,
  json: object,
  ifMatch?: string,
  on = world.broker,
): Promise<Reply<Task & Problem>> =>
  on.client.request('PATCH', `/v1/tasks/${id}/context`, {
    token: world.as('/svc/tickets'),
    json,
    ...(ifMatch !== undefined && { headers: { 'If-Match': ifMatch } }),
  })

const context = { environment: 'staging', ticket: 'OPS-1' }
let refs = 0
const open = (more: object = {}) =>
  world.open('/agent/a', { ref: `r${++refs}`, context, bind: ['environment', 'window'], ...more })

describe('a change of a bound key', () => {
  test('kills every credential of before; the task is open, and mints again in the new context', async () => {
    const task = await open()
    const before = [
      await world.mint('/agent/a', task),
      await world.mint('/agent/a', task, { scope: 'logs:read' }),
    ]
    const { status, body } = await patch(task.id, { environment: 'production' })
    expect([status, body]).toEqual([
      200,
      { ...task, context: { ...context, environment: 'production' }, ver: 2 },
    ])
    expect(await Promise.all(before.map(token => world.live(token)))).toEqual([false, false])
    const after = await world.mint('/agent/a', task)
    expect(decodeJwt(after).task_ver).toBe(2)
    expect(await world.introspect(after)).toMatchObject({ active: true, task_ver: 2 })
    const lives = (await world.credentials(world.as('/agent/a'), task)).map(({ task_ver, live }) => [
      task_ver,
      live,
    ])
    expect(lives).toEqual([
      [2, true],
      [1, false],
      [1, false],
    ])
  })

  test('counts a key that appears, and one that goes: null takes it away', async () => {
    const task = await open()
    const first = await world.mint('/agent/a', task)
    expect((await patch(task.id, { window: '22:00' })).body.ver).toBe(2)
    expect(await world.live(first)).toBe(false)
    const second = await world.mint('/agent/a', task)
    const gone = (await patch(task.id, { window: null })).body
    expect(gone).toMatchObject({ ver: 3, context })
    expect(gone.context).not.toHaveProperty('window')
    expect(await world.live(second)).toBe(false)
    const third = await world.mint('/agent/a', task)
    expect((await patch(task.id, { window: null, environment: 'staging' })).body.ver).toBe(3)
    expect(await world.live(third)).toBe(true)
  })

  test('and back again does not bring the dead to life', async () => {
    const task = await open()
    const token = await world.mint('/agent/a', task)
    await patch(task.id, { environment: 'production' })
    expect((await patch(task.id, { environment: 'staging' })).body.ver).toBe(3)
    expect(await world.live(token)).toBe(false)
  })

  test('an empty string is a value, and not an absent one', async () => {
    const task = await open()
    expect((await patch(task.id, { window: '' })).body).toMatchObject({
      ver: 2,
      context: { ...context, window: '' },
    })
  })
})

test('a change of an unbound key kills nothing', async () => {
  const task = await open()
  const token = await world.mint('/agent/a', task)
  const { body } = await patch(task.id, { ticket: 'OPS-2', note: 'new' })
  expect(body).toMatchObject({ ver: 1, context: { environment: 'staging', ticket: 'OPS-2', note: 'new' } })
  expect(await world.live(token)).toBe(true)
})

test('task_ver mints only in the context that the caller knows', async () => {
  const task = await open()
  await patch(task.id, { environment: 'production' })
  const mint = (task_ver: string) => world.exchange(world.as('/agent/a'), { task_id: task.id, task_ver })
  expect((await mint('1')).body).toMatchObject({ error: 'invalid_grant', code: 'task_changed' })
  expect((await mint('2')).status).toBe(200)
})

describe('If-Match', () => {
  test('lets a change through that knows the task as it is, and refuses any other with 412, unchanged', async () => {
    const task = await open()
    const read = () =>
      world.broker.client.request<Task>('GET', `/v1/tasks/${task.id}`, { token: world.as('/agent/a') })
    const tag = (await read()).headers.get('ETag')!
    for (const [header, status] of [
      ['"0"', 412],
      [`W/${tag}`, 412],
      ['"a", "b"', 412],
      ['nonsense', 400],
      ['""x', 400],
    ] as const) {
      const { status: answered, body } = await patch(task.id, { environment: 'production' }, header)
      expect([header, answered, body.code]).toEqual([
        header,
        status,
        status === 412 ? 'precondition_failed' : 'malformed',
      ])
    }
    expect((await read()).body).toEqual(task)

    const changed = await patch(task.id, { environment: 'production' }, tag)
    expect(changed.status).toBe(200)
    expect(changed.headers.get('ETag')).not.toBe(tag)
    expect((await patch(task.id, { environment: 'test' }, tag)).status).toBe(412)
    expect(
      (await patch(task.id, { environment: 'test' }, `"x", ${changed.headers.get('ETag')}`)).status,
    ).toBe(200)
    expect((await patch(task.id, { environment: 'staging' }, '*')).status).toBe(200)
  })

  test('of two who know the same task, one changes it', async () => {
    const task = await open()
    const tag = (await patch(task.id, {})).headers.get('ETag')!
    const racing = Array.from({ length: 8 }, (_, n) => patch(task.id, { environment: `e${n}` }, tag))
    const statuses = (await Promise.all(racing)).map(({ status }) => status)
    expect(statuses.sort()).toEqual([200, ...Array(7).fill(412)])
  })
})

test('what is no patch, or not of an open task, changes nothing', async () => {
  const task = await open()
  for (const json of [{ a: 1 }, { a: { b: 'c' } }, [], { '': 'x' }, { a: 'x'.repeat(2049) }])
    expect([json, (await patch(task.id, json)).status]).toEqual([json, 422])
  const many = Object.fromEntries(Array.from({ length: 63 }, (_, n) => [`k${n}`, 'v']))
  expect((await patch(task.id, many)).body.code).toBe('invalid')
  const plain = await world.broker.client.request('PATCH', `/v1/tasks/${task.id}/context`, {
    token: world.as('/agent/a'),
    json: { a: 'b' },
    headers: { 'Content-Type': 'application/json' },
  })
  expect(plain.status).toBe(415)
  await world.act(world.as('/agent/a'), 'POST', `/v1/tasks/${task.id}/suspend`, {})
  expect((await patch(task.id, { environment: 'test' })).body).toMatchObject({ state: 'suspended', ver: 2 })
  await world.act(world.as('/agent/a'), 'POST', `/v1/tasks/${task.id}/close`, {})
  expect((await patch(task.id, { environment: 'production' })).body.code).toBe('wrong_state')
})

describe('drift: only who attests the context of the record mints', () => {
  const job = (run_id: string, more: object = {}) => world.exchange(world.job({ run_id, ...more }))

  test('after the commit changed, the old job gets nothing, and the one that attests the new commit does', async () => {
    const { task_id, access_token } = (await job('20')).body
    expect((await patch(task_id, { sha: 'new' })).body.ver).toBe(2)
    expect(await world.live(access_token)).toBe(false)
    expect((await job('20')).body).toMatchObject({ error: 'invalid_request', code: 'context_drift' })
    const agreed = await job('20', { sha: 'new' })
    expect(decodeJwt(agreed.body.access_token)).toMatchObject({ task_id, task_ver: 2 })
  })

  test.each([
    ['another value', '21', {}, { environment: 'staging' }],
    ['a claim that the record has and the attestation lacks', '22', {}, { environment: undefined }],
    ['a claim that the attestation has and the record lacks', '23', { environment: undefined }, {}],
    ['an empty claim for an absent one', '24', { environment: undefined }, { environment: '' }],
    ['a claim that is no text any more', '25', {}, { environment: { name: 'production' } }],
  ])('%s is drift, refused and recorded', async (_, run, first, second) => {
    const { task_id } = (await job(run, first)).body
    const refused = (await job(run, second)).body
    expect(refused.code).toBe('context_drift')
    const [logged] = await world.decisions(`?task=${task_id}&decision=deny`)
    expect(logged).toMatchObject({
      action: 'mint',
      code: 'context_drift',
      reason: expect.stringContaining('environment'),
    })
    expect((await job(run, first)).status).toBe(200)
  })

  test('a bound key that no attestation carries is no drift: it is for policy to judge', async () => {
    const token = world.job({ run_id: '26' })
    const opened = await world.act(token, 'POST', '/v1/tasks', {
      context: { ticket: 'OPS-1' },
      bind: ['ticket'],
    })
    expect(opened.body.bind).toEqual(['repository', 'sha', 'workflow_ref', 'environment', 'ticket'])
    const { access_token } = (await job('26')).body
    await patch(opened.body.id, { ticket: 'OPS-2' })
    expect(await world.live(access_token)).toBe(false)
    expect((await job('26')).status).toBe(200)
  })

  test('a job cannot open its task under another context than it attests', async () => {
    for (const context of [{ sha: 'other' }, { environment: 'staging' }]) {
      const { status, body } = await world.act(world.job({ run_id: '27' }), 'POST', '/v1/tasks', { context })
      expect([status, body.code]).toEqual([422, 'invalid'])
    }
    const without = world.job({ run_id: '27', environment: undefined })
    expect(
      (await world.act(without, 'POST', '/v1/tasks', { context: { environment: 'production' } })).status,
    ).toBe(422)
  })
})
