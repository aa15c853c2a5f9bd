import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Block, BlockList, BulkRevocationResult, Task } from '../../src/http/openapi.generated.d.ts'
import type { TestBroker } from '../support/broker.ts'
import { type Staff, staffPolicies, startStaff } from '../support/staff.ts'
import { startWorld, type World } from './world.ts'

interface Problem {
  code?: string
  decision_id?: string
}

const minute = 60_000
let world: World
let staff: Staff
let one: TestBroker
let two: TestBroker

beforeAll(async () => {
  staff = await startStaff()
  world = await startWorld({ trust: [staff.source], policies: staffPolicies })
  one = world.broker
  two = await one.replica()
})
afterAll(async () => {
  await two?.close()
  await world?.close()
  await staff?.close()
})

const a = 'spiffe://prod.example/agent/a'
const person = (sub: string, group: 'sre' | 'dev' = 'sre') => staff.signIn(sub, group, one.clock.now())
const call = async <Body>(method: string, path: string, json?: object, token?: string, on = one) =>
  on.client.request<Body & Problem>(method, path, {
    token: token ?? (await one.operatorToken()),
    ...(json && { json }),
  })
const block = async (json: object, token?: string, on = one): Promise<Block> => {
  const { status, body, text } = await call<BulkRevocationResult>('POST', '/v1/revocations', json, token, on)
  if (status !== 200 || !body.block) throw new Error(`not blocked: ${text}`)
  return body.block
}
const list = async (query = '', token?: string, on = one) =>
  (await call<BlockList>('GET', `/v1/blocks${query}`, undefined, token, on)).body
const lift = (id: string, token?: string, on = one) =>
  call<undefined>('DELETE', `/v1/blocks/${id}`, undefined, token, on)
const opens = (path: string, on = one) =>
  on.client.request<Task & Problem>('POST', '/v1/tasks', {
    token: world.as(path),
    json: { kind: 'agent-run', ref: crypto.randomUUID() },
  })
const opensFor = (principal: string, token: string, on = one) =>
  call<Task>('POST', '/v1/tasks', { kind: 'agent-run', ref: crypto.randomUUID(), principal }, token, on)
/** What each replica says to one who opens a task. */
const opening = (path: string) =>
  Promise.all([one, two].map(async on => (await opens(path, on)).body.code ?? 'opened'))
const noticed = () => Promise.all([one, two].map(on => on.sweep()))

beforeEach(async () => {
  for (const { id } of (await list('?limit=200')).items) await lift(id)
  await noticed()
})

describe('while a block stands', () => {
  test('nothing is opened for its principal on any replica: by itself, by an operator, or below another’s', async () => {
    const parent = (await opens('/agent/b')).body
    await block({ principal: a })
    for (const on of [one, two]) {
      const refused = await opens('/agent/a', on)
      expect([refused.status, refused.body.code]).toEqual([403, 'blocked'])
      const byOperator = await opensFor(a, person('ada'), on)
      expect([byOperator.status, byOperator.body.code]).toEqual([403, 'blocked'])
    }
    expect(await opening('/agent/b')).toEqual(['opened', 'opened'])
    const child = (principal: string) =>
      call<Task>(
        'POST',
        '/v1/tasks',
        { kind: 'agent-run', ref: crypto.randomUUID(), parent_id: parent.id, principal },
        person('ada'),
      )
    expect((await child(a)).body.code).toBe('blocked')
    expect((await child(parent.principal)).status).toBe(201)
  })

  test('each refusal is logged, with the block, and the caller is told no more than that', async () => {
    const { id } = await block({ principal: a, reason: 'a secret reason' })
    const { body, text } = await opens('/agent/a')
    expect(text).not.toContain('secret')
    const [logged] = await world.decisions('?decision=deny&limit=1')
    expect(logged).toMatchObject({
      id: body.decision_id,
      action: 'open',
      code: 'blocked',
      principal: a,
      reason: `by block ${id}`,
    })
  })

  test('nothing is minted, by either door, whatever task is named', async () => {
    const task = (await opens('/agent/a')).body
    await block({ trust: 'prod-example' })
    // The replica that blocks knows it at once; another finds out when it looks closely.
    for (const [on, named] of [
      [one, [crypto.randomUUID(), task.id]],
      [two, [task.id, crypto.randomUUID()]],
    ] as const) {
      for (const task_id of named) {
        const exchanged = await world.exchange(world.as('/agent/a'), { task_id }, on)
        expect([exchanged.status, exchanged.body.error, exchanged.body.code]).toEqual([
          400,
          'invalid_grant',
          'blocked',
        ])
      }
      const rest = await on.client.request<Problem>('POST', `/v1/tasks/${task.id}/credentials`, {
        token: world.as('/agent/a'),
        json: { type: 'jwt', scope: 'deploy:prod', audience: 'https://deploy.example' },
      })
      expect([rest.status, rest.body.code]).toEqual([403, 'blocked'])
    }
  })

  test('whoever is blocked may go on to read, and a service to introspect', async () => {
    const task = (await opens('/agent/a')).body
    const token = await world.mint('/agent/a', task)
    await block({ everything: true })
    const read = await world.act(world.as('/agent/a'), 'GET', `/v1/tasks/${task.id}`)
    expect(read.body).toMatchObject({ state: 'closed', close_reason: 'revoked' })
    expect(await world.introspect(token, two)).toEqual({ active: false })
  })

  test('everything keeps no operator from administering', async () => {
    const { id } = await block({ everything: true }, person('ada'))
    expect((await list('', person('bob'), two)).items.map(block => block.id)).toEqual([id])
    expect(await opening('/agent/a')).toEqual(['blocked', 'blocked'])
    expect((await opensFor(a, person('ada'))).body.code).toBe('blocked')
    expect((await lift(id, person('bob'), two)).status).toBe(204)
    expect((await opens('/agent/a', two)).status).toBe(201)
  })
})

describe('a blocked operator', () => {
  test.each<[string, object]>([
    ['by name', { principal: 'staff:mallory' }],
    ['by source', { trust: 'staff' }],
  ])('%s is refused at every door and on every replica, and cannot lift it', async (_, json) => {
    expect((await list('', person('mallory'), two)).items).toEqual([])
    const { id } = await block(json, person('mallory'))
    for (const on of [two, one]) {
      const token = person('mallory')
      for (const [method, path, sent] of [
        ['DELETE', `/v1/blocks/${id}`, undefined],
        ['GET', '/v1/blocks', undefined],
        ['GET', '/v1/tasks', undefined],
        ['POST', '/v1/revocations', { everything: true }],
      ] as const) {
        const { status, body } = await call(method, path, sent, token, on)
        expect([status, body.code]).toEqual([403, 'blocked'])
        const [logged] = await world.decisions('?decision=deny&limit=1')
        expect(logged).toMatchObject({
          id: body.decision_id,
          action: 'attest',
          code: 'blocked',
          reason: `by block ${id}`,
          principal: 'staff:mallory',
        })
      }
      const introspected = await on.client.request<Problem>('POST', '/oauth2/introspect', {
        token,
        form: { token: 'x' },
      })
      expect([introspected.status, introspected.body]).toMatchObject([
        403,
        { error: 'unauthorized_client', code: 'blocked' },
      ])
    }
    const others = 'trust' in json ? 403 : 200
    expect((await call('GET', '/v1/blocks', undefined, person('ada'), two)).status).toBe(others)
    // The bootstrap operator is always let in.
    expect((await lift(id)).status).toBe(204)
    expect((await call('GET', '/v1/blocks', undefined, person('mallory'), two)).status).toBe(200)
  })
})

test('the bootstrap operator is let in whatever the blocks say', async () => {
  const [row] = await one.sql<{ id: string }>(
    `INSERT INTO blocks (id, principal, everything, created_at, created_by)
      VALUES (uuidv7(), 'hallpass:bootstrap', false, now(), 'x') RETURNING id`,
  )
  for (const on of [one, two]) {
    expect((await list('', undefined, on)).items).toHaveLength(1)
    expect((await call('GET', '/v1/keys', undefined, undefined, on)).status).toBe(200)
  }
  expect((await lift(row!.id, undefined, two)).status).toBe(204)
})

describe('a block ends', () => {
  test('when its time has come, for opening and for minting, and revives nothing', async () => {
    const task = (await opens('/agent/a')).body
    const token = await world.mint('/agent/a', task)
    const until = new Date(one.clock.now() + 10 * minute).toISOString()
    const made = await block({ principal: a, until })
    expect(made.until).toBe(until)
    one.clock.advance(9 * minute)
    expect(await opening('/agent/a')).toEqual(['blocked', 'blocked'])
    expect((await list()).items).toEqual([made])
    one.clock.advance(minute + 1000)
    expect((await list()).items).toEqual([])
    expect(await opening('/agent/a')).toEqual(['opened', 'opened'])
    expect((await world.exchange(world.as('/agent/a'), { task_id: task.id })).body.code).toBe('task_closed')
    expect(await world.live(token)).toBe(false)
    await expect(world.mint('/agent/a', (await opens('/agent/a', two)).body)).resolves.toBeTypeOf('string')
    // What has passed cannot be lifted, and is kept no longer than clocks may differ.
    expect((await lift(made.id)).status).toBe(404)
    const rows = () => one.sql('SELECT id FROM blocks WHERE id = $1', [made.id])
    await one.sweep()
    expect(await rows()).toHaveLength(1)
    one.clock.advance(61 * minute)
    await one.sweep()
    expect(await rows()).toEqual([])
  })

  test('when it is lifted, and revives nothing: a job whose task was ended gets nothing more', async () => {
    const first = await world.exchange(world.job({ run_id: 'lifted' }))
    const { id } = await block({ trust: 'ci' })
    expect((await world.exchange(world.job({ run_id: 'new' }), {}, two)).body.code).toBe('blocked')
    const lifted = await lift(id)
    expect([lifted.status, lifted.text]).toEqual([204, ''])
    for (const on of [one, two])
      expect((await world.exchange(world.job({ run_id: 'lifted' }), {}, on)).body.code).toBe('task_closed')
    expect(await world.live(first.body.access_token)).toBe(false)
    expect((await world.exchange(world.job({ run_id: 'new' }), {}, two)).status).toBe(200)
    const [logged] = (await world.decisions('?action=administer&limit=1')) ?? []
    expect(logged).toMatchObject({ decision: 'allow', asked: { blocks: 'lift', block: id } })
  })

  test('for its own part only: another may stand', async () => {
    const [first, second] = [await block({ principal: a }), await block({ trust: 'prod-example' })]
    await lift(first.id)
    expect(await opening('/agent/a')).toEqual(['blocked', 'blocked'])
    await lift(second.id)
    expect(await opening('/agent/a')).toEqual(['opened', 'opened'])
  })

  test('once: to lift it again is 404, as for one that never was', async () => {
    const { id } = await block({ principal: a })
    const [before] = await one.sql('SELECT generation FROM block_gate')
    expect((await lift(id)).status).toBe(204)
    const [after] = await one.sql('SELECT generation FROM block_gate')
    expect(after).not.toEqual(before)
    for (const none of [id, crypto.randomUUID(), 'x', id.toUpperCase()]) {
      const { status, body } = (await lift(none)) as { status: number; body: Problem | undefined }
      expect([status, body?.code]).toEqual([404, 'not_found'])
    }
    expect(await one.sql('SELECT generation FROM block_gate')).toEqual([after])
    const denied = await world.decisions('?decision=deny&limit=1')
    expect(denied[0]).toMatchObject({ code: 'not_found' })
  })
})

describe('the list', () => {
  test('is of all that stand, newest first, a page at a time', async () => {
    const made: Block[] = []
    for (const json of [
      { principal: a, reason: 'first' },
      { trust: 'ci' },
      { everything: true, until: new Date(one.clock.now() + minute).toISOString() },
      { principal: 'formerly:repo:x' },
      { trust: 'staff' },
    ])
      made.unshift(await block(json))
    expect(await list()).toEqual({ items: made, next: null })
    const first = await list('?limit=2')
    expect(first.items).toEqual(made.slice(0, 2))
    const second = await list(`?limit=2&cursor=${first.next}`, undefined, two)
    expect(second.items).toEqual(made.slice(2, 4))
    expect(await list(`?limit=2&cursor=${second.next}`)).toEqual({ items: made.slice(4), next: null })
    const [logged] = await world.decisions('?action=administer&limit=1')
    expect(logged).toMatchObject({ decision: 'allow', asked: { blocks: 'list' } })
  })

  test('has no cursor of another search, and no limit beyond what lists have', async () => {
    const decisions = await call<{ next: string }>('GET', '/v1/decisions?limit=1')
    for (const query of [
      `?cursor=${decisions.body.next}`,
      '?cursor=x',
      '?limit=0',
      '?limit=201',
      '?state=open',
    ]) {
      const { status, body } = await call('GET', `/v1/blocks${query}`)
      expect([status, body.code]).toEqual([400, 'malformed'])
    }
  })

  test('and lifting are for whoever administers the broker, and each refusal is logged', async () => {
    const task = (await opens('/agent/b')).body
    const own = await world.mint('/agent/b', task, { audience: one.issuer })
    const { id } = await block({ principal: a })
    for (const token of [world.as('/agent/b'), own, person('bob', 'dev')])
      for (const [method, path] of [
        ['GET', '/v1/blocks'],
        ['DELETE', `/v1/blocks/${id}`],
        ['DELETE', `/v1/blocks/${crypto.randomUUID()}`],
      ] as const) {
        const { status, body } = await call(method, path, undefined, token)
        expect([status, body.code]).toEqual([403, 'refused'])
        const [logged] = await world.decisions('?decision=deny&limit=1')
        expect(logged).toMatchObject({ id: body.decision_id, action: 'administer' })
      }
    expect((await one.client.request('DELETE', `/v1/blocks/${id}`)).status).toBe(401)
    expect((await list()).items.map(block => block.id)).toEqual([id])
  })
})

test('a broker that starts while a block stands knows it from the first request', async () => {
  await block({ principal: a })
  const started = await one.replica()
  try {
    expect((await opens('/agent/a', started)).body.code).toBe('blocked')
    expect((await opens('/agent/b', started)).status).toBe(201)
  } finally {
    await started.close()
  }
})
