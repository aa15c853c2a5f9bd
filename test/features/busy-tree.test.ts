import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { allowAll } from '../support/broker.ts'
import { act, isActive, mint, minted, opened, type Scene, startScene } from '../support/scene.ts'

let scene: Scene
beforeAll(async () => {
  // Owners have their rights from what is built in, and others have none.
  const policies = allowAll
    .split('\n')
    .filter(policy => /"allow-(open|mint|introspect)"/.test(policy))
    .join('\n')
  scene = await startScene({ policies })
})
afterAll(() => scene?.close())

const owner = () => scene.agent('owner')

/** Holds a tree against change, until it is told to let go. */
async function holding(id: string, lock = 'SHARE'): Promise<() => Promise<void>> {
  const holder = new pg.Client({ connectionString: scene.broker.databaseUrl })
  await holder.connect()
  await holder.query('BEGIN')
  await holder.query(`SELECT 1 FROM tasks WHERE id = $1 FOR ${lock}`, [id])
  return () => holder.end()
}

test('who has no business with a task does not wait for its tree, and is told no at once', async () => {
  const { broker } = scene
  const root = await opened(broker, owner())
  const child = await opened(broker, owner(), { parent_id: root.id })
  const release = await holding(root.id)
  for (const task of [root, child]) {
    for (const action of ['heartbeat', 'close']) {
      const { status, body } = await act(broker, scene.agent('stranger'), task.id, action)
      expect([status, body.code]).toEqual([404, 'not_found'])
    }
    // May see it, and may not suspend it.
    const { status, body } = await act(broker, owner(), task.id, 'suspend')
    expect([status, body.code]).toEqual([403, 'refused'])
  }
  await release()
  expect((await act(broker, owner(), child.id, 'heartbeat')).status).toBe(200)
  const logged = await broker.sql<{ action: string; decision: string; n: number }>(
    `SELECT action, decision, count(*)::int AS n FROM decisions WHERE task_id = ANY ($1::uuid[]) AND action IN ('heartbeat', 'suspend')
     GROUP BY 1, 2 ORDER BY 1, 2`,
    [[root.id, child.id]],
  )
  expect(logged).toEqual([
    { action: 'heartbeat', decision: 'allow', n: 1 },
    { action: 'heartbeat', decision: 'deny', n: 2 },
    { action: 'suspend', decision: 'deny', n: 2 },
  ])
})

test('what ends a task waits for its tree before all that only beat, and the log names each policy once', async () => {
  const { broker } = scene
  const root = await opened(broker, owner())
  const { access_token } = await minted(broker, owner(), { task_id: root.id })
  const release = await holding(root.id)
  const beats = Array.from({ length: 8 }, () => act(broker, owner(), root.id, 'heartbeat'))
  // Until the first of them waits in the database, and the others for it.
  await expect.poll(() => waiters(), { timeout: 10_000 }).toBe(1)
  const closing = act(broker, owner(), root.id, 'close')
  await sleep(50)
  await release()
  expect((await closing).status).toBe(200)
  const answers = (await Promise.all(beats)).map(({ status }) => status)
  // One had its turn already.
  expect(answers.filter(status => status === 200).length).toBeLessThanOrEqual(1)
  expect(new Set(answers)).toEqual(new Set([...answers.filter(status => status === 200), 409]))
  expect(await isActive(broker, scene.agent('service'), access_token)).toBe(false)
  const [row] = await broker.sql<{ policies: string[] }>(
    `SELECT policies FROM decisions WHERE task_id = $1 AND action = 'close'`,
    [root.id],
  )
  expect(row?.policies).toEqual(['builtin-owner-close'])
})

test('an operator who ends a task waits for no workload, however many trees workloads wait for', async () => {
  const { broker } = scene
  const busy = await Promise.all(Array.from({ length: 6 }, () => opened(broker, owner())))
  const one = await opened(broker, owner())
  const releases = await Promise.all([one, ...busy].map(({ id }) => holding(id, 'UPDATE')))
  let minting = true
  const mints = busy.map(({ id }) => mint(broker, owner(), { task_id: id }))
  void Promise.all(mints).then(() => {
    minting = false
  })
  await expect.poll(() => waiters('FOR SHARE'), { timeout: 10_000 }).toBeGreaterThan(1)
  const closing = act(broker, await broker.operatorToken(), one.id, 'close', { outcome: 'risk' })
  await expect.poll(() => waiters('FOR UPDATE'), { timeout: 10_000 }).toBe(1)
  await releases[0]?.()
  const { status, body } = await closing
  expect([status, body.close_reason, minting]).toEqual([200, 'risk', true])
  await Promise.all(releases.slice(1).map(release => release()))
  await Promise.all(mints)
})

test('what is closed is closed: to say so again waits for nobody', async () => {
  const { broker } = scene
  const root = await opened(broker, owner())
  const child = await opened(broker, owner(), { parent_id: root.id })
  expect((await act(broker, owner(), child.id, 'close')).status).toBe(200)
  const release = await holding(root.id)
  expect((await act(broker, owner(), child.id, 'close')).body.state).toBe('closed')
  expect((await act(broker, owner(), child.id, 'heartbeat')).status).toBe(409)
  await release()
})

const waiters = async (lock = 'FOR UPDATE'): Promise<number> =>
  (
    await scene.broker.sql(
      `SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database() AND query LIKE $1`,
      [`SELECT%${lock}%`],
    )
  ).length
