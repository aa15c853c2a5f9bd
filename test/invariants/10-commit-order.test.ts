import pg from 'pg'
import { afterAll, beforeAll, expect, it } from 'vitest'
import {
  act,
  claimsOf,
  minted,
  opened,
  patchContext,
  pick,
  type Scene,
  startScene,
} from '../support/scene.ts'

let scene: Scene
beforeAll(async () => {
  scene = await startScene({ replicas: 3 })
  // Commits take their time, each another one: numbers that were handed out earlier would come later.
  await scene.broker.sql(`CREATE FUNCTION slow_commit() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_sleep(random() * 0.006); RETURN NULL; END $$`)
  await scene.broker.sql(`CREATE CONSTRAINT TRIGGER slow_commit AFTER INSERT ON revocations
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION slow_commit()`)
})
afterAll(() => scene?.close())

/** As a follower reads: whatever is after the last one seen, again and again. */
async function follow(url: string, done: () => boolean): Promise<number[]> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  const seen: number[] = []
  for (let last = false; ; ) {
    const { rows } = await client.query<{ seq: string }>(
      'SELECT seq FROM revocations WHERE seq > $1 ORDER BY seq',
      [seen.at(-1) ?? 0],
    )
    seen.push(...rows.map(({ seq }) => Number(seq)))
    if (last) break
    last = done()
  }
  await client.end()
  return seen
}

/** All ends that there are, for one task, each through another replica. */
async function lifeOf(name: string): Promise<number> {
  const { replicas } = scene
  const owner = scene.agent(name)
  const task = await opened(pick(replicas), owner, { context: { ticket: '1' }, bind: ['ticket'] })
  const { access_token } = await minted(pick(replicas), owner, { task_id: task.id })
  const { jti } = claimsOf(access_token)
  const statuses = [
    await patchContext(pick(replicas), owner, task.id, { ticket: '2' }),
    await act(pick(replicas), owner, task.id, 'suspend'),
    await pick(replicas).client.request('POST', `/v1/credentials/${jti}/revoke`, { token: owner, json: {} }),
    await act(pick(replicas), owner, task.id, 'resume'),
    await act(pick(replicas), owner, task.id, 'close'),
  ].map(({ status }) => status)
  expect(statuses).toEqual([200, 200, 200, 200, 200])
  return statuses.length
}

it('invariant 10: a reader that asks for what is after the last one it saw never misses one, however many end at once', async () => {
  const { broker, replicas } = scene
  // Some for the sweepers, which number many at once.
  const owner = scene.agent('late')
  const deadline = new Date(broker.clock.now() + 1_500).toISOString()
  const due = await Promise.all(Array.from({ length: 30 }, () => opened(pick(replicas), owner, { deadline })))
  let writing = true
  const readers = Array.from({ length: 2 }, () => follow(broker.databaseUrl, () => !writing))

  const sweeping = replicas.map(async replica => {
    while (writing) {
      await replica.sweep()
      await new Promise(resolve => setTimeout(resolve, 50))
    }
  })
  const lives = await Promise.all(Array.from({ length: 30 }, (_, i) => lifeOf(`agent-${i}`)))
  const closed = async () =>
    (
      await broker.sql(`SELECT 1 FROM tasks WHERE id = ANY ($1) AND state = 'closed'`, [
        due.map(({ id }) => id),
      ])
    ).length
  await expect.poll(closed, { timeout: 10_000 }).toBe(due.length)
  writing = false
  await Promise.all(sweeping)

  const all = await broker.sql<{ seq: string }>('SELECT seq FROM revocations ORDER BY seq')
  const numbers = all.map(({ seq }) => Number(seq))
  expect(numbers.length).toBe(lives.reduce((sum, n) => sum + n, 0) + due.length)
  // Without gaps, too: nothing was numbered that did not commit.
  expect(numbers).toEqual(numbers.map((_, i) => i + 1))
  for (const seen of await Promise.all(readers)) expect(seen).toEqual(numbers)
})

it('invariant 10: an end that is rolled back leaves no gap, and one that waits holds up no mint', async () => {
  const { broker } = scene
  const owner = scene.agent('gap')
  const [first, second, third] = await Promise.all([1, 2, 3].map(() => opened(broker, owner)))
  const last = async () =>
    Number((await broker.sql<{ seq: string }>('SELECT seq FROM revocation_counter'))[0]!.seq)
  const before = await last()
  await broker.sql(`CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN IF NEW.task_id = '${first!.id}' THEN RAISE EXCEPTION 'no' USING ERRCODE = 'disk_full'; END IF; RETURN NULL; END $$`)
  await broker.sql(`CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON revocations
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()`)
  expect((await act(broker, owner, first!.id, 'close')).status).toBe(503)
  expect(await last()).toBe(before)
  expect((await act(broker, owner, second!.id, 'close')).status).toBe(200)
  expect(await last()).toBe(before + 1)

  const holder = new pg.Client({ connectionString: broker.databaseUrl })
  await holder.connect()
  await holder.query('BEGIN')
  await holder.query('SELECT seq FROM revocation_counter FOR UPDATE')
  const waiting = act(broker, owner, second!.id, 'close')
  const closing = act(broker, owner, third!.id, 'suspend')
  await minted(broker, owner, { task_id: first!.id })
  await holder.query('COMMIT')
  await holder.end()
  expect((await Promise.all([waiting, closing])).map(({ status }) => status)).toEqual([200, 200])
})
