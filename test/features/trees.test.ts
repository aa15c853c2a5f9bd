import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Task } from '../../src/http/openapi.generated.d.ts'
import { ciSource, testIssuer } from '../support/broker.ts'
import { startIssuer, type TestIssuer } from '../support/issuer.ts'
import {
  act,
  claimsOf,
  mint,
  minted,
  opened,
  type Scene,
  startScene,
  subjectClaims,
  type TaskBody,
} from '../support/scene.ts'
import { startWorld, type World } from './world.ts'

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
const open = (json: Record<string, unknown>, attestation = owner(), broker = scene.broker) =>
  broker.client.request<TaskBody>('POST', '/v1/tasks', {
    token: attestation,
    json: { kind: 'agent-run', ref: randomUUID(), ...json },
  })
const get = (path: string, token = owner()) => scene.broker.client.request<TaskBody>('GET', path, { token })
const list = async (query: string, token = owner()) =>
  (
    await scene.broker.client.request<{ items: TaskBody[]; next: string | null }>(
      'GET',
      `/v1/tasks?${query}`,
      {
        token,
      },
    )
  ).body

describe('a child', () => {
  test('names its parent, and its tokens name the whole path above them, root first', async () => {
    const a = await root()
    const b = await child(a)
    const c = await child(b)
    expect([a, b, c].map(task => task.parent_id)).toEqual([null, a.id, b.id])
    expect((await get(`/v1/tasks/${c.id}`)).body).toEqual(c)

    const tokens = []
    for (const task of [a, b, c])
      tokens.push((await minted(scene.broker, owner(), { task_id: task.id })).access_token)
    const paths = [undefined, [`${a.id}:1`], [`${a.id}:1`, `${b.id}:1`]]
    expect(tokens.map(token => claimsOf(token).task_path)).toEqual(paths)
    expect(tokens.map(token => claimsOf(token).task_id)).toEqual([a.id, b.id, c.id])
    for (const [n, token] of tokens.entries()) {
      const { body } = await scene.replicas[1]!.client.request('POST', '/oauth2/introspect', {
        token: scene.agent('service'),
        form: { token },
      })
      expect(body).toMatchObject({ active: true, task_ver: 1 })
      expect(body.task_path).toEqual(paths[n])
    }
  })

  test('is found by its parent, among what the caller may read', async () => {
    const a = await root()
    const children = [await child(a), await child(a), await child(a)]
    const grandchild = await child(children[0]!)
    const ids = (items: TaskBody[]) => items.map(({ id }) => id)
    const newestFirst = ids(children).toReversed()
    expect(ids((await list(`parent=${a.id}`)).items)).toEqual(newestFirst)
    expect(ids((await list(`parent=${children[0]!.id}`)).items)).toEqual([grandchild.id])
    expect((await list(`parent=${grandchild.id}`)).items).toEqual([])
    await act(scene.broker, owner(), children[1]!.id, 'close')
    expect(ids((await list(`parent=${a.id}&state=closed`)).items)).toEqual([children[1]!.id])

    const first = await list(`parent=${a.id}&limit=2`)
    const rest = await list(`parent=${a.id}&limit=2&cursor=${first.next}`)
    expect([...ids(first.items), ...ids(rest.items)]).toEqual(newestFirst)
    // A cursor is of one search: not of another parent's.
    const other = await scene.broker.client.request(
      'GET',
      `/v1/tasks?parent=${grandchild.id}&cursor=${first.next}`,
      {
        token: owner(),
      },
    )
    expect(other.status).toBeGreaterThanOrEqual(400)
    for (const wrong of ['x', '', a.id.toUpperCase()]) {
      const { status } = await scene.broker.client.request('GET', `/v1/tasks?parent=${wrong}`, {
        token: owner(),
      })
      expect(status).toBe(400)
    }
  })

  test('has the name that every task has: opened again it is the same, and never another parent’s', async () => {
    const [a, b] = [await root(), await root()]
    const ref = randomUUID()
    const first = await child(a, { ref })
    const again = await open({ ref, parent_id: a.id })
    expect([again.status, again.body]).toEqual([200, first])
    const moved = await open({ ref, parent_id: b.id })
    expect([moved.status, moved.body.code]).toEqual([409, 'wrong_state'])
    // A name that is a root's is not a child's either.
    const top = await root({ ref: randomUUID() })
    const [taken] = await list(`parent=${a.id}`).then(({ items }) => items)
    expect(taken?.id).toBe(first.id)
    const { ref: topRef } = (await get(`/v1/tasks/${top.id}`)).body as TaskBody & { ref: string }
    expect((await open({ ref: topRef, parent_id: a.id })).body.code).toBe('wrong_state')
    await act(scene.broker, owner(), first.id, 'close')
    expect((await open({ ref, parent_id: b.id })).status).toBe(201)
  })

  test('is opened below nothing that is no ID; null is no parent', async () => {
    for (const parent_id of ['x', '', 1, {}, ['a']]) expect((await open({ parent_id })).status).toBe(422)
    expect((await open({ parent_id: null })).body.parent_id).toBeNull()
  })

  test('of two who open it at once under one name is one, whichever parent', async () => {
    const [a, b] = [await root(), await root()]
    const ref = randomUUID()
    const answers = await Promise.all(
      Array.from({ length: 12 }, (_, n) =>
        open({ ref, parent_id: (n % 3 ? a : b).id }, owner(), scene.replicas[n % 2]!),
      ),
    )
    expect(answers.filter(({ status }) => status === 201)).toHaveLength(1)
    const { body } = answers.find(({ status }) => status === 201)!
    for (const [n, answer] of answers.entries()) {
      if (answer.status === 201) continue
      const same = (n % 3 ? a : b).id === body.parent_id
      expect([answer.status, same ? answer.body.id : answer.body.code]).toEqual(
        same ? [200, body.id] : [409, 'wrong_state'],
      )
    }
    expect(await scene.broker.sql('SELECT 1 FROM tasks WHERE ref = $1', [ref])).toHaveLength(1)
  })
})

describe('a parent', () => {
  test('that is not there, or that the caller may not read, is 404', async () => {
    const unknown = await open({ parent_id: '019f1c52-6b1e-7c3a-9d2f-0b8f5a4c1e77' })
    expect([unknown.status, unknown.body.code]).toEqual([404, 'not_found'])

    const strict = await startScene({
      policies: '@id("open") permit (principal, action == Action::"open", resource);',
    })
    const theirs = await opened(strict.broker, strict.agent('other'))
    const hidden = await open({ parent_id: theirs.id }, strict.agent('owner'), strict.broker)
    expect([hidden.status, hidden.body.code]).toEqual([404, 'not_found'])
    expect(await strict.broker.sql('SELECT 1 FROM tasks')).toHaveLength(1)
    // Its owner may, without a policy of the folder's.
    const own = await open({ parent_id: theirs.id }, strict.agent('other'), strict.broker)
    expect([own.status, own.body.parent_id]).toEqual([201, theirs.id])
    await strict.close()
  })

  test('that the caller may read, but not open below, is 403 with the decision', async () => {
    const strict = await startScene({
      policies: `@id("open") permit (principal, action in [Action::"open", Action::"read"], resource);
        @id("builtin-owner-open-child") permit (principal is Workload, action == Action::"open_child", resource)
        when { resource.owner == principal && context.task.kind == "step" && context.task.depth == 1 };`,
    })
    const parent = await opened(strict.broker, strict.agent('owner'))
    const tries: [string, object][] = [
      [strict.agent('other'), { kind: 'step' }],
      [strict.agent('owner'), { kind: 'agent-run' }],
      // `open` is not asked, though it would be allowed.
      [strict.job(), { kind: 'ci-job', ref: undefined }],
    ]
    for (const [attestation, json] of tries) {
      const { status, body } = await open({ parent_id: parent.id, ...json }, attestation, strict.broker)
      expect([status, body.code]).toEqual([403, 'refused'])
      expect(body).toMatchObject({ decision_id: expect.any(String) })
    }
    const step = await open({ parent_id: parent.id, kind: 'step' }, strict.agent('owner'), strict.broker)
    expect(step.status).toBe(201)
    const deeper = await open({ parent_id: step.body.id, kind: 'step' }, strict.agent('owner'), strict.broker)
    expect(deeper.body.code).toBe('refused')

    const { items } = (
      await strict.broker.client.request<{
        items: { decision: string; asked: object; policies: string[] }[]
      }>('GET', '/v1/decisions?action=open_child', { token: await strict.broker.operatorToken() })
    ).body
    expect(items.map(({ decision }) => decision)).toEqual(['deny', 'allow', 'deny', 'deny', 'deny'])
    expect(items[1]).toMatchObject({
      asked: { parent_id: parent.id, kind: 'step' },
      policies: expect.arrayContaining(['builtin-owner-open-child']),
    })
    await strict.close()
  })

  test('that is closed, or past its time, or suspended, itself or through one above it, bears no child: 409', async () => {
    const refusal = async (parent: { id: string }) => {
      const { status, body } = await open({ parent_id: parent.id }, owner(), scene.replicas[1])
      return [status, body.code]
    }
    const a = await root()
    const b = await child(a)
    await act(scene.broker, owner(), a.id, 'suspend')
    expect(await refusal(a)).toEqual([409, 'task_suspended'])
    expect(await refusal(b)).toEqual([409, 'task_suspended'])
    await act(scene.broker, owner(), a.id, 'resume')
    expect((await open({ parent_id: b.id })).status).toBe(201)
    await act(scene.broker, owner(), a.id, 'close')
    expect(await refusal(a)).toEqual([409, 'task_closed'])
    expect(await refusal(b)).toEqual([409, 'task_closed'])

    const short = await root({ deadline: later(minute) })
    const silent = await root({ heartbeat_timeout: 60 })
    const below = await child(silent)
    scene.broker.clock.advance(minute)
    for (const over of [short, silent, below]) expect(await refusal(over)).toEqual([409, 'task_closed'])
  })

  test('may have tasks below it to depth_max, of which the root is 0', async () => {
    const tasks = [await root()]
    for (let depth = 1; depth <= 3; depth++) tasks.push(await child(tasks.at(-1)!))
    const { status, body } = await open({ parent_id: tasks.at(-1)!.id })
    expect([status, body.code, body.errors?.map(({ path }) => path)]).toEqual([
      422,
      'invalid',
      ['/parent_id'],
    ])

    for (const depthMax of [0, 1]) {
      const tasksConfig = { ...scene.broker.config.tasks, depthMax }
      const flat = await startScene({ config: { tasks: tasksConfig } })
      const top = await opened(flat.broker, flat.agent('owner'))
      const next = await open({ parent_id: top.id }, flat.agent('owner'), flat.broker)
      expect(next.status).toBe(depthMax === 0 ? 422 : 201)
      if (depthMax === 1) {
        const third = await open({ parent_id: next.body.id }, flat.agent('owner'), flat.broker)
        expect(third.status).toBe(422)
      }
      await flat.close()
    }
  })
})

describe('a job of a source with a template', () => {
  test('can be a child once, below what policy lets it, and mints with its path by its attestation alone', async () => {
    const parent = await root()
    const run = randomUUID()
    const job = await scene.broker.client.request<TaskBody>('POST', '/v1/tasks', {
      token: scene.job(run),
      json: { parent_id: parent.id },
    })
    expect([job.status, job.body.parent_id]).toEqual([201, parent.id])
    const { access_token } = await minted(scene.broker, scene.job(run))
    expect(claimsOf(access_token)).toMatchObject({ task_id: job.body.id, task_path: [`${parent.id}:1`] })
    await act(scene.broker, owner(), parent.id, 'close')
    expect((await mint(scene.replicas[1]!, scene.job(run))).body.code).toBe('task_closed')
    const again = await open(
      { parent_id: (await root()).id, kind: undefined, ref: undefined },
      scene.job(run),
    )
    expect([again.status, again.body.code]).toEqual([409, 'task_closed'])
  })
})

describe('for another principal', () => {
  let login: TestIssuer
  let world: World
  beforeAll(async () => {
    login = await startIssuer()
    world = await startWorld({
      trust: [
        ciSource(login.issuer, {
          name: 'staff',
          task: null,
          operators: { groupsClaim: 'groups', maxAge: 8 * hour },
        }),
      ],
      policies: `@id("agents") permit (principal is Workload, action in [Action::"open", Action::"mint", Action::"introspect"], resource);
        @id("staff-read") permit (principal is Operator, action == Action::"read", resource);
        @id("staff-delegate") permit (principal is Operator, action == Action::"open_child", resource)
        when { principal in Group::"staff/groups/leads" && context.task.owner == Workload::"spiffe://prod.example/b" && context.task in resource };`,
    })
  })
  afterAll(async () => {
    await world?.close()
    await login?.close()
  })
  const lead = (groups = ['leads']) =>
    login.sign(subjectClaims('lena', { now: world.broker.clock.now(), groups }))
  const below = (parent: Task, token: string, json: object = {}) =>
    world.act(token, 'POST', '/v1/tasks', {
      kind: 'agent-run',
      ref: randomUUID(),
      parent_id: parent.id,
      ...json,
    })

  test('an operator opens a child, where policy lets it: it is that principal’s, and dies with the parent', async () => {
    const parent = await world.open('/a', { ref: randomUUID() })
    const b = 'spiffe://prod.example/b'
    const { status, body: child } = await below(parent, lead(), { principal: b })
    expect([status, child.principal, child.subject, child.parent_id]).toEqual([201, b, b, parent.id])

    const token = await world.mint('/b', child)
    expect(claimsOf(token)).toMatchObject({ sub: b, client_id: b, task_path: [`${parent.id}:1`] })
    // Neither of the two has anything to do with the other's task.
    expect((await world.exchange(world.as('/a'), { task_id: child.id })).body.code).toBe('task_unknown')
    expect((await world.exchange(world.as('/b'), { task_id: parent.id })).body.code).toBe('task_unknown')
    expect((await world.act(world.as('/a'), 'GET', `/v1/tasks/${child.id}`)).status).toBe(404)
    expect((await world.act(world.as('/b'), 'GET', `/v1/tasks/${parent.id}`)).status).toBe(404)
    expect((await world.act(world.as('/b'), 'GET', `/v1/tasks?parent=${parent.id}`)).body).toMatchObject({
      items: [{ id: child.id }],
    })
    expect((await world.act(world.as('/a'), 'GET', `/v1/tasks?parent=${parent.id}`)).body).toMatchObject({
      items: [],
    })
    // The owner of the child may open one below it; the owner of the root may not.
    expect((await below(child, world.as('/b'))).status).toBe(201)
    expect((await below(child, world.as('/a'))).status).toBe(404)

    expect(await world.live(token)).toBe(true)
    await world.act(world.as('/a'), 'POST', `/v1/tasks/${parent.id}/close`, {})
    expect(await world.live(token)).toBe(false)
    expect((await world.act(world.as('/b'), 'GET', `/v1/tasks/${child.id}`)).body.close_reason).toBe(
      'parent_closed',
    )
  })

  test('it does so for nobody else, and nobody does who is no operator', async () => {
    const parent = await world.open('/a', { ref: randomUUID() })
    const b = 'spiffe://prod.example/b'
    const tries: [string, object, number][] = [
      [lead(), { principal: 'spiffe://prod.example/c' }, 403],
      [lead([]), { principal: b }, 403],
      [lead(), {}, 422],
      [world.as('/a'), { principal: b }, 422],
      [await world.broker.operatorToken(), { principal: b }, 403],
      [world.as('/b'), {}, 404],
    ]
    for (const [token, json, status] of tries) expect((await below(parent, token, json)).status).toBe(status)
    expect(await world.broker.sql('SELECT 1 FROM tasks WHERE parent_id = $1', [parent.id])).toEqual([])
  })

  test('a token for the broker itself is of its own task, not of the one below or above', async () => {
    const parent = await world.open('/a', { ref: randomUUID() })
    const child = (await below(parent, world.as('/a'))).body
    const own = (task: Task) => world.mint('/a', task, { audience: testIssuer })
    const tokens = [await own(parent), await own(child)] as const
    for (const [token, task, other] of [
      [tokens[0], parent, child],
      [tokens[1], child, parent],
    ] as const) {
      expect((await world.act(token, 'GET', `/v1/tasks/${task.id}`)).status).toBe(200)
      expect((await world.act(token, 'GET', `/v1/tasks/${other.id}`)).status).toBe(404)
      for (const action of ['close', 'heartbeat'])
        expect((await world.act(token, 'POST', `/v1/tasks/${other.id}/${action}`, {})).status).toBe(404)
      expect((await below(task, token)).status).toBe(403)
    }
    expect((await world.act(world.as('/a'), 'GET', `/v1/tasks/${child.id}`)).body.state).toBe('open')
    // The parent's own token may close the parent, and what is below goes with it.
    expect((await world.act(tokens[0], 'POST', `/v1/tasks/${parent.id}/close`, {})).status).toBe(200)
    for (const token of tokens)
      expect((await world.act(token, 'GET', `/v1/tasks/${child.id}`)).status).toBe(401)
  })
})
