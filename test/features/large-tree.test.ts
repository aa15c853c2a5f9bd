import { randomUUID } from 'node:crypto'
import pg from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { descendantsMost } from '../../src/store/open.ts'
import {
  act,
  isActive,
  mint,
  minted,
  opened,
  patchContext,
  type Scene,
  startScene,
  type TaskBody,
} from '../support/scene.ts'

const below = 10 + 10 * 10 + 10 * 10 * 99

let scene: Scene
beforeAll(async () => {
  scene = await startScene({ replicas: 2 })
})
afterAll(() => scene?.close())

const owner = () => scene.agent('owner')

/** A root with as many children, of which each has as many, and so on, as they are stored; and one task of each depth. */
async function largeTree(widths = [10, 10, 99]) {
  const { broker } = scene
  const root = await opened(broker, owner(), { context: { ticket: '1' }, bind: ['ticket'] })
  for (const [depth, width] of widths.entries())
    await broker.sql(
      `INSERT INTO tasks SELECT (jsonb_populate_record(parent, jsonb_build_object('id', id, 'parent_id', (parent).id,
         'path', to_jsonb((parent).path || (parent).id), 'ref', id, 'name_key', '\\x' || md5(id::text) || md5(id::text)))).*
       FROM (SELECT t, gen_random_uuid() FROM tasks t, generate_series(1, $3::int)
         WHERE t.root_id = $1 AND cardinality(t.path) = $2) AS made (parent, id)`,
      [root.id, depth, width],
    )
  const samples = await broker.sql<{ id: string }>(
    `SELECT DISTINCT ON (cardinality(path)) id FROM tasks WHERE root_id = $1 ORDER BY cardinality(path)`,
    [root.id],
  )
  return { root, samples: samples.map(({ id }) => id) }
}

const openBelow = (broker: Scene['broker'], parent_id: string) =>
  broker.client.request<TaskBody>('POST', '/v1/tasks', {
    token: owner(),
    json: { kind: 'agent-run', ref: randomUUID(), parent_id },
  })
/** Holds a task as a reservation does, until it is told to let go. */
async function holding(id: string): Promise<() => Promise<void>> {
  const holder = new pg.Client({ connectionString: scene.broker.databaseUrl })
  await holder.connect()
  await holder.query('BEGIN')
  await holder.query('SELECT 1 FROM tasks WHERE id = $1 FOR SHARE', [id])
  return () => holder.end()
}

const tokensOf = (tasks: string[]) =>
  Promise.all(
    tasks.map(async (id, n) => (await minted(scene.replicas[n % 2]!, owner(), { task_id: id })).access_token),
  )
const alive = (tokens: string[]) =>
  Promise.all(tokens.map((token, n) => isActive(scene.replicas[n % 2]!, scene.agent('service'), token)))
const counts = (root: string) =>
  scene.broker.sql(
    `SELECT state, close_reason, closed_at, count(*)::int AS n FROM tasks WHERE root_id = $1 GROUP BY 1, 2, 3 ORDER BY n`,
    [root],
  )
const record = (root: string) =>
  scene.broker.sql(
    `SELECT r.task_id, r.state, r.ver FROM revocations r JOIN tasks t ON t.id = r.task_id WHERE t.root_id = $1 ORDER BY seq`,
    [root],
  )

test('10,000 descendants end in one transaction and one row of the record, while other trees go on', async () => {
  const { broker, replicas } = scene
  const { root, samples } = await largeTree()
  const tokens = await tokensOf(samples)
  expect(await alive(tokens)).toEqual([true, true, true, true])
  const other = await opened(broker, owner())
  const third = await opened(broker, owner())

  // Somebody holds one of them, so that the end stays under way as long as the test likes.
  const release = await holding(samples[3]!)
  const closing = act(broker, owner(), root.id, 'close')
  await expect.poll(isWaiting, { timeout: 10_000 }).toBe(true)
  // However many want something of that tree meanwhile.
  const inTree: Promise<{ status: number; body: { code?: string } }>[] = []
  for (let n = 0; n < 45; n++) {
    const replica = replicas[n % 2]!
    const id = samples[n % 4]!
    if (n % 3 === 0) inTree.push(mint(replica, owner(), { task_id: id }))
    else if (n % 3 === 1) inTree.push(openBelow(replica, samples[n % 3]!))
    else inTree.push(act(replica, owner(), id, 'heartbeat'))
    await new Promise(resolve => setTimeout(resolve, 2))
  }
  for (const replica of replicas) {
    for (let n = 0; n < 3; n++) await minted(replica, owner(), { task_id: other.id })
    expect((await opened(replica, owner(), { parent_id: other.id })).parent_id).toBe(other.id)
  }
  expect((await act(replicas[1]!, owner(), third.id, 'close')).status).toBe(200)
  // Nothing of the end is seen before all of it is.
  expect(await alive(tokens)).toEqual([true, true, true, true])
  await release()

  // Where all that took longer than a lock is waited for, it is asked again, as anybody would.
  const first = await closing
  const { body } = first.status === 200 ? first : await act(broker, owner(), root.id, 'close')
  const codes = (await Promise.all(inTree)).map(({ body: { code } }) => code)
  // Where it took long, some have given up.
  for (const [n, code] of codes.entries())
    expect(['unavailable', n % 3 === 2 ? 'wrong_state' : 'task_closed']).toContain(code)
  expect(await counts(root.id)).toEqual([
    { state: 'closed', close_reason: 'completed', closed_at: new Date(body.closed_at!), n: 1 },
    { state: 'closed', close_reason: 'parent_closed', closed_at: new Date(body.closed_at!), n: below },
  ])
  expect(await record(root.id)).toEqual([{ task_id: root.id, state: 'closed', ver: 1 }])
  expect(await alive(tokens)).toEqual([false, false, false, false])
})

/** Whether a transaction is closing what is below, and waits for a lock. */
const isWaiting = async (): Promise<boolean> =>
  (
    await scene.broker.sql(
      `SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()
         AND query LIKE 'UPDATE tasks%parent_closed%'`,
    )
  ).length > 0

test('10,000 descendants are suspended and change with their root by one row, and not one of theirs is touched', async () => {
  const { broker } = scene
  const { root, samples } = await largeTree()
  const tokens = await tokensOf(samples)
  const touched = () =>
    broker.sql('SELECT id, xmin FROM tasks WHERE root_id = $1 AND parent_id IS NOT NULL ORDER BY id', [
      root.id,
    ])
  const before = await touched()
  await act(broker, owner(), root.id, 'suspend')
  expect(await alive(tokens)).toEqual([false, false, false, false])
  await act(broker, owner(), root.id, 'resume')
  expect(await alive(tokens)).toEqual([true, true, true, true])
  await patchContext(broker, owner(), root.id, { ticket: '2' })
  expect(await alive([...tokens, ...(await tokensOf(samples))])).toEqual([
    ...[false, false, false, false],
    ...[true, true, true, true],
  ])
  expect(await record(root.id)).toEqual([
    { task_id: root.id, state: 'suspended', ver: 1 },
    { task_id: root.id, state: 'open', ver: 1 },
    { task_id: root.id, state: 'open', ver: 2 },
  ])
  expect(await touched()).toEqual(before)

  // Due with their root, even before it, and more of them than one round takes: they are swept with it.
  await broker.sql(
    `UPDATE tasks SET deadline = deadline - interval '1 second' WHERE root_id = $1 AND parent_id IS NOT NULL`,
    [root.id],
  )
  broker.clock.advance(3_600_000)
  await broker.sweep()
  expect(await counts(root.id)).toMatchObject([
    { close_reason: 'expired', n: 1 },
    { close_reason: 'parent_closed', n: below },
  ])
  expect((await record(root.id)).slice(3)).toEqual([{ task_id: root.id, state: 'closed', ver: 2 }])
})

test('a tree has a bound below which it can always be ended: no more than that is opened in it, at whatever depth', async () => {
  const { broker } = scene
  const { root, samples } = await largeTree([descendantsMost - 2])
  const child = samples[1]!
  expect((await openBelow(broker, child)).status).toBe(201)
  expect((await openBelow(broker, root.id)).status).toBe(201)
  for (const parent of [root.id, child]) {
    const { status, body } = await openBelow(scene.replicas[1]!, parent)
    expect([status, body.code, body.errors?.map(({ path }) => path)]).toEqual([
      422,
      'invalid',
      ['/parent_id'],
    ])
  }
  // What has ended makes room.
  await act(broker, owner(), child, 'close')
  expect((await openBelow(broker, root.id)).status).toBe(201)
  expect((await act(broker, owner(), root.id, 'close')).status).toBe(200)
  expect((await counts(root.id)).filter(({ state }) => state !== 'closed')).toEqual([])
})

test('a tree that is held, with more due in it than one round takes, holds up the sweep of no other', async () => {
  const { broker } = scene
  const { root } = await largeTree([1_200])
  await broker.sql(`UPDATE tasks SET deadline = deadline - interval '50 minutes' WHERE parent_id = $1`, [
    root.id,
  ])
  const silent = await opened(broker, owner(), { heartbeat_timeout: 900 })
  broker.clock.advance(900_000)
  const release = await holding(root.id)
  await broker.sweep()
  expect(await counts(silent.id)).toMatchObject([{ close_reason: 'silent' }])
  expect(await counts(root.id)).toMatchObject([{ state: 'open', n: 1_201 }])
  // It is waited for all the same.
  await release()
  await expect
    .poll(() => counts(root.id), { timeout: 10_000 })
    .toMatchObject([
      { state: 'open', n: 1 },
      { close_reason: 'expired' },
      { close_reason: 'expired' },
      { close_reason: 'expired' },
    ])
})
