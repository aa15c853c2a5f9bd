import fc from 'fast-check'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { testIssuer } from '../support/broker.ts'
import type { Reply } from '../support/client.ts'
import {
  act,
  isActive,
  mint,
  minted,
  opened,
  patchContext,
  pick,
  type Scene,
  startScene,
} from '../support/scene.ts'

let scene: Scene
beforeAll(async () => {
  scene = await startScene({ replicas: 2 })
})
afterAll(() => scene?.close())

/** A task, of an agent, below another of the same agent's, or of a CI job, and everybody who may have to do with it. */
interface Life {
  id: string
  kind: 'agent' | 'child' | 'job'
  /** The task above it, or itself. */
  root: string
  name: string
  /** A token of the task, for the broker itself. */
  own: string
  tokens: string[]
}

type Actor = 'owner' | 'colleague' | 'operator' | 'own token'
const actors: Actor[] = ['owner', 'colleague', 'operator', 'own token']

const ownerOf = ({ kind, name }: Life) => (kind === 'job' ? scene.job(name) : scene.agent(name))

async function bearer(life: Life, actor: Actor): Promise<string> {
  if (actor === 'owner') return ownerOf(life)
  if (actor === 'colleague') return scene.agent('colleague')
  return actor === 'operator' ? scene.broker.operatorToken() : life.own
}

async function begin(kind: Life['kind']): Promise<Life> {
  const name = crypto.randomUUID()
  const life = { id: '', kind, root: '', name, own: '', tokens: [] as string[] }
  const owner = ownerOf(life)
  const above =
    kind === 'child'
      ? (await opened(scene.broker, owner, { context: { ticket: '0' }, bind: ['ticket'] })).id
      : null
  if (kind !== 'job')
    life.id = (
      await opened(scene.broker, owner, {
        ref: name,
        context: { ticket: '0' },
        bind: ['ticket'],
        heartbeat_timeout: 600,
        parent_id: above,
      })
    ).id
  const form = kind === 'job' ? {} : { task_id: life.id }
  const first = await minted(scene.broker, owner, form)
  life.id = first.task_id
  life.root = above ?? life.id
  life.own = (await minted(scene.broker, owner, { ...form, audience: testIssuer })).access_token
  life.tokens.push(first.access_token, life.own)
  return life
}

type Step = (life: Life) => Promise<Reply<unknown> | undefined>
const at = () => pick(scene.replicas)
const inAnHour = () => new Date(scene.broker.clock.now() + 3_600_000).toISOString()

/** What can be tried with a task, by whom: every door there is. */
const steps: Record<string, (actor: Actor, n: number) => Step> = {
  close: (actor, n) => async life =>
    act(at(), await bearer(life, actor), life.id, 'close', {
      outcome: ['completed', 'failed', 'cancelled', 'revoked', 'risk'][n % 5],
    }),
  closeRoot: actor => async life => act(at(), await bearer(life, actor), life.root, 'close'),
  suspendRoot: actor => async life => act(at(), await bearer(life, actor), life.root, 'suspend'),
  resumeRoot: actor => async life => act(at(), await bearer(life, actor), life.root, 'resume'),
  contextRoot: (actor, n) => async life =>
    patchContext(at(), await bearer(life, actor), life.root, { ticket: String(n) }),
  extendRoot: actor => async life =>
    act(at(), await bearer(life, actor), life.root, 'extend', { deadline: inAnHour() }),
  openBelow: actor => async life =>
    at().client.request('POST', '/v1/tasks', {
      token: await bearer(life, actor),
      json: { kind: 'agent-run', ref: crypto.randomUUID(), parent_id: life.id },
    }),
  suspend: actor => async life => act(at(), await bearer(life, actor), life.id, 'suspend'),
  resume: actor => async life => act(at(), await bearer(life, actor), life.id, 'resume'),
  heartbeat: actor => async life => act(at(), await bearer(life, actor), life.id, 'heartbeat'),
  extend: actor => async life =>
    act(at(), await bearer(life, actor), life.id, 'extend', { deadline: inAnHour() }),
  context: (actor, n) => async life =>
    patchContext(at(), await bearer(life, actor), life.id, { ticket: String(n), note: 'x' }),
  mint: () => async life => mint(at(), ownerOf(life), { task_id: life.id }),
  mintByRest: actor => async life =>
    at().client.request('POST', `/v1/tasks/${life.id}/credentials`, {
      token: await bearer(life, actor),
      json: { type: 'jwt', scope: 'a', audience: 'b' },
    }),
  mintInOneCall: () => async life => (life.kind === 'job' ? mint(at(), ownerOf(life)) : undefined),
  reopen: actor => async life =>
    at().client.request('POST', '/v1/tasks', {
      token: await bearer(life, actor),
      json: life.kind === 'job' && actor === 'owner' ? {} : { kind: 'agent-run', ref: life.name },
    }),
  sweep: () => async () => void (await at().sweep()),
  wait: (_, n) => async () => scene.broker.clock.advance((n % 20) * 60_000) as undefined,
}

const stateOf = async ({ id }: Life) => {
  const [row] = await scene.broker.sql(
    `SELECT t.*, (SELECT count(*)::int FROM credentials WHERE task_id = t.id) AS credentials FROM tasks t WHERE id = $1`,
    [id],
  )
  return row as { state: string; credentials: number }
}

async function mustBeOver(life: Life): Promise<void> {
  const again = await mint(at(), ownerOf(life), life.kind === 'job' ? {} : { task_id: life.id })
  expect(again.body.code).toBe('task_closed')
  for (const token of life.tokens) expect(await isActive(at(), scene.agent('service'), token)).toBe(false)
  expect((await at().client.request('GET', `/v1/tasks/${life.id}`, { token: life.own })).status).toBe(401)
}

const step = fc.record({
  what: fc.constantFrom(...Object.keys(steps)),
  actor: fc.constantFrom(...actors),
  n: fc.nat(100),
})

it('invariant 11: whatever is tried by whomever in whatever order, a closed task stays as it was closed', async () => {
  let closed = 0
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom('agent', 'child', 'job'),
      fc.array(step, { minLength: 5, maxLength: 25 }),
      async (kind, tried) => {
        const life = await begin(kind)
        let before = await stateOf(life)
        for (const { what, actor, n } of tried) {
          const reply = await steps[what]!(actor, n)(life)
          const now = await stateOf(life)
          if (before.state === 'closed') {
            expect(now, what).toEqual(before)
            if (reply && /^mint|^openBelow/.test(what)) expect(reply.status).toBeGreaterThanOrEqual(400)
          } else if (reply?.status === 200 && what === 'mint')
            life.tokens.push((reply.body as { access_token: string }).access_token)
          before = now
        }
        if (before.state !== 'closed') return
        closed++
        await mustBeOver(life)
      },
    ),
    { numRuns: 30 },
  )
  expect(closed).toBeGreaterThan(5)
})

it('invariant 11: all of it at once changes nothing either', async () => {
  for (const kind of ['agent', 'child', 'job'] as const) {
    const life = await begin(kind)
    await act(at(), ownerOf(life), life.root, 'close', { outcome: 'failed' })
    const before = await stateOf(life)
    const storm = Array.from({ length: 120 }, (_, n) => {
      const names = Object.keys(steps).filter(name => name !== 'wait')
      return steps[pick(names)]!(pick(actors), n)(life)
    })
    await Promise.all(storm)
    expect(await stateOf(life)).toEqual(before)
    await mustBeOver(life)
  }
})

it('invariant 11: of many who close at once one does, and all are told the same end', async () => {
  const life = await begin('agent')
  const outcomes = ['completed', 'failed', 'cancelled']
  const answers = await Promise.all(
    Array.from({ length: 30 }, async (_, n) =>
      act(at(), await bearer(life, pick(['owner', 'colleague', 'operator'])), life.id, 'close', {
        outcome: outcomes[n % 3],
      }),
    ),
  )
  expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]))
  expect(new Set(answers.map(({ body }) => body.close_reason)).size).toBe(1)
  expect((await scene.broker.sql('SELECT 1 FROM revocations WHERE task_id = $1', [life.id])).length).toBe(1)
})

it('invariant 11: a deadline that has passed is the end, swept or not', async () => {
  for (const swept of [false, true]) {
    const life = await begin('job')
    scene.broker.clock.advance(3_601_000)
    if (swept) await at().sweep()
    const owner = ownerOf(life)
    for (const action of ['resume', 'suspend', 'heartbeat'])
      expect((await act(at(), owner, life.id, action)).status, action).toBe(409)
    expect((await act(at(), owner, life.id, 'extend', { deadline: inAnHour() })).status).toBe(409)
    expect((await patchContext(at(), owner, life.id, { ticket: '9' })).status).toBe(409)
    await mustBeOver(life)
  }
})

it('invariant 11: the name of a job that is over outlives its record', async () => {
  const life = await begin('job')
  await act(at(), ownerOf(life), life.id, 'close')
  scene.broker.clock.advance(91 * 86_400_000)
  await at().sweep()
  expect(await scene.broker.sql('SELECT 1 FROM tasks WHERE id = $1', [life.id])).toEqual([])
  for (const replica of scene.replicas) {
    expect((await mint(replica, ownerOf(life))).body.code).toBe('task_closed')
    const reopened = await replica.client.request<{ code: string }>('POST', '/v1/tasks', {
      token: ownerOf(life),
      json: {},
    })
    expect(reopened.body.code).toBe('task_closed')
  }
  expect(await scene.broker.sql('SELECT 1 FROM tasks WHERE ref LIKE $1', [`%/runs/${life.name}/%`])).toEqual(
    [],
  )
})
