import pg from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { allowAll } from '../support/broker.ts'
import type { Reply } from '../support/client.ts'
import {
  act,
  claimsOf,
  headerOf,
  isActive,
  mint,
  minted,
  opened,
  patchContext,
  type Scene,
  startScene,
  tokenForm,
} from '../support/scene.ts'

const policies = `${allowAll}
  @id("no-root") forbid (principal, action == Action::"mint", resource == Scope::"root");
  @id("no-stranger") forbid (principal == Workload::"agent:stranger", action == Action::"read", resource);
  @id("reads-only") forbid (principal == Workload::"agent:reader", action, resource) unless { action == Action::"read" };`

let scene: Scene
beforeAll(async () => {
  scene = await startScene({
    policies,
    config: { listen: { host: '127.0.0.1', port: 0, metricsPort: 0, mtls: null, trustedProxies: [] } },
  })
})
afterAll(() => scene?.close())

type Body = { code?: string; decision_id?: string }
const v1 = (method: string, path: string, options: object) =>
  scene.broker.client.request<Body>(method, path, options)

/** A task of `agent:owner` with one credential. */
async function ownTask(more: Record<string, unknown> = {}) {
  const owner = scene.agent('owner')
  const task = await opened(scene.broker, owner, more)
  const { access_token: token } = await minted(scene.broker, owner, { task_id: task.id })
  return { owner, id: task.id, token, jti: claimsOf(token).jti }
}

const refusals: [string, () => Promise<Reply<Body>>][] = [
  ['a scope that policy forbids', () => mint(scene.broker, scene.job(), { scope: 'root' })],
  [
    'too many scopes for its audiences',
    () =>
      mint(scene.broker, scene.job(), {
        scope: Array.from({ length: 17 }, (_, i) => `s${i}`).join(' '),
        audience: ['https://a.example', 'https://b.example'],
      }),
  ],
  ['no task_id', () => mint(scene.broker, scene.agent('owner'))],
  [
    'a task that is not there',
    () => mint(scene.broker, scene.agent('owner'), { task_id: crypto.randomUUID() }),
  ],
  [
    'a client_id that is not the caller’s',
    () => mint(scene.broker, scene.job(), { client_id: 'agent:somebody' }),
  ],
  ['another’s task', async () => mint(scene.broker, scene.agent('other'), { task_id: (await ownTask()).id })],
  [
    'a closed task',
    async () => {
      const { owner, id } = await ownTask()
      await act(scene.broker, owner, id, 'close')
      return mint(scene.broker, owner, { task_id: id })
    },
  ],
  [
    'a suspended task',
    async () => {
      const { owner, id } = await ownTask()
      await act(scene.broker, owner, id, 'suspend')
      return mint(scene.broker, owner, { task_id: id })
    },
  ],
  [
    'an old task_ver',
    async () => {
      const { owner, id } = await ownTask({ context: { ticket: '1' }, bind: ['ticket'] })
      await patchContext(scene.broker, owner, id, { ticket: '2' })
      return mint(scene.broker, owner, { task_id: id, task_ver: '1' })
    },
  ],
  [
    'drift',
    async () => {
      await minted(scene.broker, scene.job('drifting'))
      return mint(scene.broker, scene.job('drifting', { sha: 'other' }))
    },
  ],
  [
    'audiences that cannot be together',
    () => mint(scene.broker, scene.job(), { audience: ['https://hallpass.test', 'https://b.example'] }),
  ],
  [
    'reading what is not there',
    () => v1('GET', `/v1/tasks/${crypto.randomUUID()}`, { token: scene.agent('owner') }),
  ],
  ['reading what has no ID', () => v1('GET', '/v1/tasks/none', { token: scene.agent('owner') })],
  [
    'reading unseen',
    async () => v1('GET', `/v1/tasks/${(await ownTask()).id}`, { token: scene.agent('stranger') }),
  ],
  [
    'reading a credential unseen',
    async () => v1('GET', `/v1/credentials/${(await ownTask()).jti}`, { token: scene.agent('stranger') }),
  ],
  [
    'closing without the right',
    async () => act(scene.broker, scene.agent('reader'), (await ownTask()).id, 'close'),
  ],
  [
    'revoking without the right',
    async () =>
      v1('POST', `/v1/credentials/${(await ownTask()).jti}/revoke`, {
        token: scene.agent('reader'),
        json: {},
      }),
  ],
  [
    'revoking a token without the right',
    async () =>
      v1('POST', '/oauth2/revoke', {
        token: scene.agent('reader'),
        form: { token: (await ownTask()).token },
      }),
  ],
  [
    'resuming what is open',
    async () => {
      const { owner, id } = await ownTask()
      return act(scene.broker, owner, id, 'resume')
    },
  ],
  [
    'an outcome for operators',
    async () => {
      const { owner, id } = await ownTask()
      return act(scene.broker, owner, id, 'close', { outcome: 'risk' })
    },
  ],
  [
    'If-Match that does not',
    async () => {
      const { owner, id } = await ownTask()
      return v1('PATCH', `/v1/tasks/${id}/context`, {
        token: owner,
        json: { a: 'b' },
        headers: { 'If-Match': '"99"' },
      })
    },
  ],
  [
    'opening without the right',
    () => v1('POST', '/v1/tasks', { token: scene.agent('reader'), json: { kind: 'agent-run', ref: 'r' } }),
  ],
  [
    'opening in another’s name',
    () =>
      v1('POST', '/v1/tasks', {
        token: scene.agent('owner'),
        json: { kind: 'agent-run', ref: 'r', principal: 'agent:other' },
      }),
  ],
  [
    'opening another job’s task',
    () =>
      v1('POST', '/v1/tasks', { token: scene.job(), json: { ref: 'acme%2Fapi/runs/1/attempts/1/jobs/1' } }),
  ],
  [
    'a body of the wrong shape',
    () => v1('POST', '/v1/tasks', { token: scene.agent('owner'), json: { kind: 7 } }),
  ],
  [
    'a body that is no JSON',
    () =>
      v1('POST', '/v1/tasks', {
        token: scene.agent('owner'),
        body: '{',
        headers: { 'Content-Type': 'application/json' },
      }),
  ],
  ['a cursor that is none', () => v1('GET', '/v1/tasks?cursor=x', { token: scene.agent('owner') })],
  ['the decision log', () => v1('GET', '/v1/decisions', { token: scene.agent('owner') })],
  ['the keys', () => v1('GET', '/v1/keys', { token: scene.agent('owner') })],
  ['rotating the keys', () => v1('POST', '/v1/keys/rotate', { token: scene.agent('owner'), json: {} })],
  [
    'withdrawing a key',
    () => v1('POST', '/v1/keys/some-kid/withdraw', { token: scene.agent('owner'), json: {} }),
  ],
  [
    'revoking everything',
    () => v1('POST', '/v1/revocations', { token: scene.agent('owner'), json: { everything: true } }),
  ],
  [
    'revoking of nobody',
    () => v1('POST', '/v1/revocations', { token: scene.agent('owner'), json: { dry_run: true } }),
  ],
  ['the blocks', () => v1('GET', '/v1/blocks', { token: scene.agent('owner') })],
  [
    'lifting a block',
    () => v1('DELETE', `/v1/blocks/${crypto.randomUUID()}`, { token: scene.agent('owner') }),
  ],
  [
    'a Hallpass token that opens',
    async () => {
      const { access_token } = await minted(scene.broker, scene.job(), { audience: 'https://hallpass.test' })
      return v1('POST', '/v1/tasks', { token: access_token, json: { kind: 'agent-run', ref: 'r' } })
    },
  ],
]

it.each(refusals)('invariant 4: the refusal of %s is in the log when it is answered', async (_, refuse) => {
  const { status, headers, body } = await refuse()
  const rows = await scene.broker.sql(
    `SELECT id, decision, code, principal FROM decisions WHERE request_id = $1 AND decision = 'deny'`,
    [headers.get('X-Request-Id')],
  )
  expect(status).toBeGreaterThanOrEqual(400)
  expect(rows).toEqual([
    {
      id: body.decision_id,
      decision: 'deny',
      code: body.code,
      principal: expect.stringMatching(/^(agent|ci):/),
    },
  ])
})

it('invariant 4: an introspection that is not the asker’s business is in the log when it is answered', async () => {
  const { token, jti } = await ownTask()
  expect(await isActive(scene.broker, scene.agent('reader'), token)).toBe(false)
  expect(
    await scene.broker.sql(
      `SELECT principal FROM decisions WHERE jti = $1 AND action = 'introspect' AND decision = 'deny'`,
      [jti],
    ),
  ).toEqual([{ principal: 'agent:reader' }])
})

it('invariant 4: a reuse is in the log when it is answered', async () => {
  const once = await startScene({ reuse: 'once' })
  const attestation = once.job()
  const { task_id } = await minted(once.broker, attestation)
  for (const { headers, body } of [
    await mint(once.broker, attestation),
    await act(once.broker, attestation, task_id, 'close'),
  ])
    expect(
      await once.broker.sql('SELECT code, principal FROM decisions WHERE request_id = $1', [
        headers.get('X-Request-Id'),
      ]),
    ).toEqual([{ code: body.code, principal: 'ci:repo:acme/api:ref:refs/heads/main' }])
  await once.close()
})

it('invariant 4: credential and decision, end and decision are of one transaction', async () => {
  const { owner, id, jti } = await ownTask({ context: { ticket: '1' }, bind: ['ticket'] })
  await Promise.all(Array.from({ length: 20 }, () => minted(scene.broker, owner, { task_id: id })))
  await v1('POST', `/v1/credentials/${jti}/revoke`, { token: owner, json: {} })
  await patchContext(scene.broker, owner, id, { ticket: '2' })
  await act(scene.broker, owner, id, 'close')
  const apart = await scene.broker.sql(
    `SELECT c.jti FROM credentials c LEFT JOIN decisions d
      ON d.jti = c.jti AND d.action = 'mint' AND d.decision = 'allow' AND (d.xmin = c.xmin OR c.revoked_at IS NOT NULL)
      WHERE d.id IS NULL`,
  )
  expect(apart).toEqual([])
  const ends = await scene.broker.sql(
    `SELECT d.action FROM revocations r JOIN decisions d ON d.xmin = r.xmin WHERE r.task_id = $1 OR r.jti = $2 ORDER BY r.seq`,
    [id, jti],
  )
  expect(ends.map(({ action }) => action)).toEqual(['revoke', 'change_context', 'close'])
})

describe('without a log', () => {
  const states = (id: string) =>
    scene.broker.sql(
      `SELECT state, ver, rev, (SELECT count(*)::int FROM credentials WHERE task_id = $1) AS credentials,
        (SELECT count(*)::int FROM credentials WHERE task_id = $1 AND revoked_at IS NOT NULL) AS revoked,
        (SELECT count(*)::int FROM revocations) AS revocations, (SELECT count(*)::int FROM tasks) AS tasks,
        (SELECT count(*)::int FROM signing_keys) AS keys,
        (SELECT count(*)::int FROM signing_keys WHERE withdrawn_at IS NOT NULL) AS withdrawn,
        (SELECT count(*)::int FROM blocks) AS blocks, (SELECT generation FROM block_gate) AS generation
        FROM tasks WHERE id = $1`,
      [id],
    )

  /** Everything that answers only with a row. */
  const asked = async () => {
    const { owner, id, token, jti } = await ownTask()
    const operator = await scene.broker.operatorToken()
    const { kid } = headerOf(token)
    const block = crypto.randomUUID()
    await scene.broker.sql(
      `INSERT INTO blocks (id, principal, everything, created_at, created_by) VALUES ($1, 'agent:nobody', false, now(), 'x')`,
      [block],
    )
    const calls: (() => Promise<Response>)[] = [
      () => send('POST', '/oauth2/token', owner, { form: tokenForm(owner, { task_id: id }) }),
      () => send('POST', '/oauth2/token', owner, { form: tokenForm(scene.job()) }),
      () => send('POST', '/oauth2/token', owner, { form: tokenForm(owner, { task_id: id, scope: 'root' }) }),
      () =>
        send('POST', `/v1/tasks/${id}/credentials`, owner, {
          json: { type: 'jwt', scope: 'a', audience: 'b' },
        }),
      () => send('POST', '/oauth2/introspect', scene.agent('service'), { form: { token } }),
      () => send('POST', '/oauth2/introspect', scene.agent('reader'), { form: { token } }),
      () => send('POST', '/oauth2/revoke', owner, { form: { token } }),
      () => send('POST', '/v1/tasks', owner, { json: { kind: 'agent-run', ref: 'unlogged' } }),
      () => send('GET', '/v1/tasks', owner),
      () => send('GET', `/v1/tasks/${id}`, owner),
      () => send('GET', `/v1/tasks/${id}`, scene.agent('stranger')),
      () => send('PATCH', `/v1/tasks/${id}/context`, owner, { json: { a: 'b' } }),
      () => send('POST', `/v1/tasks/${id}/suspend`, owner, { json: {} }),
      () => send('POST', `/v1/tasks/${id}/heartbeat`, owner, { json: {} }),
      () => send('POST', `/v1/tasks/${id}/close`, owner, { json: {} }),
      () => send('GET', `/v1/tasks/${id}/credentials`, owner),
      () => send('GET', `/v1/credentials/${jti}`, owner),
      () => send('POST', `/v1/credentials/${jti}/revoke`, owner, { json: {} }),
      () => send('GET', '/v1/decisions', operator),
      () => send('GET', '/v1/keys', operator),
      () => send('POST', '/v1/keys/rotate', operator, { json: {} }),
      () => send('POST', `/v1/keys/${kid}/withdraw`, operator, { json: {} }),
      () => send('POST', '/v1/revocations', operator, { json: { everything: true } }),
      () => send('POST', '/v1/revocations', operator, { json: { everything: true, dry_run: true } }),
      () => send('GET', '/v1/blocks', operator),
      () => send('DELETE', `/v1/blocks/${block}`, operator),
    ]
    return { id, calls }
  }

  const send = (method: string, path: string, token: string, body: { json?: object; form?: object } = {}) => {
    const form = Object.entries(body.form ?? {}) as [string, string][]
    const authorization = path === '/oauth2/token' ? {} : { Authorization: `Bearer ${token}` }
    const type = method === 'PATCH' ? 'application/merge-patch+json' : 'application/json'
    return fetch(scene.broker.url + path, {
      method,
      headers: { ...authorization, ...(body.json && { 'Content-Type': type }) },
      ...(body.json && { body: JSON.stringify(body.json) }),
      ...(body.form && { body: new URLSearchParams(form) }),
    })
  }

  it.each([
    ['is full', 'disk_full', 503],
    ['may not be written', 'insufficient_privilege', 500],
  ])('invariant 4: a log that %s is no answer, no credential and no change', async (_, code, expected) => {
    const { broker } = scene
    const { id, calls } = await asked()
    const before = await states(id)
    await broker.sql(`CREATE FUNCTION no_log() RETURNS trigger LANGUAGE plpgsql AS
      $$ BEGIN RAISE EXCEPTION 'no log' USING ERRCODE = '${code}'; END $$`)
    await broker.sql(
      'CREATE TRIGGER no_log BEFORE INSERT ON decisions FOR EACH ROW EXECUTE FUNCTION no_log()',
    )
    try {
      for (const call of calls) {
        const response = await call()
        const text = await response.text()
        expect({ url: response.url, status: response.status }).toEqual({
          url: response.url,
          status: expected,
        })
        if (expected === 503) expect(response.headers.get('Retry-After')).toBe('1')
        expect(text).not.toMatch(/access_token|items|no log|"active"|decision_id/)
      }
    } finally {
      await broker.sql('DROP FUNCTION no_log CASCADE')
    }
    expect(await states(id)).toEqual(before)
    // The log is back, and so is the service.
    expect((await mint(broker, scene.agent('owner'), { task_id: id })).status).toBe(200)
  })

  it('invariant 4: while the log is held up, nothing is answered; what was not logged in time is not answered at all', async () => {
    const { broker } = scene
    const { id } = await asked()
    const holder = new pg.Client({ connectionString: broker.databaseUrl })
    await holder.connect()
    await holder.query('BEGIN')
    await holder.query('LOCK TABLE decisions IN SHARE ROW EXCLUSIVE MODE')
    const owner = scene.agent('owner')
    let answered = 0
    const waiting = [
      mint(broker, owner, { task_id: id }),
      mint(broker, scene.job(), { scope: 'root' }),
      v1('GET', `/v1/tasks/${id}`, { token: scene.agent('stranger') }),
    ].map(answer => answer.finally(() => answered++))
    await new Promise(resolve => setTimeout(resolve, 300))
    expect(answered).toBe(0)
    await holder.query('COMMIT')
    const statuses = (await Promise.all(waiting)).map(({ status }) => status)
    expect(statuses).toEqual([200, 400, 404])

    await holder.query('BEGIN')
    await holder.query('LOCK TABLE decisions IN SHARE ROW EXCLUSIVE MODE')
    const late = await mint(broker, owner, { task_id: id })
    await holder.query('COMMIT')
    await holder.end()
    expect(late.status).toBe(503)
    expect(late.headers.get('Retry-After')).toBe('1')
    expect((await states(id))[0]).toMatchObject({ credentials: 2 })
  })
})

it('invariant 4: a flood of callers who prove nothing is counted in full and writes a bounded number of rows and lines', async () => {
  const { broker } = scene
  const count = async () => {
    const text = await (await fetch(broker.metricsUrl as string)).text()
    const lines = text.split('\n').filter(line => line.startsWith('hallpass_unproven_total{'))
    return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0)
  }
  const rows = async () =>
    (await broker.sql<{ n: number }>(`SELECT count(*)::int AS n FROM decisions WHERE action = 'attest'`))[0]!
      .n
  const before = { count: await count(), rows: await rows(), lines: broker.logged.length }

  const start = performance.now()
  const forged = (i: number) => scene.job(`flood-${i}`).replace(/.{86}$/, 'A'.repeat(86))
  const presented: ((i: number) => Promise<Reply<Body>>)[] = [
    () => v1('GET', '/v1/tasks', {}),
    i => v1('GET', '/v1/tasks', { token: `nonsense-${i}` }),
    i => v1('GET', '/v1/tasks', { token: forged(i) }),
    i => mint(broker, forged(i)),
    i => mint(broker, `a.b.${i}`),
  ]
  for (let wave = 0; wave < 10; wave++) {
    const answers = await Promise.all(Array.from({ length: 50 }, (_, i) => presented[i % 5]!(i)))
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([400, 401]))
  }
  const seconds = Math.ceil((performance.now() - start) / 1000) + 1

  expect((await count()) - before.count).toBe(500)
  await expect.poll(rows).toBeGreaterThan(before.rows)
  expect((await rows()) - before.rows).toBeLessThanOrEqual(10 * seconds)
  expect(broker.logged.length - before.lines).toBeLessThanOrEqual(10 * seconds)
})
