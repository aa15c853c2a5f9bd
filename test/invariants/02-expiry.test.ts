import fc from 'fast-check'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { HallpassError } from '../../src/errors.ts'
import { issueToken } from '../../src/mint/issue-token.ts'
import { type MintStory, mintStory } from '../support/mint-story.ts'
import { act, claimsOf, minted, opened, type Scene, startScene } from '../support/scene.ts'

let scene: Scene
let story: MintStory

beforeAll(async () => {
  scene = await startScene()
  story = await mintStory(scene.broker)
})
afterAll(async () => {
  await story?.close()
  await scene?.close()
})

const seconds = (most: number) => fc.integer({ min: 1, max: most })

it('invariant 2: exp is never past deadline, ttl_max, what was asked, or the key’s last day', async () => {
  const { broker } = scene
  const { deps } = story
  const bounds = fc.record({
    ttl: fc.option(seconds(2_000)),
    ttlMax: seconds(1_200),
    ttlDefault: seconds(1_200),
    // Milliseconds: deadlines and last days are not on whole seconds.
    deadline: fc.integer({ min: 1, max: 1_500_000 }),
    lastDay: fc.option(fc.integer({ min: 1, max: 1_500_000 })),
  })
  let minted = 0
  let refused = 0
  const agent = scene.agent('bounds')
  const asker = await story.askerOf(agent)
  await fc.assert(
    fc.asyncProperty(bounds, async ({ ttl, ttlMax, ttlDefault, deadline, lastDay }) => {
      const start = broker.clock.now()
      const task = await opened(broker, agent)
      await broker.sql('UPDATE tasks SET deadline = $2 WHERE id = $1', [task.id, new Date(start + deadline)])
      await broker.sql(
        `UPDATE signing_keys SET last_day = $1 WHERE active_at = (SELECT min(active_at) FROM signing_keys)`,
        [lastDay === null ? null : new Date(start + lastDay)],
      )
      await deps.keyring.reload()
      const credentials = {
        ...deps.credentials,
        ttlMax: ttlMax * 1000,
        ttlDefault: Math.min(ttlDefault, ttlMax) * 1000,
      }
      const ask = {
        scopes: ['deploy:prod'],
        audiences: ['https://deploy.example'],
        ttl,
        taskVer: null,
        binding: null,
        certificate: null,
      }
      try {
        const issued = await issueToken({ ...deps, credentials }, asker, { ...ask, taskId: task.id })
        const { iat, exp, jti } = claimsOf(issued.accessToken)
        const latest = Math.min(
          iat * 1000 + Math.min(ttlMax, ttl ?? Math.min(ttlDefault, ttlMax)) * 1000,
          start + deadline,
          start + (lastDay ?? Number.POSITIVE_INFINITY),
        )
        // Not past the earliest of the bounds, and no more than a second before it.
        expect(exp * 1000).toBeLessThanOrEqual(latest)
        expect(exp * 1000).toBeGreaterThan(latest - 1000)
        expect(exp).toBeGreaterThan(iat)
        expect(issued.expiresIn).toBe(exp - iat)
        const [row] = await broker.sql('SELECT expires_at FROM credentials WHERE jti = $1', [jti])
        expect(row).toEqual({ expires_at: new Date(exp * 1000) })
        minted++
      } catch (error) {
        // With less than a second left of something there is no time to give.
        if (!(error instanceof HallpassError)) throw error
        expect(['task_closed', 'unavailable']).toContain(error.code)
        expect(Math.min(deadline, lastDay ?? deadline)).toBeLessThan(2_500)
        refused++
      }
    }),
    { numRuns: 120, examples: edges },
  )
  expect(minted).toBeGreaterThan(50)
  expect(refused).toBeGreaterThan(0)
  await broker.sql('UPDATE signing_keys SET last_day = NULL')
})

const edges: [
  { ttl: number | null; ttlMax: number; ttlDefault: number; deadline: number; lastDay: number | null },
][] = [
  [{ ttl: 1, ttlMax: 1, ttlDefault: 1, deadline: 1, lastDay: null }],
  [{ ttl: 900, ttlMax: 900, ttlDefault: 300, deadline: 1_500_000, lastDay: 1 }],
  [{ ttl: 2_000, ttlMax: 1, ttlDefault: 1, deadline: 1_500_000, lastDay: null }],
  [{ ttl: null, ttlMax: 60, ttlDefault: 1_200, deadline: 1_500_000, lastDay: null }],
  [{ ttl: null, ttlMax: 1_200, ttlDefault: 1_200, deadline: 100_001, lastDay: 99_999 }],
]

it('invariant 2: policy’s @ttl only shortens, and the shortest wins', async () => {
  const other = await startScene({
    policies: `@id("open") permit (principal, action == Action::"open", resource);
      @id("a") @ttl("100s") permit (principal, action == Action::"mint", resource);
      @id("b") @ttl("90s") permit (principal, action == Action::"mint", resource);
      @id("c") @ttl("24h") permit (principal, action == Action::"mint", resource);`,
  })
  const lifetime = async (form: Record<string, string>) => {
    const { access_token } = await minted(other.broker, other.job(), form)
    return claimsOf(access_token).exp - claimsOf(access_token).iat
  }
  expect(await lifetime({})).toBe(90)
  expect(await lifetime({ ttl: '80' })).toBe(80)
  expect(await lifetime({ ttl: '100000' })).toBe(90)
  await other.close()
})

it('invariant 2: a later deadline leaves the exp of what was minted as it was', async () => {
  const { broker } = scene
  const agent = scene.agent('extended')
  const in30s = new Date(broker.clock.now() + 30_000)
  const task = await opened(broker, agent, { deadline: in30s.toISOString() })
  const before = await minted(broker, agent, { task_id: task.id })
  const in10m = new Date(broker.clock.now() + 600_000).toISOString()
  expect((await act(broker, agent, task.id, 'extend', { deadline: in10m })).status).toBe(200)
  const after = await minted(broker, agent, { task_id: task.id })
  expect(claimsOf(before.access_token).exp).toBe(Math.floor(in30s.getTime() / 1000))
  expect(claimsOf(after.access_token).exp).toBeGreaterThan(claimsOf(before.access_token).exp)
  const { jti } = claimsOf(before.access_token)
  expect(await broker.sql('SELECT expires_at FROM credentials WHERE jti = $1', [jti])).toEqual([
    { expires_at: new Date(claimsOf(before.access_token).exp * 1000) },
  ])
})

it('invariant 2: what is minted below a task lives no longer than that task, however much later its own was asked to be', async () => {
  const { broker } = scene
  const agent = scene.agent('below')
  const deadline = new Date(broker.clock.now() + 30_000).toISOString()
  const root = await opened(broker, agent, { deadline })
  const child = await opened(broker, agent, { parent_id: root.id })
  const grandchild = await opened(broker, agent, { parent_id: child.id })
  const expOf = async (task: { id: string }) => {
    const { access_token } = await minted(broker, agent, { task_id: task.id, ttl: '900' })
    return claimsOf(access_token).exp * 1000
  }
  for (const task of [child, grandchild]) expect(await expOf(task)).toBeLessThanOrEqual(Date.parse(deadline))
  // What is above may have more time; what is below has it when it is given, and no more than that.
  const later = (minutes: number) => new Date(broker.clock.now() + minutes * 60_000).toISOString()
  const [half, most] = [later(5), later(10)]
  expect((await act(broker, agent, root.id, 'extend', { deadline: most })).status).toBe(200)
  expect(await expOf(grandchild)).toBeLessThanOrEqual(Date.parse(deadline))
  expect((await act(broker, agent, child.id, 'extend', { deadline: half })).status).toBe(200)
  expect((await act(broker, agent, grandchild.id, 'extend', { deadline: most })).status).toBe(422)
  expect((await act(broker, agent, grandchild.id, 'extend', { deadline: half })).status).toBe(200)
  const exp = await expOf(grandchild)
  expect(exp).toBeGreaterThan(Date.parse(deadline))
  expect(exp).toBeLessThanOrEqual(Date.parse(half))
})
