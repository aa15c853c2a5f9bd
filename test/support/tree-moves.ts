import { randomUUID } from 'node:crypto'
import fc from 'fast-check'
import { expect } from 'vitest'
import { liveByRecord, type RecordRow } from './record-fold.ts'
import {
  act,
  claimsOf,
  headerOf,
  isActive,
  mint,
  patchContext,
  type Scene,
  type SceneOptions,
  type TaskBody,
} from './scene.ts'
import {
  close,
  isFixed,
  isLive,
  type ModelTask,
  type ModelToken,
  resume,
  stopped,
  sweep,
  upwards,
} from './tree-model.ts'

const minute = 60_000
/** No sum of these is near a timeout, a lifetime or a deadline below: how long a test takes does not matter. */
const step = 10 * minute
const deadlines = [25, 45, 65, 95].map(minutes => minutes * minute)
const timeouts = [15, 35].map(minutes => minutes * minute)
const tasksConfig = {
  deadlineDefault: 75 * minute,
  deadlineMax: 24 * 60 * minute,
  depthMax: 3,
  retention: 90 * 86_400_000,
}

/** The scene that moves are made for. */
export const moveScene: SceneOptions = {
  replicas: 2,
  config: {
    credentials: { ttlDefault: 15 * minute, ttlMax: 15 * minute, signingAlg: 'ES256', signingAlgFor: {} },
    tasks: tasksConfig,
  },
}

/** All tasks of one agent, which makes every move. */
interface Forest {
  scene: Scene
  name: string
  tasks: ModelTask[]
  tokens: ModelToken[]
  /** Rows that the record must have by now. */
  rows: number
}

interface Move {
  what: keyof typeof moves
  /** Which task or token, of those there are. */
  which: number
  replica: 0 | 1
  n: number
}

const now = ({ scene }: Forest) => scene.broker.clock.now()
const agent = ({ scene, name }: Forest) => scene.agent(name)
const at = ({ scene }: Forest, { replica }: Move) => scene.replicas[replica]!

/** Tries something with a task, whatever became of it. */
const onTask =
  (go: (forest: Forest, task: ModelTask, move: Move) => Promise<unknown>) =>
  async (forest: Forest, move: Move): Promise<void> => {
    const task = forest.tasks[move.which % Math.max(1, forest.tasks.length)]
    if (task) await go(forest, task, move)
  }

/** Each does one thing to the broker and to the model, and compares the answers. */
const moves = {
  openRoot: (forest: Forest, move: Move) => open(forest, null, move),
  openChild: onTask(open),
  mint: onTask(async (forest, task, move) => {
    const { status, body } = await mint(at(forest, move), agent(forest), { task_id: task.id })
    const code = stopped(task, now(forest))
    if (code) return expect(body.code).toBe(code)
    expect(status).toBe(200)
    const { jti, exp, ...claims } = claimsOf(body.access_token)
    const [own, ...above] = upwards(task)
    expect(claims.task_ver).toBe(own?.ver)
    expect(claims.task_path ?? []).toEqual(above.toReversed().map(({ id, ver }) => `${id}:${ver}`))
    expect(exp * 1000).toBeLessThanOrEqual(task.deadline)
    const vers = new Map(upwards(task).map(one => [one, one.ver]))
    forest.tokens.push({ text: body.access_token, jti, task, vers, exp: exp * 1000, revoked: false })
  }),
  suspend: onTask(async (forest, task, move) => {
    const { status } = await act(at(forest, move), agent(forest), task.id, 'suspend')
    const fits = task.state === 'open' && !isFixed(task, now(forest))
    expect(status).toBe(fits ? 200 : 409)
    if (!fits) return
    task.state = 'suspended'
    forest.rows++
  }),
  resume: onTask(async (forest, task, move) => {
    const { status } = await act(at(forest, move), agent(forest), task.id, 'resume')
    const fits = task.state === 'suspended' && !isFixed(task, now(forest))
    expect(status).toBe(fits ? 200 : 409)
    if (!fits) return
    resume(forest.tasks, task, now(forest))
    forest.rows++
  }),
  close: onTask(async (forest, task, move) => {
    const { status } = await act(at(forest, move), agent(forest), task.id, 'close', { outcome: 'failed' })
    expect(status).toBe(200)
    if (task.state === 'closed') return
    close(forest.tasks, task, now(forest) >= task.deadline ? 'expired' : 'failed')
    forest.rows++
  }),
  context: onTask(async (forest, task, move) => {
    const bound = move.n % 3 > 0
    const patch = { [bound ? 'bound' : 'loose']: randomUUID() }
    const { status, body } = await patchContext(at(forest, move), agent(forest), task.id, patch)
    const fits = !isFixed(task, now(forest))
    expect(status).toBe(fits ? 200 : 409)
    if (!fits || !bound) return
    expect(body.ver).toBe(++task.ver)
    forest.rows++
  }),
  extend: onTask(async (forest, task, move) => {
    const deadline = now(forest) + deadlines[move.n % deadlines.length]!
    const { status } = await act(at(forest, move), agent(forest), task.id, 'extend', {
      deadline: new Date(deadline).toISOString(),
    })
    if (isFixed(task, now(forest))) return expect(status).toBe(409)
    const fits = deadline >= task.deadline && deadline <= (task.parent?.deadline ?? Number.POSITIVE_INFINITY)
    expect(status).toBe(fits ? 200 : 422)
    if (fits) task.deadline = deadline
  }),
  heartbeat: onTask(async (forest, task, move) => {
    const { status } = await act(at(forest, move), agent(forest), task.id, 'heartbeat')
    const fits = task.state === 'open' && !isFixed(task, now(forest))
    expect(status).toBe(fits ? 200 : 409)
    if (fits) task.heardAt = now(forest)
  }),
  async revoke(forest: Forest, move: Move) {
    const token = forest.tokens[move.which % Math.max(1, forest.tokens.length)]
    if (!token) return
    const path = `/v1/credentials/${token.jti}/revoke`
    const reply = await at(forest, move).client.request('POST', path, { token: agent(forest), json: {} })
    expect(reply.status).toBe(200)
    if (!token.revoked) forest.rows++
    token.revoked = true
  },
  async wait({ scene }: Forest) {
    scene.broker.clock.advance(step)
  },
  async sweep(forest: Forest, move: Move) {
    forest.rows += sweep(forest.tasks, now(forest)).length
    await at(forest, move).sweep()
  },
}

async function open(forest: Forest, parent: ModelTask | null, move: Move): Promise<unknown> {
  const { n } = move
  const asked = n % 2 ? null : now(forest) + deadlines[n % deadlines.length]!
  const timeout = [null, null, ...timeouts][n % 4]!
  const { status, body } = await at(forest, move).client.request<TaskBody>('POST', '/v1/tasks', {
    token: agent(forest),
    json: {
      kind: 'agent-run',
      ref: randomUUID(),
      context: { bound: '0', loose: '0' },
      bind: ['bound'],
      ...(parent && { parent_id: parent.id }),
      ...(asked !== null && { deadline: new Date(asked).toISOString() }),
      heartbeat_timeout: timeout === null ? null : timeout / 1000,
    },
  })
  const code = parent && stopped(parent, now(forest))
  if (code) return expect([status, body.code]).toEqual([409, code])
  const faults = body.errors?.map(({ path }) => path)
  if (parent && upwards(parent).length > tasksConfig.depthMax) return expect(faults).toEqual(['/parent_id'])
  if (parent && asked !== null && asked > parent.deadline) return expect(faults).toEqual(['/deadline'])
  expect(status).toBe(201)
  const openedAt = Date.parse(body.opened_at)
  const deadline =
    asked ?? Math.min(openedAt + tasksConfig.deadlineDefault, parent?.deadline ?? Number.POSITIVE_INFINITY)
  expect(Date.parse(body.deadline)).toBe(deadline)
  const { id } = body
  forest.tasks.push({ id, parent, state: 'open', reason: null, ver: 1, deadline, timeout, heardAt: openedAt })
}

/** Every replica, and whoever has only the record, must say what the model says. */
async function mustAgree(forest: Forest): Promise<boolean[]> {
  const { scene, name, tasks, tokens } = forest
  expect(await rowsWritten(scene)).toBe(forest.rows)
  const live = tokens.map(token => isLive(token, now(forest)))
  const service = scene.agent('service')
  for (const replica of scene.replicas)
    expect(await Promise.all(tokens.map(({ text }) => isActive(replica, service, text)))).toEqual(live)
  const record = await scene.broker.sql<RecordRow>('SELECT * FROM revocations ORDER BY seq')
  expect(
    tokens.map(({ text }) => liveByRecord(record, claimsOf(text), headerOf(text).kid, now(forest))),
  ).toEqual(live)

  const path = `/v1/tasks?limit=200&principal=agent:${name}`
  const { body } = await scene.replicas[1]!.client.request<{ items: TaskBody[] }>('GET', path, {
    token: agent(forest),
  })
  expect(
    body.items
      .map(task => [
        task.id,
        task.parent_id,
        task.state,
        task.close_reason,
        task.ver,
        Date.parse(task.deadline),
      ])
      .toReversed(),
  ).toEqual(
    tasks.map(({ id, parent, state, reason, ver, deadline }) => [
      id,
      parent?.id ?? null,
      state,
      reason,
      ver,
      deadline,
    ]),
  )
  return live
}

/** So that no sweep has anything to do with what an earlier run left. */
async function endAll({ broker, agent }: Scene): Promise<void> {
  const left = await broker.sql<{ id: string }>(`SELECT id FROM tasks WHERE state <> 'closed'`)
  for (const { id } of left) await act(broker, agent('broom'), id, 'close')
}

/** Since the database began; rows that can matter no more may be gone. */
async function rowsWritten(scene: Scene): Promise<number> {
  const [row] = await scene.broker.sql<{ seq: string }>('SELECT seq FROM revocation_counter')
  return Number(row?.seq)
}

const weights: Record<keyof typeof moves, number> = {
  openRoot: 2,
  openChild: 6,
  mint: 12,
  suspend: 3,
  resume: 4,
  close: 1,
  context: 3,
  extend: 2,
  heartbeat: 2,
  revoke: 1,
  wait: 2,
  sweep: 2,
}
const names = Object.entries(weights).map(([what, weight]) => ({
  weight,
  arbitrary: fc.constant(what as keyof typeof moves),
}))
const move: fc.Arbitrary<Move> = fc.record({
  what: fc.oneof(...names),
  which: fc.nat(1000),
  replica: fc.constantFrom(0 as const, 1 as const),
  n: fc.nat(1000),
})

const making = (what: keyof typeof moves, which: number): Move => ({ what, which, replica: 0, n: 1 })
/** A root with two children, the first of which has one itself, and a token of each. */
const begin: Move[] = [
  making('openRoot', 0),
  ...[0, 1, 0].map(parent => making('openChild', parent)),
  ...[0, 1, 2, 3].map(task => making('mint', task)),
]

/** Of all that is looked for, at least once. */
const example = [
  ...begin.flatMap(one => [one, making('suspend', 1), making('resume', 1)]),
  making('close', 1),
]

/**
 * Makes random moves on random trees, and compares after each: introspection of every token on every replica, what the record alone
 * tells of it, and every task, with the model. Answers what was seen, so that a test can tell that it was not nothing.
 */
export async function makeMoves(scene: Scene, numRuns: number) {
  const seen = { live: 0, dead: 0, revived: 0, deep: 0, closedBelow: 0 }
  await fc.assert(
    fc.asyncProperty(fc.array(move, { minLength: 15, maxLength: 60, size: 'max' }), async tried => {
      await endAll(scene)
      const rows = await rowsWritten(scene)
      const forest: Forest = { scene, name: randomUUID(), tasks: [], tokens: [], rows }
      for (const one of begin) await moves[one.what](forest, one)
      let before: boolean[] = []
      for (const one of tried) {
        await moves[one.what](forest, one)
        const live = await mustAgree(forest)
        seen.revived += live.filter((alive, i) => alive && before[i] === false).length
        before = live
      }
      seen.live += before.filter(alive => alive).length
      seen.dead += before.filter(alive => !alive).length
      seen.deep += forest.tokens.filter(({ vers }) => vers.size > 2).length
      seen.closedBelow += forest.tasks.filter(({ reason }) => reason === 'parent_closed').length
    }),
    { numRuns, examples: [[example]] },
  )
  return seen
}
