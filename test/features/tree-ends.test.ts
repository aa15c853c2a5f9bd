import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  act,
  claimsOf,
  isActive,
  mint,
  minted,
  opened,
  patchContext,
  type Scene,
  startScene,
  type TaskBody,
} from '../support/scene.ts'

const minute = 60_000
const hour = 60 * minute

let scene: Scene
beforeAll(async () => {
  scene = await startScene({ replicas: 2 })
})
afterAll(() => scene?.close())

const owner = () => scene.agent('owner')
const later = (ms: number) => new Date(scene.broker.clock.now() + ms).toISOString()
const root = (json: object = {}) => opened(scene.broker, owner(), { ...json })
const child = (parent: { id: string }, json: object = {}) =>
  opened(scene.broker, owner(), { parent_id: parent.id, ...json })
const read = async ({ id }: { id: string }, on = scene.replicas[1]!) =>
  (await on.client.request<TaskBody>('GET', `/v1/tasks/${id}`, { token: owner() })).body
const states = async (...tasks: TaskBody[]) =>
  Promise.all(tasks.map(async task => (await read(task)).close_reason ?? (await read(task)).state))
const doing = (task: { id: string }, action: string, json: object = {}) =>
  act(scene.broker, owner(), task.id, action, { ...json })
const tokenOf = async (task: { id: string }) =>
  (await minted(scene.broker, owner(), { task_id: task.id })).access_token
const refusal = async (task: { id: string }) =>
  (await mint(scene.replicas[1]!, owner(), { task_id: task.id })).body.code
const alive = (...tokens: string[]) =>
  Promise.all(tokens.map((token, n) => isActive(scene.replicas[n % 2]!, scene.agent('service'), token)))
const record = async (...tasks: { id: string }[]) =>
  scene.broker.sql(
    'SELECT task_id, state, ver, reason FROM revocations WHERE task_id = ANY ($1::uuid[]) ORDER BY seq',
    [tasks.map(({ id }) => id)],
  )
const pass = async (ms: number) => {
  scene.broker.clock.advance(ms)
  await scene.broker.sweep()
}

/** A root with two branches, of which the first goes on. */
async function tree() {
  const a = await root()
  const b = await child(a)
  const b2 = await child(a)
  const c = await child(b)
  return { a, b, b2, c }
}

describe('closing a task', () => {
  test('closes all below it at the same moment, with one row of the record', async () => {
    const { a, b, b2, c } = await tree()
    const tokens = await Promise.all([a, b, b2, c].map(tokenOf))
    expect(await alive(...tokens)).toEqual([true, true, true, true])
    const { body } = await doing(a, 'close', { outcome: 'failed' })
    expect(body).toMatchObject({ state: 'closed', close_reason: 'failed' })
    for (const below of [b, b2, c])
      expect(await read(below)).toEqual({
        ...below,
        state: 'closed',
        close_reason: 'parent_closed',
        closed_at: body.closed_at,
      })
    expect(await alive(...tokens)).toEqual([false, false, false, false])
    expect(await record(a, b, b2, c)).toEqual([{ task_id: a.id, state: 'closed', ver: 1, reason: 'failed' }])
    for (const task of [a, b, b2, c]) expect(await refusal(task)).toBe('task_closed')
  })

  test('leaves what is beside and above it, and what was closed before as it was closed', async () => {
    const { a, b, b2, c } = await tree()
    const tokens = await Promise.all([a, b, b2, c].map(tokenOf))
    await doing(c, 'close', { outcome: 'cancelled' })
    const ended = await read(c)
    expect(await alive(...tokens)).toEqual([true, true, true, false])
    await doing(b, 'close')
    expect(await read(c)).toEqual(ended)
    expect(await states(a, b, b2, c)).toEqual(['open', 'completed', 'open', 'cancelled'])
    expect(await alive(...tokens)).toEqual([true, false, true, false])
    expect((await record(a, b, b2, c)).map(row => row.task_id)).toEqual([c.id, b.id])
    await doing(a, 'close')
    expect(await states(a, b, b2, c)).toEqual(['completed', 'completed', 'parent_closed', 'cancelled'])
    expect((await record(a, b, b2, c)).map(row => row.task_id)).toEqual([c.id, b.id, a.id])
  })

  test('that was closed with its parent is final like any other', async () => {
    const { a, b, c } = await tree()
    await doing(a, 'close')
    const before = await read(c)
    for (const action of ['resume', 'suspend', 'heartbeat']) expect((await doing(c, action)).status).toBe(409)
    expect((await doing(c, 'extend', { deadline: later(hour) })).status).toBe(409)
    expect((await patchContext(scene.broker, owner(), c.id, { x: '1' })).status).toBe(409)
    // Repeating it is 200 and changes nothing.
    expect((await doing(c, 'close', { outcome: 'failed' })).body).toEqual(before)
    expect((await doing(b, 'close')).body.close_reason).toBe('parent_closed')
    expect(await record(b, c)).toEqual([])
  })

  test('changes the entity tag of all below, so that an If-Match of before fails', async () => {
    const { a, c } = await tree()
    const etag = async () =>
      (await scene.broker.client.request('GET', `/v1/tasks/${c.id}`, { token: owner() })).headers.get('ETag')
    const before = await etag()
    await doing(a, 'close')
    expect(await etag()).not.toBe(before)
  })
})

describe('the deadline of a child', () => {
  test('is the parent’s where the default would be later, and no later one is taken', async () => {
    const a = await root({ deadline: later(10 * minute) })
    expect((await child(a)).deadline).toBe(a.deadline)
    expect((await child(a, { deadline: a.deadline })).deadline).toBe(a.deadline)
    const sooner = later(5 * minute)
    expect((await child(a, { deadline: sooner })).deadline).toBe(sooner)
    const after = new Date(Date.parse(a.deadline) + 1).toISOString()
    const { status, body } = await scene.broker.client.request<TaskBody>('POST', '/v1/tasks', {
      token: owner(),
      json: { kind: 'agent-run', ref: 'too-late', parent_id: a.id, deadline: after },
    })
    expect([status, body.code, body.errors?.map(({ path }) => path)]).toEqual([422, 'invalid', ['/deadline']])
    const roomy = await root({ deadline: later(3 * hour) })
    const usual = await child(roomy)
    expect(Date.parse(usual.deadline) - Date.parse(usual.opened_at)).toBe(hour)
  })

  test('can be extended to the parent’s and no further, and further once the parent’s was', async () => {
    const a = await root({ deadline: later(10 * minute) })
    const b = await child(a, { deadline: later(minute) })
    const c = await child(b)
    expect((await doing(b, 'extend', { deadline: a.deadline })).body.deadline).toBe(a.deadline)
    const [extended, beyond] = [later(hour), new Date(Date.parse(a.deadline) + 1).toISOString()]
    for (const task of [b, c]) {
      const { status, body } = await doing(task, 'extend', { deadline: beyond })
      expect([status, body.errors?.map(({ path }) => path)]).toEqual([422, ['/deadline']])
    }
    expect((await doing(a, 'extend', { deadline: extended })).body.deadline).toBe(extended)
    // Nobody below has more than they had.
    expect([(await read(b)).deadline, (await read(c)).deadline]).toEqual([a.deadline, c.deadline])
    expect((await doing(c, 'extend', { deadline: extended })).status).toBe(422)
    expect((await doing(b, 'extend', { deadline: extended })).status).toBe(200)
    expect((await doing(c, 'extend', { deadline: extended })).status).toBe(200)
  })

  test('that has passed for the parent has passed for all below, and the sweeper closes them in one row', async () => {
    const a = await root({ deadline: later(10 * minute) })
    const [b, c] = [await child(a, { deadline: later(5 * minute) }), await child(a)]
    const d = await child(c)
    const tokens = await Promise.all([a, b, c, d].map(tokenOf))
    await pass(5 * minute)
    expect(await states(a, b, c, d)).toEqual(['open', 'expired', 'open', 'open'])
    scene.broker.clock.advance(5 * minute)
    expect(await alive(...tokens)).toEqual([false, false, false, false])
    for (const task of [a, c, d]) expect(await refusal(task)).toBe('task_closed')
    await scene.broker.sweep()
    expect(await states(a, b, c, d)).toEqual(['expired', 'expired', 'parent_closed', 'parent_closed'])
    expect(await record(a, b, c, d)).toEqual([
      { task_id: b.id, state: 'closed', ver: 1, reason: 'expired' },
      { task_id: a.id, state: 'closed', ver: 1, reason: 'expired' },
    ])
  })
})

describe('suspending a task', () => {
  test('stops all below it without touching them, and resuming brings them back', async () => {
    const { a, b, b2, c } = await tree()
    const tokens = await Promise.all([a, b, b2, c].map(tokenOf))
    await doing(b, 'suspend')
    expect(await alive(...tokens)).toEqual([true, false, true, false])
    expect(await states(a, b, b2, c)).toEqual(['open', 'suspended', 'open', 'open'])
    expect([await refusal(b), await refusal(c)]).toEqual(['task_suspended', 'task_suspended'])
    await doing(b, 'resume')
    expect(await alive(...tokens, await tokenOf(c))).toEqual([true, true, true, true, true])
    expect(await record(a, b, b2, c)).toEqual([
      { task_id: b.id, state: 'suspended', ver: 1, reason: 'suspended' },
      { task_id: b.id, state: 'open', ver: 1, reason: 'open' },
    ])
  })

  test('of a parent that resumes does not revive a child that was suspended itself', async () => {
    const { a, b, b2, c } = await tree()
    const tokens = await Promise.all([a, b, b2, c].map(tokenOf))
    await doing(b, 'suspend')
    await doing(a, 'suspend')
    expect(await alive(...tokens)).toEqual([false, false, false, false])
    await doing(a, 'resume')
    expect(await alive(...tokens)).toEqual([true, false, true, false])
    expect([await refusal(b), await refusal(c)]).toEqual(['task_suspended', 'task_suspended'])
    // Nor does the child that resumes below a parent that is suspended.
    await doing(a, 'suspend')
    expect((await doing(b, 'resume')).body.state).toBe('open')
    expect(await alive(...tokens)).toEqual([false, false, false, false])
    expect(await refusal(b)).toBe('task_suspended')
    await doing(a, 'resume')
    expect(await alive(...tokens)).toEqual([true, true, true, true])
  })

  test('lets it be closed with all below', async () => {
    const { a, b, c } = await tree()
    await doing(c, 'suspend')
    await doing(a, 'suspend')
    await doing(a, 'close', { outcome: 'cancelled' })
    expect(await states(a, b, c)).toEqual(['cancelled', 'parent_closed', 'parent_closed'])
  })
})

describe('a change of a parent’s context', () => {
  const bound = { context: { ticket: '1', note: 'x' }, bind: ['ticket'] }

  test('that it is bound to kills what was minted below; the child may mint again, and its token says the new version', async () => {
    const a = await root(bound)
    const b = await child(a)
    const c = await child(b)
    const beside = await root(bound)
    const old = await Promise.all([a, b, c, beside].map(tokenOf))
    expect((await patchContext(scene.broker, owner(), a.id, { ticket: '2' })).body.ver).toBe(2)
    expect(await alive(...old)).toEqual([false, false, false, true])
    expect([(await read(b)).ver, (await read(c)).ver]).toEqual([1, 1])
    const renewed = [await tokenOf(b), await tokenOf(c)]
    expect(renewed.map(token => claimsOf(token).task_path)).toEqual([
      [`${a.id}:2`],
      [`${a.id}:2`, `${b.id}:1`],
    ])
    expect(await alive(...renewed)).toEqual([true, true])
    expect(await record(a, b, c)).toEqual([
      { task_id: a.id, state: 'open', ver: 2, reason: 'context_changed' },
    ])

    // And in the middle it kills what is below and nothing above.
    const middle = await root()
    const d = await child(middle, bound)
    const e = await child(d)
    const tokens = await Promise.all([middle, d, e].map(tokenOf))
    await patchContext(scene.broker, owner(), d.id, { ticket: null })
    expect(await alive(...tokens)).toEqual([true, false, false])
    expect(claimsOf(await tokenOf(e)).task_path).toEqual([`${middle.id}:1`, `${d.id}:2`])
  })

  test('back to what it was revives nothing', async () => {
    const a = await root(bound)
    const b = await child(a)
    const old = await tokenOf(b)
    for (const ticket of ['2', '1']) await patchContext(scene.broker, owner(), a.id, { ticket })
    expect(await alive(old)).toEqual([false])
    expect(claimsOf(await tokenOf(b)).task_path).toEqual([`${a.id}:3`])
  })

  test('that it is not bound to kills nothing', async () => {
    const a = await root(bound)
    const b = await child(a)
    const token = await tokenOf(b)
    expect((await patchContext(scene.broker, owner(), a.id, { note: 'y', more: 'z' })).body.ver).toBe(1)
    expect(await alive(token, await tokenOf(b))).toEqual([true, true])
    expect(await record(a, b)).toEqual([])
  })
})

describe('silence', () => {
  test('of a parent closes it as silent, and its children with it, however loud they are', async () => {
    const a = await root({ heartbeat_timeout: 90 })
    const b = await child(a, { heartbeat_timeout: 90 })
    const token = await tokenOf(b)
    await pass(minute)
    expect((await doing(b, 'heartbeat')).status).toBe(200)
    scene.broker.clock.advance(minute)
    // Not yet swept: nothing more is minted all the same.
    expect([await refusal(a), await refusal(b)]).toEqual(['task_closed', 'task_closed'])
    await scene.broker.sweep()
    expect(await states(a, b)).toEqual(['silent', 'parent_closed'])
    expect(await alive(token)).toEqual([false])
    expect(await record(a, b)).toEqual([{ task_id: a.id, state: 'closed', ver: 1, reason: 'silent' }])
  })

  test('of a child closes it and what is below, and not the parent', async () => {
    const a = await root()
    const b = await child(a, { heartbeat_timeout: 60 })
    const c = await child(b)
    await pass(2 * minute)
    expect(await states(a, b, c)).toEqual(['open', 'silent', 'parent_closed'])
  })

  test('of a child does not count while a task above it is suspended', async () => {
    const a = await root()
    const b = await child(a)
    const c = await child(b, { heartbeat_timeout: 60 })
    const quiet = await child(b)
    await doing(a, 'suspend')
    await pass(10 * minute)
    await doing(b, 'suspend')
    await doing(a, 'resume')
    await pass(10 * minute)
    expect(await states(a, b, c, quiet)).toEqual(['open', 'suspended', 'open', 'open'])
    await doing(b, 'resume')
    expect((await read(quiet)).last_heartbeat_at).toBeNull()
    await pass(50_000)
    expect(await states(c)).toEqual(['open'])
    expect(await refusal(c)).toBeUndefined()
    await pass(15_000)
    expect(await states(b, c)).toEqual(['open', 'silent'])
  })

  test('of a child that was suspended itself does not count either, until it resumes under open parents', async () => {
    const a = await root()
    const b = await child(a, { heartbeat_timeout: 60 })
    await doing(b, 'suspend')
    await doing(a, 'suspend')
    await doing(b, 'resume')
    await pass(10 * minute)
    expect((await doing(b, 'heartbeat')).status).toBe(200)
    await pass(10 * minute)
    expect(await states(b)).toEqual(['open'])
    await doing(a, 'resume')
    await pass(50_000)
    expect(await states(b)).toEqual(['open'])
    await pass(15_000)
    expect(await states(b)).toEqual(['silent'])
  })
})

test('one sweep closes what is due in a tree that is minted for without a pause', async () => {
  const a = await root()
  let over = false
  let count = 0
  const minting = Array.from({ length: 16 }, async (_, n) => {
    while (!over) {
      const { status } = await mint(scene.replicas[n % 2]!, owner(), { task_id: a.id })
      if (status === 200) count++
    }
  })
  try {
    await expect.poll(() => count, { timeout: 10_000 }).toBeGreaterThan(50)
    for (let round = 0; round < 8; round++) {
      const b = await child(a, { heartbeat_timeout: 60 })
      await pass(minute)
      await expect.poll(() => states(a, b), { timeout: 10_000 }).toEqual(['open', 'silent'])
    }
  } finally {
    over = true
    await Promise.all(minting)
  }
})

test('of many that are due at once, in several trees, each branch has one row and each task its reason', async () => {
  const trees = []
  for (let n = 0; n < 3; n++) {
    const a = await root({ deadline: later(2 * minute) })
    const b = await child(a, { deadline: later(minute), heartbeat_timeout: 30 })
    trees.push({ a, b, c: await child(b), d: await child(a) })
  }
  const loose = await root()
  const e = await child(loose, { deadline: later(minute) })
  const f = await child(e)
  scene.broker.clock.advance(2 * minute)
  await Promise.all(scene.replicas.map(replica => replica.sweep()))
  await scene.broker.sweep()
  for (const { a, b, c, d } of trees) {
    expect(await states(a, b, c, d)).toEqual(['expired', 'parent_closed', 'parent_closed', 'parent_closed'])
    expect((await record(a, b, c, d)).map(row => row.task_id)).toEqual([a.id])
  }
  expect(await states(loose, e, f)).toEqual(['open', 'expired', 'parent_closed'])
  expect((await record(loose, e, f)).map(row => row.task_id)).toEqual([e.id])
  const logged = await scene.broker.sql(
    `SELECT task_id FROM decisions WHERE action = 'close' AND task_id = ANY ($1::uuid[])`,
    [[...trees.flatMap(({ a, b, c, d }) => [a, b, c, d]), e, f].map(({ id }) => id)],
  )
  expect(new Set(logged.map(row => row.task_id))).toEqual(new Set([...trees.map(({ a }) => a.id), e.id]))
})
