import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Task } from '../../src/http/openapi.generated.d.ts'
import { fromGithub, hook, signed } from '../support/authorities.ts'
import { allowAll, ciSource, startTestBroker, type TestBroker } from '../support/broker.ts'
import { startIssuer, type TestIssuer } from '../support/issuer.ts'
import { jobClaims, mint, minted, pick, subjectClaims } from '../support/scene.ts'

let ci: TestIssuer
let twin: TestIssuer
let broker: TestBroker
let replica: TestBroker
beforeAll(async () => {
  ci = await startIssuer()
  twin = await startIssuer()
  broker = await startTestBroker({
    trust: [ciSource(ci.issuer, { name: 'github' }), ciSource(twin.issuer, { name: 'twin' })],
    policies: `${allowAll}
@id("operators-open") permit (principal is Operator, action == Action::"open", resource);`,
    config: {
      hooks: [
        hook('github', {
          trust: 'github',
          ref: '{repository}/runs/{run_id}/attempts/{run_attempt}/jobs/{check_run_id}',
        }),
        hook('generic', {
          name: 'any',
          trust: 'github',
          ref: '{name}',
          state: { path: 'state', completed: ['over'], failed: [], cancelled: [] },
        }),
      ],
    },
  })
  replica = await broker.replica()
})
afterAll(async () => {
  await replica?.close()
  await broker?.close()
  await ci?.close()
  await twin?.close()
})

let n = 1_000_000
let run = 0
beforeEach(() => {
  run = ++n
})

const claimsOf = (check_run_id: number, claims = {}) =>
  jobClaims(String(run), { check_run_id: String(check_run_id), ...claims })
const job = (check_run_id: number, claims = {}) => ci.sign(claimsOf(check_run_id, claims))
const runOver = (changes: Record<string, unknown> = {}, on = broker) =>
  fromGithub(on, 'workflow_run', { 'workflow_run.id': run, ...changes })
const jobOver = (id: number, on = broker) =>
  fromGithub(on, 'workflow_job', { 'workflow_job.run_id': run, 'workflow_job.id': id })
const reasonOf = async (id: string) =>
  (await broker.client.request<Task>('GET', `/v1/tasks/${id}`, { token: await broker.operatorToken() })).body
    .close_reason

describe('a run that is over', () => {
  test('ends every job of that attempt, and no other', async () => {
    const mine = await Promise.all([1, 2, 3].map(id => minted(broker, job(id))))
    const others = await Promise.all([
      minted(broker, job(1, { run_attempt: '2' })),
      minted(broker, job(1, { run_attempt: '11' })),
      minted(broker, job(1, { run_id: `${run}0` })),
      minted(broker, job(1, { repository: 'acme/api/runs' })),
      minted(broker, twin.sign(claimsOf(1))),
    ])
    expect((await jobOver(1)).body).toMatchObject({ ended: 1 })
    expect((await runOver()).body).toEqual({ ended: 2, remembered: 1, unchanged: 0 })
    expect(await Promise.all(mine.map(({ task_id }) => reasonOf(task_id)))).toEqual([
      'failed',
      'cancelled',
      'cancelled',
    ])
    expect(await Promise.all(others.map(({ task_id }) => reasonOf(task_id)))).toEqual(others.map(() => null))
    expect((await runOver()).body).toEqual({ ended: 0, remembered: 0, unchanged: 1 })
  })

  test('lets no job of it begin that comes later, on any replica, through any door', async () => {
    expect((await runOver()).body).toEqual({ ended: 0, remembered: 1, unchanged: 0 })
    const later = await broker.replica()
    try {
      for (const on of [broker, replica, later]) {
        expect((await mint(on, job(1))).body).toMatchObject({ error: 'invalid_grant', code: 'task_closed' })
        const opened = await on.client.request<{ code: string }>('POST', '/v1/tasks', {
          token: job(2),
          json: {},
        })
        expect([opened.status, opened.body.code]).toEqual([409, 'task_closed'])
      }
    } finally {
      await later.close()
    }
    // Nothing is left of them, and a refusal is in the log.
    expect(await broker.sql('SELECT 1 FROM tasks WHERE ref LIKE $1', [`%/runs/${run}/%`])).toEqual([])
    const rows = await broker.sql(
      `SELECT code, reason FROM decisions WHERE asked->>'ref' LIKE $1 AND decision = 'deny'`,
      [`acme%2Fapi/runs/${run}/%`],
    )
    expect(rows.length).toBeGreaterThanOrEqual(6)
    expect(new Set(rows.map(({ code }) => code))).toEqual(new Set(['task_closed']))
  })

  test('nor one that an operator opens in a job’s name', async () => {
    await runOver()
    const open = async (attempt: number) =>
      broker.client.request<{ code: string }>('POST', '/v1/tasks', {
        token: await broker.operatorToken(),
        json: {
          kind: 'ci-job',
          ref: `acme%2Fapi/runs/${run}/attempts/${attempt}/jobs/1`,
          principal: 'github:repo:acme/api:ref:refs/heads/main',
        },
      })
    expect((await open(1)).body.code).toBe('task_closed')
    expect((await open(2)).status).toBe(201)
  })

  test('of another attempt, run or repository, is no obstacle', async () => {
    await runOver()
    for (const claims of [{ run_attempt: '2' }, { run_id: `${run}1` }, { repository: 'acme/web' }])
      expect((await mint(broker, job(1, claims))).status).toBe(200)
    expect((await mint(broker, twin.sign(claimsOf(1)))).status).toBe(200)
  })

  test('and whose end a job told first is remembered all the same', async () => {
    expect((await jobOver(1)).body).toMatchObject({ remembered: 1 })
    expect((await runOver()).body).toMatchObject({ remembered: 1 })
    expect((await jobOver(2)).body).toMatchObject({ remembered: 1 })
    expect((await mint(broker, job(3))).body.code).toBe('task_closed')
  })

  test('that goes on is not over', async () => {
    const { task_id } = await minted(broker, job(1))
    for (const action of ['requested', 'in_progress'])
      expect((await runOver({ action })).body).toMatchObject({
        ended: 0,
        remembered: 0,
        ignored: expect.any(String),
      })
    expect(await reasonOf(task_id)).toBeNull()
  })

  test('is forgotten after the retention', async () => {
    await runOver()
    const [{ count: before } = { count: 0 }] = await broker.sql(
      'SELECT count(*) FROM task_names WHERE task_id IS NULL',
    )
    broker.clock.advance(91 * 86_400_000)
    await broker.sweep()
    expect(Number(before)).toBeGreaterThan(0)
    expect(await broker.sql('SELECT 1 FROM task_names WHERE task_id IS NULL')).toEqual([])
  })
})

/** An attestation as fresh as the broker's clock, which earlier tests have moved. */
const fresh = (id: number, claims = {}) => job(id, { now: broker.clock.now(), ...claims })

describe('an end and the first call of its job, at the same moment', () => {
  const rounds = 60

  /** What must hold whoever was first: the job was told an end, or has a task that is closed; never an open one. */
  async function settled(ids: number[]): Promise<{ closed: number; refused: number }> {
    let [closed, refused] = [0, 0]
    for (const id of ids) {
      const states = await broker.sql<{ state: string; close_reason: string }>(
        'SELECT state, close_reason FROM tasks WHERE ref = $1',
        [`acme%2Fapi/runs/${run}/attempts/1/jobs/${id}`],
      )
      expect(states.length).toBeLessThanOrEqual(1)
      for (const { state } of states) expect(state).toBe('closed')
      if (states.length === 1) closed++
      else refused++
      expect((await mint(pick([broker, replica]), fresh(id))).body.code).toBe('task_closed')
    }
    return { closed, refused }
  }

  test('one of them is first: the job has a task that ends, or none', async () => {
    const seen = { closed: 0, refused: 0 }
    for (let round = 0; round < rounds; round++) {
      run = ++n
      const replies = await Promise.all([
        ...[1, 2].map(async () => {
          await new Promise(resolve => setTimeout(resolve, Math.random() * 8))
          return mint(pick([broker, replica]), fresh(1))
        }),
        new Promise(resolve => setTimeout(resolve, Math.random() * 24)).then(() =>
          jobOver(1, pick([broker, replica])),
        ),
      ])
      for (const { status } of replies) expect([200, 400]).toContain(status)
      const { closed, refused } = await settled([1])
      seen.closed += closed
      seen.refused += refused
    }
    // Both must have happened, or nothing was raced.
    expect(Math.min(seen.closed, seen.refused)).toBeGreaterThan(0)
  })

  test('the same of a run and its many jobs', async () => {
    const seen = { closed: 0, refused: 0 }
    const ids = [1, 2, 3, 4, 5, 6]
    for (let round = 0; round < rounds / 2; round++) {
      run = ++n
      const replies = await Promise.all([
        ...ids.map(async id => {
          await new Promise(resolve => setTimeout(resolve, Math.random() * 12))
          return mint(pick([broker, replica]), fresh(id))
        }),
        new Promise(resolve => setTimeout(resolve, Math.random() * 32)).then(() =>
          runOver({}, pick([broker, replica])),
        ),
      ])
      for (const { status } of replies) expect([200, 400]).toContain(status)
      const { closed, refused } = await settled(ids)
      seen.closed += closed
      seen.refused += refused
    }
    expect(Math.min(seen.closed, seen.refused)).toBeGreaterThan(0)
  })

  test('and of many runs whose jobs are opened together, none waits for another for ever', async () => {
    const runs = Array.from({ length: 20 }, () => ++n)
    const work = runs.flatMap(id => {
      const claims = { run_id: String(id) }
      return [
        ...[1, 2, 3].map(check => () => mint(pick([broker, replica]), fresh(check, claims))),
        () => runOver({ 'workflow_run.id': id }, pick([broker, replica])),
        () => runOver({ 'workflow_run.id': id }, pick([broker, replica])),
      ]
    })
    const replies = await Promise.all(work.toSorted(() => Math.random() - 0.5).map(one => one()))
    for (const { status } of replies) expect([200, 400]).toContain(status)
    expect(
      await broker.sql(`SELECT ref FROM tasks WHERE state <> 'closed' AND ref ~ $1`, [
        `/runs/(${runs.join('|')})/`,
      ]),
    ).toEqual([])
  })
})

test('a hook of another kind, of a source with a template, remembers ends under the names that it makes', async () => {
  const name = `acme%2Fapi/runs/${run}/attempts/1/jobs/7`
  // Percent-encoded once more: what it tells can be no part of a template.
  const told = await signed(broker, 'any', { name: `x${run}`, state: 'over' })
  expect(told.body).toMatchObject({ remembered: 1 })
  expect((await signed(broker, 'any', { name, state: 'over' })).body).toMatchObject({ remembered: 1 })
  expect((await mint(broker, fresh(7))).status).toBe(200)
})

test('a template that starts like the run’s, and holds dots, stars and brackets, is taken by the letter', async () => {
  const own = await startTestBroker({
    trust: [
      ciSource(ci.issuer, {
        name: 'github',
        task: { kind: 'ci-job', ref: '[{repository}].*({run_id})+{run_attempt}$/{check_run_id}', bind: [] },
      }),
    ],
    config: {
      hooks: [
        hook('github', { trust: 'github', ref: '[{repository}].*({run_id})+{run_attempt}$/{check_run_id}' }),
      ],
    },
  })
  try {
    const sign = (claims: Record<string, unknown>) =>
      ci.sign(
        subjectClaims('x', {
          repository: 'acme/api',
          run_id: '5',
          run_attempt: '1',
          check_run_id: '1',
          ...claims,
        }),
      )
    const first = await minted(own, sign({}))
    expect((await fromGithub(own, 'workflow_run', { 'workflow_run.id': 5 })).body).toEqual({
      ended: 1,
      remembered: 1,
      unchanged: 0,
    })
    expect(await own.sql('SELECT state FROM tasks WHERE id = $1', [first.task_id])).toEqual([
      { state: 'closed' },
    ])
    expect((await mint(own, sign({ check_run_id: '2' }))).body.code).toBe('task_closed')
    expect((await mint(own, sign({ run_attempt: '2' }))).status).toBe(200)
  } finally {
    await own.close()
  }
})
