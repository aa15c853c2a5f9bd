import { setTimeout } from 'node:timers/promises'
import pg from 'pg'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Block, BulkRevocationResult, Task } from '../../src/http/openapi.generated.d.ts'
import type { TestBroker } from '../support/broker.ts'
import { claimsOf } from '../support/scene.ts'
import { type Staff, staffPolicies, startStaff } from '../support/staff.ts'
import { deploy, startWorld, type World } from './world.ts'

interface Problem {
  code?: string
  decision_id?: string
  errors?: { path: string; message: string }[]
}

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
const sre = () => staff.signIn('ada', 'sre', one.clock.now())
const revoke = async (json: unknown, token?: string, on = one) =>
  on.client.request<BulkRevocationResult & Problem>('POST', '/v1/revocations', {
    token: token ?? (await one.operatorToken()),
    json,
  })
const done = async (json: unknown) => {
  const { status, body, text } = await revoke(json)
  expect(status, text).toBe(200)
  return body
}
/** Nothing is open, and nothing blocked. */
const afresh = async () => {
  await done({ everything: true })
  const token = await one.operatorToken()
  const { body } = await one.client.request<{ items: Block[] }>('GET', '/v1/blocks', { token })
  for (const { id } of body.items) await one.client.request('DELETE', `/v1/blocks/${id}`, { token })
  await two.sweep()
}
const states = async (...tasks: Pick<Task, 'id'>[]) => {
  const rows = await one.sql<{ id: string; state: string; close_reason: string | null }>(
    'SELECT id, state, close_reason FROM tasks WHERE id = ANY ($1)',
    [tasks.map(({ id }) => id)],
  )
  return tasks.map(({ id }) => {
    const row = rows.find(found => found.id === id)
    return row?.close_reason ?? row?.state
  })
}
const lives = (token: string) => Promise.all([one, two].map(on => world.live(token, on)))
const record = (...tasks: Pick<Task, 'id'>[]) =>
  one.sql<{ task_id: string; state: string; reason: string; until: Date }>(
    'SELECT task_id, state, ver, reason, until FROM revocations WHERE task_id = ANY ($1) ORDER BY seq',
    [tasks.map(({ id }) => id)],
  )
const codes = async (attestation: () => string, more = {}) =>
  Promise.all(
    [one, two].map(async on => (await world.exchange(attestation(), more, on)).body.code ?? 'minted'),
  )
const opens = (path: string, on = one) =>
  on.client.request<Task & Problem>('POST', '/v1/tasks', {
    token: world.as(path),
    json: { kind: 'agent-run', ref: crypto.randomUUID() },
  })
/** Everything that a bulk revocation could change. */
const everything = async () =>
  Promise.all(
    ['tasks', 'credentials', 'blocks', 'block_gate', 'revocations', 'revocation_counter', 'signing_keys'].map(
      table => one.sql(`SELECT * FROM ${table} ORDER BY 1`),
    ),
  )

beforeEach(afresh)

describe('ends', () => {
  test('all that a principal has, on every replica, and nothing of anybody else', async () => {
    const tasks = [await world.open('/agent/a'), await world.open('/agent/a', { ref: 'second' })]
    const other = await world.open('/agent/b')
    const tokens = [
      await world.mint('/agent/a', tasks[0]!),
      await world.mint('/agent/a', tasks[1]!),
      await world.mint('/agent/a', tasks[1]!),
    ]
    const others = await world.mint('/agent/b', other)
    const before = await one.sql('SELECT * FROM tasks WHERE id = $1', [other.id])

    const { block, ...counted } = await done({ principal: a, reason: 'SEC-42, its host is theirs' })
    expect(counted).toEqual({ dry_run: false, tasks: 2, credentials: 3 })
    expect(block).toMatchObject({
      principal: a,
      trust: null,
      everything: false,
      reason: 'SEC-42, its host is theirs',
      created_by: 'hallpass:bootstrap',
      until: null,
    })
    expect(await states(...tasks, other)).toEqual(['revoked', 'revoked', 'open'])
    for (const token of tokens) expect(await lives(token)).toEqual([false, false])
    expect(await lives(others)).toEqual([true, true])
    expect(await one.sql('SELECT * FROM tasks WHERE id = $1', [other.id])).toEqual(before)
    expect(await codes(() => world.as('/agent/b'), { task_id: other.id })).toEqual(['minted', 'minted'])

    // The record has a code, and not a word of the operator's.
    const rows = await record(...tasks, other)
    expect(rows.map(({ task_id }) => task_id).sort()).toEqual(tasks.map(({ id }) => id).sort())
    for (const row of rows) expect(row).toMatchObject({ state: 'closed', ver: 1, reason: 'revoked' })
    const longest = one.clock.now() + 18 * 60_000
    for (const { until } of rows) {
      expect(until.getTime()).toBeGreaterThanOrEqual(claimsOf(tokens[0]!).exp * 1000)
      expect(until.getTime()).toBeLessThanOrEqual(longest)
    }
    const [logged] = await world.decisions('?action=administer&limit=1')
    expect(logged).toMatchObject({
      decision: 'allow',
      principal: 'hallpass:bootstrap',
      asked: {
        revoke: { principal: a },
        reason: 'SEC-42, its host is theirs',
        dry_run: false,
        tasks: 2,
        credentials: 3,
        block: block?.id,
      },
    })
  })

  test('all of a trust source, jobs that were never opened included', async () => {
    const first = (await world.exchange(world.job({ run_id: '1' }))).body
    const agent = await world.open('/agent/b')
    const agents = await world.mint('/agent/b', agent)
    expect(await done({ trust: 'ci' })).toMatchObject({ tasks: 1, credentials: 1, block: { trust: 'ci' } })
    expect(await lives(first.access_token)).toEqual([false, false])
    expect(await lives(agents)).toEqual([true, true])
    expect(await codes(() => world.job({ run_id: '1' }))).toEqual(['blocked', 'blocked'])
    expect(await codes(() => world.job({ run_id: '2' }))).toEqual(['blocked', 'blocked'])
    expect(await codes(() => world.as('/agent/b'), { task_id: agent.id })).toEqual(['minted', 'minted'])
  })

  test('everything, suspended tasks included', async () => {
    const agent = await world.open('/agent/c')
    const suspended = await world.open('/agent/d')
    await world.act(world.as('/agent/d'), 'POST', `/v1/tasks/${suspended.id}/suspend`, {})
    const job = (await world.exchange(world.job({ run_id: '3' }))).body
    const token = await world.mint('/agent/c', agent)
    const { tasks, block } = await done({ everything: true })
    expect(tasks).toBeGreaterThanOrEqual(3)
    expect(block).toMatchObject({ principal: null, trust: null, everything: true })
    expect(await states(agent, suspended, { id: job.task_id })).toEqual(['revoked', 'revoked', 'revoked'])
    expect(await one.sql(`SELECT id FROM tasks WHERE state <> 'closed'`)).toEqual([])
    for (const dead of [token, job.access_token]) expect(await lives(dead)).toEqual([false, false])
    expect(await codes(() => world.job({ run_id: '4' }))).toEqual(['blocked', 'blocked'])
  })

  test('what is below the ended, whoever has it, and what the principal has below others', async () => {
    const tree = async (path: string, parent: Pick<Task, 'id'> | null, of: string) => {
      const { status, body, text } = await world.act(world.as(path), 'POST', '/v1/tasks', {
        kind: 'agent-run',
        ref: crypto.randomUUID(),
        ...(parent && { parent_id: parent.id }),
      })
      expect(status, text).toBe(201)
      // Policy lets nobody open for others here: the test does.
      await one.sql('UPDATE tasks SET principal = $2 WHERE id = $1', [body.id, of])
      return body
    }
    const p = 'spiffe://prod.example/agent/p'
    const q = 'spiffe://prod.example/agent/q'
    const root = await tree('/agent/q', null, q)
    const mine = await tree('/agent/q', root, p)
    // The owner of `mine` is another now: its children are opened by the test's own hand.
    const below = await tree('/agent/p', mine, q)
    await one.sql('UPDATE tasks SET principal = $2 WHERE id = $1', [below.id, p])
    const again = await tree('/agent/p', below, p)
    await one.sql('UPDATE tasks SET principal = $2 WHERE id = $1', [below.id, q])
    const beside = await tree('/agent/q', root, q)

    expect(await done({ principal: p })).toMatchObject({ tasks: 3, credentials: 0 })
    expect(await states(root, mine, below, again, beside)).toEqual([
      'open',
      'revoked',
      'parent_closed',
      'revoked',
      'open',
    ])
    expect((await record(root, mine, below, again, beside)).map(({ task_id }) => task_id)).toEqual([mine.id])
  })

  test('nothing where there is nothing, and blocks all the same', async () => {
    const [before] = await one.sql<{ seq: string }>('SELECT seq FROM revocation_counter')
    expect(await done({ principal: 'gone:repo:acme/old' })).toMatchObject({
      tasks: 0,
      credentials: 0,
      block: { principal: 'gone:repo:acme/old' },
    })
    expect(await one.sql('SELECT seq FROM revocation_counter')).toEqual([before])
  })

  test('what a trust source opened that is configured no more', async () => {
    const task = await world.open('/agent/a')
    await one.sql(`UPDATE tasks SET trust = 'formerly' WHERE id = $1`, [task.id])
    expect(await done({ trust: 'formerly', dry_run: true })).toMatchObject({ tasks: 1 })
    expect(await done({ trust: 'formerly' })).toMatchObject({ tasks: 1 })
    expect(await states(task)).toEqual(['revoked'])
  })

  test('in a dry run nothing: it only counts, and that it was asked is logged', async () => {
    const task = await world.open('/agent/a')
    const token = await world.mint('/agent/a', task)
    const expected = await one.sql(`SELECT id FROM tasks WHERE state <> 'closed'`)
    const before = await everything()
    for (const [selector, tasks] of [
      [{ principal: a }, 1],
      [{ trust: 'prod-example' }, expected.length],
      [{ everything: true }, expected.length],
    ] as const) {
      expect(await done({ ...selector, dry_run: true, reason: 'would it' })).toMatchObject({
        dry_run: true,
        tasks,
        block: null,
      })
      const [logged] = await world.decisions('?action=administer&limit=1')
      expect(logged).toMatchObject({
        decision: 'allow',
        asked: { revoke: selector, dry_run: true, reason: 'would it', tasks },
      })
    }
    expect(await everything()).toEqual(before)
    expect(await lives(token)).toEqual([true, true])
    expect((await opens('/agent/a')).status).toBe(201)
  })
})

describe('counts', () => {
  test('live credentials only: not the revoked, the expired, the outdated, or those below what is suspended', async () => {
    const task = await world.open('/agent/n', { context: { ticket: '1' }, bind: ['ticket'] })
    const parent = await world.open('/agent/n', { ref: 'parent' })
    const child = await world.open('/agent/n', { ref: 'child', parent_id: parent.id })
    const n = 'spiffe://prod.example/agent/n'
    const counted = async () => (await done({ principal: n, dry_run: true })).credentials
    expect(await counted()).toBe(0)

    await world.mint('/agent/n', task, { ttl: '60' })
    const revoked = await world.mint('/agent/n', task)
    await world.mint('/agent/n', child)
    expect(await counted()).toBe(3)
    one.clock.advance(61_000)
    expect(await counted()).toBe(2)
    await one.client.request('POST', '/oauth2/revoke', {
      token: world.as('/svc/deploy'),
      form: { token: revoked },
    })
    expect(await counted()).toBe(1)
    await world.mint('/agent/n', task)
    expect(await counted()).toBe(2)
    await world.act(world.as('/agent/n'), 'PATCH', `/v1/tasks/${task.id}/context`, { ticket: '2' })
    expect(await counted()).toBe(1)
    await world.act(world.as('/agent/n'), 'POST', `/v1/tasks/${parent.id}/suspend`, {})
    expect(await counted()).toBe(0)
    await world.act(world.as('/agent/n'), 'POST', `/v1/tasks/${parent.id}/resume`, {})
    expect(await counted()).toBe(1)
    expect(await done({ principal: n })).toMatchObject({ tasks: 3, credentials: 1 })
    expect(await counted()).toBe(0)
  })
})

describe('is refused', () => {
  const task = { principal: a }
  const past = '2020-01-01T00:00:00Z'

  test.each<[string, object, string[]]>([
    ['nobody is named', {}, ['/principal', '/trust', '/everything']],
    ['only a reason is given', { reason: 'x', dry_run: true }, ['/principal', '/trust', '/everything']],
    ['two are named', { principal: a, trust: 'ci' }, ['/principal', '/trust']],
    ['one and everything are named', { trust: 'ci', everything: true }, ['/trust', '/everything']],
    [
      'all are named',
      { principal: a, trust: 'ci', everything: true },
      ['/principal', '/trust', '/everything'],
    ],
    ['everything is false', { everything: false }, ['/everything']],
    ['everything is a word', { everything: 'true' }, ['/everything']],
    ['everything is null', { everything: null }, ['/everything']],
    ['a member is unknown', { everything: true, force: true }, ['/force']],
    ['the block would have passed', { ...task, until: past }, ['/until']],
    ['the block would have passed, in a dry run', { ...task, until: past, dry_run: true }, ['/until']],
    ['its end has no zone', { ...task, until: '2099-01-01T00:00:00' }, ['/until']],
    ['its end is null', { ...task, until: null }, ['/until']],
    ['dry_run is a word', { ...task, dry_run: 'yes' }, ['/dry_run']],
    ['the reason is long', { ...task, reason: 'r'.repeat(1025) }, ['/reason']],
    ['the principal is empty', { principal: '' }, ['/principal']],
    ['the principal is no principal', { principal: 'agent-a' }, ['/principal']],
    ['the principal has no subject', { principal: 'ci:' }, ['/principal']],
    ['the principal’s source is none', { principal: 'Ci:x' }, ['/principal']],
    ['the principal is no workload’s SPIFFE ID', { principal: 'spiffe://prod.example' }, ['/principal']],
    ['the SPIFFE ID is not canonical', { principal: 'spiffe://Prod.example/agent/a' }, ['/principal']],
    ['the principal is the bootstrap operator', { principal: 'hallpass:bootstrap' }, ['/principal']],
    ['the trust source is misspelt', { trust: 'github' }, ['/trust']],
    ['the trust source is misspelt, in a dry run', { trust: 'github', dry_run: true }, ['/trust']],
    ['the trust source is the bootstrap operator’s', { trust: 'hallpass' }, ['/trust']],
    ['the trust source is no name', { trust: 'CI' }, ['/trust']],
  ])('with each place where %s', async (_, json, places) => {
    const before = await everything()
    const { status, body } = await revoke(json)
    expect(status).toBe(422)
    expect(body.code).toBe('invalid')
    expect(body.errors?.map(({ path }) => path)).toEqual(places)
    expect(await everything()).toEqual(before)
    const [logged] = await world.decisions('?decision=deny&limit=1')
    expect(logged).toMatchObject({ code: 'invalid', principal: 'hallpass:bootstrap' })
  })

  test('to whoever may not administer: workloads, their tokens, operators without the right, strangers', async () => {
    const own = await world.open('/agent/a')
    const token = await world.mint('/agent/a', own, { audience: one.issuer })
    expect(await world.live(token)).toBe(true)
    const before = await everything()
    const askers: [string, string][] = [
      [world.as('/agent/a'), a],
      [token, a],
      [staff.signIn('bob', 'dev', one.clock.now()), 'staff:bob'],
    ]
    for (const [asker, principal] of askers)
      for (const json of [{ everything: true }, { principal: a, dry_run: true }]) {
        const { status, body } = await revoke(json, asker)
        expect([status, body.code]).toEqual([403, 'refused'])
        const [logged] = await world.decisions('?decision=deny&limit=1')
        expect(logged).toMatchObject({
          id: body.decision_id,
          action: 'administer',
          code: 'refused',
          principal,
        })
      }
    const stranger = await one.client.request('POST', '/v1/revocations', { json: { everything: true } })
    expect(stranger.status).toBe(401)
    expect(await everything()).toEqual(before)
  })
})

test('an operator who may, does', async () => {
  const task = await world.open('/agent/a')
  const { status, body } = await revoke({ principal: a, until: '2099-01-01T00:00:00+01:00' }, sre(), two)
  expect([status, body.block]).toEqual([
    200,
    expect.objectContaining({ created_by: 'staff:ada', until: '2098-12-31T23:00:00.000Z' }),
  ])
  expect(await states(task)).toEqual(['revoked'])
})

test('a second time it ends nothing, and blocks once more', async () => {
  await world.open('/agent/a')
  const first = await done({ principal: a })
  const second = await done({ principal: a })
  expect([first.tasks, second.tasks]).toEqual([1, 0])
  expect(first.block?.id).not.toBe(second.block?.id)
})

test('20,000 open tasks with a credential each end in one call, and others go on meanwhile', {
  timeout: 120_000,
}, async () => {
  await one.sql(
    `INSERT INTO tasks (id, trust, kind, ref, name_key, templated, purpose, principal, subject, state, context, bind, ver, rev,
        opened_at, deadline, parent_id, root_id, path)
      SELECT id, 'prod-example', 'agent-run', n::text, sha256(n::text::bytea), false, null, $1, $1, 'open', '{}', '{}', 1, 1,
        $2, $2::timestamptz + interval '1 hour', null, id, '{}'
      FROM (SELECT n, uuidv7() AS id FROM generate_series(1, 20000) AS n) AS new`,
    [a, new Date(one.clock.now())],
  )
  await one.sql(
    `INSERT INTO credentials (jti, task_id, task_ver, type, scope, audience, kid, decision_id, issued_at, expires_at)
      SELECT uuidv7(), t.id, 1, 'jwt', 'deploy:prod', ARRAY[$2], k.kid, gen_random_uuid(), $3::timestamptz, $3::timestamptz + interval '5 min'
      FROM tasks t, (SELECT kid FROM signing_keys LIMIT 1) AS k WHERE t.principal = $1 AND t.state = 'open'`,
    [a, deploy, new Date(one.clock.now())],
  )
  const other = await world.open('/agent/b')
  let revoking = true
  const meanwhile = (async () => {
    const answers: number[] = []
    while (revoking)
      answers.push((await world.exchange(world.as('/agent/b'), { task_id: other.id }, two)).status)
    return answers
  })()
  expect(await done({ principal: a, dry_run: true })).toMatchObject({ tasks: 20_000, credentials: 20_000 })
  expect(await done({ principal: a })).toMatchObject({ tasks: 20_000, credentials: 20_000 })
  revoking = false
  expect(new Set(await meanwhile)).toEqual(new Set([200]))
  const [rows] = await one.sql<{ n: number; first: string; last: string }>(
    `SELECT count(*)::int AS n, max(seq) - min(seq) + 1 AS span FROM revocations r JOIN tasks t ON t.id = r.task_id WHERE t.principal = $1
      AND t.closed_at = (SELECT max(closed_at) FROM tasks)`,
    [a],
  )
  expect(rows).toEqual({ n: 20_000, span: '20000' })
  const [counter] = await one.sql(
    'SELECT c.seq = (SELECT max(seq) FROM revocations) AS agrees FROM revocation_counter c',
  )
  expect(counter).toEqual({ agrees: true })
})

test('several at once each end their own, and the record has each end once, in the order of commits', async () => {
  const paths = Array.from({ length: 12 }, (_, i) => `/agent/at-once-${i}`)
  const tasks = await Promise.all(paths.map(path => world.open(path)))
  const [before] = await one.sql<{ seq: string }>('SELECT seq FROM revocation_counter')
  const results = await Promise.all(tasks.map(({ principal }) => done({ principal })))
  expect(results.map(result => result.tasks)).toEqual(tasks.map(() => 1))
  const rows = await one.sql<{ task_id: string; seq: string }>(
    'SELECT task_id, seq FROM revocations WHERE seq > $1 ORDER BY seq',
    [before?.seq],
  )
  expect(rows.map(row => row.task_id).sort()).toEqual(tasks.map(({ id }) => id).sort())
  expect(rows.map(row => Number(row.seq))).toEqual(rows.map((_, i) => Number(before?.seq) + 1 + i))
})

test('it gets in where tasks are opened without a pause', async () => {
  const sessions = await Promise.all(
    Array.from({ length: 4 }, async () => {
      const session = new pg.Client({ connectionString: one.databaseUrl })
      await session.connect()
      return session
    }),
  )
  let ended = false
  let held = 0
  // As an opening does it; each begins before the one before has ended.
  const openings = sessions.map(async (session, i) => {
    await setTimeout(i * 10)
    while (!ended) {
      await session.query('BEGIN')
      await session.query('SELECT generation FROM block_gate FOR SHARE')
      await setTimeout(40)
      await session.query('COMMIT')
      held++
    }
  })
  try {
    await expect.poll(() => held).toBeGreaterThan(8)
    const before = held
    await done({ principal: a })
    // Those that held it then, and hardly more: in the row's own queue it waited for hundreds.
    expect(held - before).toBeLessThan(30)
  } finally {
    ended = true
    await Promise.all(openings)
    await Promise.all(sessions.map(session => session.end()))
  }
})

test('what was minted while it waited is dead for as long as it could live, and the record tells of it', async () => {
  const task = await world.open('/agent/a')
  const other = new pg.Client({ connectionString: one.databaseUrl })
  await other.connect()
  await other.query('BEGIN')
  await other.query('SELECT FROM tasks WHERE id = $1 FOR SHARE', [task.id])
  const revoking = done({ principal: a })
  await expect
    .poll(() =>
      one.sql(`SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()`),
    )
    .toHaveLength(1)
  // As long as a reservation that holds the task may take, and longer.
  one.clock.advance(5 * 60_000)
  const token = await world.mint('/agent/a', task, { ttl: '900' })
  await other.query('COMMIT')
  await other.end()
  expect(await revoking).toMatchObject({ tasks: 1, credentials: 1 })
  expect(await lives(token)).toEqual([false, false])
  expect((await record(task))[0]?.until.getTime()).toBeGreaterThanOrEqual(claimsOf(token).exp * 1000)
})

test('it is begun anew where it and another wait for each other', async () => {
  const [first, second] = [await world.open('/agent/a'), await world.open('/agent/a', { ref: 'later' })]
  // Somebody who holds the later of two trees, and goes on to want the earlier.
  const other = new pg.Client({ connectionString: one.databaseUrl })
  await other.connect()
  try {
    await other.query('BEGIN')
    await other.query('SELECT FROM tasks WHERE id = $1 FOR SHARE', [second.id])
    const revoking = done({ principal: a })
    await expect
      .poll(() =>
        one.sql(
          `SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()`,
        ),
      )
      .toHaveLength(1)
    await other.query('SELECT FROM tasks WHERE id = $1 FOR SHARE', [first.id])
    await other.query('COMMIT')
    expect(await revoking).toMatchObject({ tasks: 2 })
  } finally {
    await other.end()
  }
  expect(await states(first, second)).toEqual(['revoked', 'revoked'])
  expect(await one.sql('SELECT id FROM blocks')).toHaveLength(1)
})
