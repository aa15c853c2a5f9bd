import { createHmac } from 'node:crypto'
import { request as httpRequest } from 'node:http'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { DecisionList, Task } from '../../src/http/openapi.generated.d.ts'
import {
  deliver,
  fromGithub,
  fromGitlab,
  githubHeaders,
  gitlabHeaders,
  hook,
  hookSecret,
  payload,
  signature,
  signed,
  signedHeaders,
  standardSignature,
} from '../support/authorities.ts'
import { ciSource, startTestBroker, type TestBroker } from '../support/broker.ts'
import { type DatabaseLink, linkTo } from '../support/database-link.ts'
import { startIssuer, type TestIssuer } from '../support/issuer.ts'
import { act, isActive, jobClaims, mint, minted, opened, subjectClaims } from '../support/scene.ts'

const ref = '{repository}/runs/{run_id}/attempts/{run_attempt}/jobs/{check_run_id}'
const signingToken = `whsec_${Buffer.alloc(32, 7).toString('base64')}`
const hour = 3_600_000

let ci: TestIssuer
let agents: TestIssuer
let partners: TestIssuer
let broker: TestBroker
beforeAll(async () => {
  ci = await startIssuer()
  agents = await startIssuer()
  partners = await startIssuer()
  const state = {
    path: 'issue.fields.status.name',
    completed: ['Done'],
    failed: [],
    cancelled: ['Cancelled'],
  }
  broker = await startTestBroker({
    trust: [
      ciSource(ci.issuer, { name: 'github', require: { repository_owner_id: '4711' } }),
      ciSource(agents.issuer, { name: 'agent', task: null }),
      ciSource(partners.issuer, { name: 'partner', task: null }),
    ],
    config: {
      listen: { host: '127.0.0.1', port: 0, metricsPort: 0, mtls: null, trustedProxies: ['127.0.0.1'] },
      hooks: [
        hook('github', { trust: 'github', ref }),
        hook('gitlab', { trust: 'github', ref: '{project_path}/{job_id}', secret: signingToken }),
        hook('kubernetes', { trust: 'agent', ref: 'jobs/{kubernetes.io.job.name}' }),
        hook('generic', { name: 'tickets', ref: '{issue.key}', header: 'X-Signature', state }),
        hook('generic', { name: 'ci-tickets', trust: 'github', ref: '{issue.key}', state }),
      ],
    },
  })
})
afterAll(async () => {
  await broker?.close()
  await ci?.close()
  await agents?.close()
  await partners?.close()
})

let n = 1000
/** A job of its own for each test: its run. */
let run = ''
beforeEach(() => {
  run = String(++n)
})

const job = (claims: Record<string, unknown> = {}) =>
  ci.sign(jobClaims(run, { now: broker.clock.now(), repository_owner_id: '4711', ...claims }))
const agent = (name: string) => agents.sign(subjectClaims(name, { now: broker.clock.now() }))
const tell = (changes: Record<string, unknown> = {}) =>
  fromGithub(broker, 'workflow_job', {
    'workflow_job.run_id': Number(run),
    'workflow_job.id': 9,
    'workflow_job.conclusion': 'success',
    ...changes,
  })
const bodyOf = (changes: Record<string, unknown> = {}) =>
  JSON.stringify(
    payload('github-workflow-job', {
      'workflow_job.run_id': Number(run),
      'workflow_job.id': 9,
      'workflow_job.conclusion': 'success',
      ...changes,
    }),
  )
const taskOf = async (id: string) =>
  (
    await broker.client.request<Task>('GET', `/v1/tasks/${id}`, {
      token: await broker.operatorToken(),
    })
  ).body
const counted = async (name: string, result: string) => {
  const text = await (await fetch(broker.metricsUrl ?? '')).text()
  const line = `hallpass_hook_deliveries_total{hook="${name}",result="${result}"} `
  return Number(
    text
      .split('\n')
      .find(found => found.startsWith(line))
      ?.slice(line.length) ?? 0,
  )
}
const names = async () => Number((await broker.sql('SELECT count(*) FROM task_names'))[0]?.count)

describe('a delivery that is not the authority’s', () => {
  test('is 401 with a challenge, changes nothing, and is counted', async () => {
    const { task_id } = await minted(broker, job())
    const [before, forgedBefore] = [await names(), await counted('github', 'forged')]
    const body = bodyOf()
    const good = githubHeaders('workflow_job', body)
    const forged: Record<string, string>[] = [
      { ...good, 'X-Hub-Signature-256': '' },
      { ...good, 'X-Hub-Signature-256': signature(body, 'guessed') },
      { ...good, 'X-Hub-Signature-256': signature(`${body} `) },
      { ...good, 'X-Hub-Signature-256': `sha256=${'0'.repeat(64)}` },
      { 'Content-Type': 'application/json', 'X-GitHub-Event': 'workflow_job' },
      {
        'Content-Type': 'application/json',
        'X-Gitlab-Token': hookSecret,
        Authorization: `Bearer ${hookSecret}`,
      },
    ]
    for (const headers of forged) {
      const { status, body: problem, headers: answered } = await deliver(broker, 'github', body, headers)
      expect([status, problem.code]).toEqual([401, 'attestation_invalid'])
      expect(answered.get('WWW-Authenticate')).toMatch(/^Bearer /)
    }
    expect((await taskOf(task_id)).state).toBe('open')
    expect(await names()).toBe(before)
    expect((await counted('github', 'forged')) - forgedBefore).toBe(forged.length)
  })

  test('is not even parsed: what it holds makes no difference to its answer', async () => {
    const answers = await Promise.all(
      ['{', bodyOf(), '', '\0'].map(async body => {
        const { status, body: problem } = await deliver(broker, 'github', body, {
          'Content-Type': 'text/plain',
        })
        return [status, problem.code]
      }),
    )
    expect(new Set(answers.map(answer => answer.join()))).toEqual(new Set(['401,attestation_invalid']))
  })

  test('is sampled in the log, without what it sent', async () => {
    broker.clock.advance(2_000)
    await deliver(broker, 'github', bodyOf(), { 'X-Hub-Signature-256': signature(bodyOf(), 'guessed') })
    const found = await eventually(async () => {
      const token = await broker.operatorToken()
      const list = await broker.client.request<DecisionList>('GET', '/v1/decisions?decision=deny&limit=200', {
        token,
      })
      return list.body.items.find(row => row.reason === 'hook_forged')
    })
    expect(found).toMatchObject({ action: 'attest', code: 'attestation_invalid', principal: null, asked: {} })
    const text = await (await fetch(broker.metricsUrl ?? '')).text()
    expect(text).toContain('hallpass_unproven_total{reason="hook_forged"}')
  })

  test('with the secret of another hook proves nothing here', async () => {
    const body = bodyOf()
    const { status } = await deliver(broker, 'gitlab', body, gitlabHeaders('Job Hook', signingToken))
    expect(status).toBe(401)
    const github = await deliver(broker, 'github', body, githubHeaders('workflow_job', body, signingToken))
    expect(github.status).toBe(401)
  })

  test.each(['nobody', 'constructor', '__proto__', 'GitHub', '%00', 'github%2f', 'github%20'])(
    'to the hook %s, which there is not, is 404',
    async name => {
      const { status, body } = await deliver(broker, name, bodyOf(), githubHeaders('workflow_job', bodyOf()))
      expect([status, body.code]).toEqual([404, 'not_found'])
    },
  )

  test('to a hook that there is not is 404 before its body is read', async () => {
    const { status } = await deliver(broker, 'nobody', 'x'.repeat(300 * 1024), {})
    expect(status).toBe(404)
  })

  test('by another method than POST is not in the contract', async () => {
    for (const method of ['GET', 'PUT', 'DELETE'])
      expect((await broker.client.request(method, '/hooks/github')).status).toBe(404)
  })
})

describe('an authentic delivery that cannot be read', () => {
  const send = (body: string | Uint8Array<ArrayBuffer>, more: Record<string, string> = {}) =>
    deliver(broker, 'github', body, {
      'Content-Type': 'application/json',
      'X-GitHub-Event': 'workflow_job',
      'X-Hub-Signature-256': `sha256=${createHmac('sha256', hookSecret).update(body).digest('hex')}`,
      ...more,
    })

  test.each<[string, (body: string) => string | Uint8Array<ArrayBuffer>]>([
    ['is empty', () => ''],
    ['was cut', body => body.slice(0, -20)],
    ['is not UTF-8', body => new Uint8Array([...Buffer.from(body.slice(0, 10)), 0xff, 0xfe])],
    ['is UTF-16', body => new Uint8Array(Buffer.from(body, 'utf16le'))],
    ['has a byte order mark', body => `\ufeff${body}`],
    ['repeats a member', body => body.replace('"action":', '"action":"queued","action":')],
    [
      'repeats a member with an escape',
      body => body.replace('"action":', '"\\u0061ction":"queued","action":'),
    ],
    ['holds U+0000', body => body.replace('"deploy"', '"\\u0000"')],
    ['holds half a character', body => body.replace('"deploy"', '"\\ud800"')],
    ['holds __proto__', body => body.replace('"action":', '"__proto__":{},"action":')],
    ['is two', body => body + body],
    ['is nested without end', () => '['.repeat(50_000)],
    ['has too many values', () => `[${'0,'.repeat(100_000)}0]`],
  ])('because it %s is 400, and counted', async (_, spoil) => {
    const before = await counted('github', 'malformed')
    const { status, body } = await send(spoil(bodyOf()))
    expect([status, body.code]).toEqual([400, 'malformed'])
    expect((await counted('github', 'malformed')) - before).toBe(1)
    expect((await mint(broker, job())).status).toBe(200)
  })

  test('because it is laid out otherwise is 422, with the place', async () => {
    const { status, body } = await send(bodyOf({ 'workflow_job.id': 'nine' }))
    expect([status, body]).toMatchObject([422, { code: 'invalid', errors: [{ path: '/workflow_job/id' }] }])
  })

  test('because it says that it is something else is 415', async () => {
    for (const type of ['text/plain', 'application/xml', '', 'application/jsonp', 'multipart/form-data'])
      expect((await send(bodyOf(), { 'Content-Type': type })).status).toBe(415)
  })

  test('because it is compressed is 415', async () => {
    const body = new Uint8Array(gzipSync(bodyOf()))
    expect((await send(body, { 'Content-Encoding': 'gzip' })).status).toBe(415)
  })

  test('because it is larger than 256 KiB is 413', async () => {
    const { status, body } = await send(bodyOf({ filler: 'x'.repeat(256 * 1024) }))
    expect([status, body.code]).toEqual([413, 'too_large'])
    expect((await send(bodyOf({ filler: 'x'.repeat(200 * 1024) }))).status).toBe(200)
  })

  test('because its connection ended is nothing', async () => {
    const { task_id } = await minted(broker, job())
    const body = bodyOf()
    await new Promise<void>(resolve => {
      const cut = httpRequest(`${broker.url}/hooks/github`, {
        method: 'POST',
        headers: { ...githubHeaders('workflow_job', body), 'Content-Length': Buffer.byteLength(body) },
      })
      cut.on('error', () => resolve())
      cut.on('close', () => resolve())
      cut.write(body.slice(0, 200), () => cut.destroy())
    })
    expect((await taskOf(task_id)).state).toBe('open')
    expect((await tell()).body).toMatchObject({ ended: 1 })
  })
})

describe('a form, as GitHub can send it', () => {
  const send = (body: string) =>
    deliver(broker, 'github', body, {
      ...githubHeaders('workflow_job', body),
      'Content-Type': 'application/x-www-form-urlencoded',
    })

  test('ends the task as JSON does', async () => {
    await minted(broker, job())
    const { status, body } = await send(new URLSearchParams({ payload: bodyOf() }).toString())
    expect([status, body]).toEqual([200, { ended: 1, remembered: 0, unchanged: 0 }])
  })

  test.each<[string, (json: string) => string]>([
    [
      'JSON with a form in the words of others',
      json => `{"message":"&payload=${encodeURIComponent(json)}&"}`,
    ],
    ['a payload after something else', json => `a=b&${new URLSearchParams({ payload: json })}`],
    ['something after a payload', json => `${new URLSearchParams({ payload: json })}&a=b`],
    [
      'two payloads',
      json => `${new URLSearchParams({ payload: json })}&${new URLSearchParams({ payload: json })}`,
    ],
    [
      'a payload under an encoded name',
      json => new URLSearchParams({ payload: json }).toString().replace('payload', 'p%61yload'),
    ],
    ['an empty payload', () => 'payload='],
    ['nothing', () => ''],
    ['JSON', json => json],
  ])('%s is none', async (_, make) => {
    const { task_id } = await minted(broker, job())
    const { status, body } = await send(make(bodyOf()))
    expect([status, body.code]).toEqual([400, 'malformed'])
    expect((await taskOf(task_id)).state).toBe('open')
  })

  test('nor is a form JSON', async () => {
    const body = new URLSearchParams({ payload: bodyOf() }).toString()
    expect((await deliver(broker, 'github', body, githubHeaders('workflow_job', body))).status).toBe(400)
  })
})

describe('what an authentic delivery can end', () => {
  test('IDs of any length name their own job, and not its neighbour', async () => {
    const ids = ['9007199254740993', '9007199254740992', '123456789012345678901234567890']
    const tasks = await Promise.all(ids.map(check_run_id => minted(broker, job({ check_run_id }))))
    const body = bodyOf().replace('"id":9,', `"id":${ids[0]},`)
    expect(body).toContain(String(ids[0]))
    expect((await deliver(broker, 'github', body, githubHeaders('workflow_job', body))).body).toMatchObject({
      ended: 1,
    })
    const states = await Promise.all(tasks.map(async ({ task_id }) => (await taskOf(task_id)).state))
    expect(states).toEqual(['closed', 'open', 'open'])
    const long = body.replace(String(ids[0]), String(ids[2]))
    expect((await deliver(broker, 'github', long, githubHeaders('workflow_job', long))).body).toMatchObject({
      ended: 1,
    })
  })

  test('names that attestations percent-encode are the same', async () => {
    const repository = 'acme/ä (b)*!~.git'
    const { task_id } = await minted(broker, job({ repository }))
    expect((await tell({ 'repository.full_name': repository })).body).toMatchObject({ ended: 1 })
    expect((await taskOf(task_id)).ref).toMatch(/^acme%2F%C3%A4%20%28b%29%2A%21~\.git\/runs\//)
  })

  test('not what another organisation’s event says, even with the right secret', async () => {
    const { task_id } = await minted(broker, job())
    const [before] = [await names()]
    const { status, body } = await tell({ 'repository.owner.id': 666 })
    expect([status, body]).toEqual([
      200,
      expect.objectContaining({
        ended: 0,
        remembered: 0,
        ignored: expect.stringContaining('repository_owner_id'),
      }),
    ])
    expect((await taskOf(task_id)).state).toBe('open')
    expect(await names()).toBe(before)
  })

  test('a suspended task, for good', async () => {
    const { task_id } = await minted(broker, job())
    await act(broker, job(), task_id, 'suspend')
    expect((await tell()).body).toMatchObject({ ended: 1 })
    expect((await act(broker, job(), task_id, 'resume')).status).toBe(409)
  })

  test('a task with all that is below it, as one end', async () => {
    const { task_id } = await minted(broker, job())
    const { id: below } = await opened(broker, agent('helper'), { parent_id: task_id })
    expect((await tell({ 'workflow_job.conclusion': 'cancelled' })).body).toEqual({
      ended: 1,
      remembered: 0,
      unchanged: 0,
    })
    expect(await taskOf(task_id)).toMatchObject({ state: 'closed', close_reason: 'cancelled' })
    expect(await taskOf(below)).toMatchObject({ state: 'closed', close_reason: 'parent_closed' })
    const ids = [task_id, below]
    expect(await broker.sql('SELECT task_id FROM revocations WHERE task_id = ANY ($1)', [ids])).toEqual([
      { task_id },
    ])
  })

  test('a task that is past its deadline, as expired', async () => {
    const { task_id } = await minted(broker, job())
    broker.clock.advance(hour + 1000)
    expect((await tell()).body).toMatchObject({ ended: 1 })
    expect(await taskOf(task_id)).toMatchObject({ close_reason: 'expired' })
  })

  test('a token of the task for good: it is dead on this replica and on others', async () => {
    const { access_token } = await minted(broker, job())
    const replica = await broker.replica()
    try {
      expect(await isActive(replica, agent('service'), access_token)).toBe(true)
      await tell()
      for (const on of [broker, replica])
        expect(await isActive(on, agent('service'), access_token)).toBe(false)
    } finally {
      await replica.close()
    }
  })

  test('once, of many that are told at once', async () => {
    const { task_id } = await minted(broker, job())
    const replies = await Promise.all(Array.from({ length: 20 }, () => tell()))
    expect(replies.map(({ status }) => status)).toEqual(Array(20).fill(200))
    expect(replies.reduce((sum, { body }) => sum + body.ended, 0)).toBe(1)
    expect(await broker.sql('SELECT 1 FROM revocations WHERE task_id = $1', [task_id])).toHaveLength(1)
    const rows = await broker.sql(`SELECT 1 FROM decisions WHERE task_id = $1 AND action = 'close'`, [
      task_id,
    ])
    expect(rows).toHaveLength(1)
  })

  test('nothing, by a ping', async () => {
    const { status, body } = await fromGithub(broker, 'ping')
    expect([status, body]).toEqual([
      200,
      { ended: 0, remembered: 0, unchanged: 0, ignored: 'It tells of nothing that has ended.' },
    ])
  })

  test('and its delivery is in the log as far as it fits', async () => {
    const { task_id } = await minted(broker, job())
    const body = bodyOf()
    await deliver(broker, 'github', body, {
      ...githubHeaders('workflow_job', body),
      'X-GitHub-Delivery': 'x'.repeat(4000),
    })
    const [row] = await broker.sql<{ asked: object }>(
      `SELECT asked FROM decisions WHERE task_id = $1 AND action = 'close'`,
      [task_id],
    )
    expect(row?.asked).toMatchObject({
      hook: 'github',
      event: 'workflow_job',
      delivery: null,
      outcome: 'completed',
    })
  })
})

describe('a remembered end', () => {
  test('has its row in the log, with the name that it ends', async () => {
    expect((await tell()).body).toEqual({ ended: 0, remembered: 1, unchanged: 0 })
    const rows = await broker.sql(
      `SELECT trust, task_id, reason FROM decisions WHERE action = 'close' AND asked->>'ref' = $1`,
      [`acme%2Fapi/runs/${run}/attempts/1/jobs/9`],
    )
    expect(rows).toEqual([
      {
        trust: 'github',
        task_id: null,
        reason: 'the authority github reported that the job ended: completed',
      },
    ])
    const refused = await mint(broker, job())
    expect(refused.body).toMatchObject({ code: 'task_closed', decision_id: expect.any(String) })
  })

  test('is forgotten after the retention, and names of tasks are not', async () => {
    const own = await startTestBroker({
      trust: broker.config.trust,
      config: { hooks: broker.config.hooks, tasks: { ...broker.config.tasks, retention: 2 * hour } },
    })
    try {
      const claims = (check_run_id: string) =>
        ci.sign(jobClaims('1', { now: own.clock.now(), repository_owner_id: '4711', check_run_id }))
      const over = (id: number) =>
        fromGithub(own, 'workflow_job', { 'workflow_job.run_id': 1, 'workflow_job.id': id })
      await minted(own, claims('1'))
      expect((await over(1)).body).toMatchObject({ ended: 1 })
      expect((await over(2)).body).toMatchObject({ remembered: 1 })
      own.clock.advance(2 * hour - 60_000)
      await own.sweep()
      expect((await mint(own, claims('2'))).body.code).toBe('task_closed')
      own.clock.advance(120_000)
      await own.sweep()
      expect(await own.sql('SELECT task_id IS NULL AS remembered FROM task_names')).toEqual([
        { remembered: false },
      ])
      // The task itself is gone, and its name is used up all the same.
      expect((await mint(own, claims('1'))).body.code).toBe('task_closed')
      expect((await over(1)).body).toEqual({ ended: 0, remembered: 0, unchanged: 1 })
      expect((await mint(own, claims('2'))).status).toBe(200)
    } finally {
      await own.close()
    }
  })
})

describe('GitLab’s signed deliveries', () => {
  const changes = () => ({ build_id: Number(run) })
  test('end what they say, and the token that signs them is never sent', async () => {
    const body = JSON.stringify(payload('gitlab-job', changes()))
    const { 'X-Gitlab-Token': _, ...headers } = gitlabHeaders('Job Hook')
    const send = (more: Record<string, string>) => deliver(broker, 'gitlab', body, { ...headers, ...more })
    expect((await send({ 'X-Gitlab-Token': signingToken })).status).toBe(401)
    expect((await send(standardSignature(body, `whsec_${Buffer.alloc(32).toString('base64')}`))).status).toBe(
      401,
    )
    expect((await send(standardSignature(body, signingToken))).body).toEqual({
      ended: 0,
      remembered: 1,
      unchanged: 0,
    })
  })
})

describe('a pipeline of GitLab’s', () => {
  test('is told with all its jobs: those that are over end, the others go on', async () => {
    const own = await startTestBroker({
      trust: [
        ciSource(ci.issuer, {
          name: 'gitlab',
          task: { kind: 'ci-job', ref: '{project_path}/pipelines/{pipeline_id}/jobs/{job_id}', bind: [] },
        }),
      ],
      config: {
        hooks: [
          hook('gitlab', { trust: 'gitlab', ref: '{project_path}/pipelines/{pipeline_id}/jobs/{job_id}' }),
        ],
      },
    })
    try {
      const claims = (job_id: string) =>
        ci.sign(subjectClaims('x', { project_path: 'acme/api', pipeline_id: '2179265456', job_id }))
      await minted(own, claims('12217223061'))
      const manual = await minted(own, claims('12217223064'))
      expect((await fromGitlab(own, 'pipeline')).body).toEqual({ ended: 1, remembered: 1, unchanged: 0 })
      expect((await fromGitlab(own, 'pipeline')).body).toEqual({ ended: 0, remembered: 0, unchanged: 2 })
      for (const [id, status] of [
        ['60', 400],
        ['61', 400],
        ['63', 200],
        ['64', 200],
        ['99', 200],
      ] as const)
        expect((await mint(own, claims(`122172230${id}`))).status, id).toBe(status)
      expect((await mint(own, claims('12217223064'))).body.task_id).toBe(manual.task_id)
    } finally {
      await own.close()
    }
  })
})

describe('a hook without a template', () => {
  const done = (key: string, status = 'Done') =>
    signed(
      broker,
      'tickets',
      payload('jira-issue', { 'issue.key': key, 'issue.fields.status.name': status }),
      'X-Signature',
    )

  test('ends whatever is open under the name, whoever works on it', async () => {
    const key = `OPS-${run}`
    const mine = await opened(broker, agent('a'), { ref: key })
    const theirs = await opened(broker, agent('b'), { ref: key })
    const other = await opened(broker, agent('a'), { ref: `${key}1` })
    expect((await done(key, 'In Progress')).body).toMatchObject({ ended: 0, ignored: expect.any(String) })
    expect((await done(key, 'Cancelled')).body).toEqual({ ended: 2, remembered: 0, unchanged: 0 })
    for (const { id } of [mine, theirs])
      expect(await taskOf(id)).toMatchObject({ state: 'closed', close_reason: 'cancelled' })
    expect((await taskOf(other.id)).state).toBe('open')
    expect((await done(key)).body).toEqual({ ended: 0, remembered: 0, unchanged: 1 })
  })

  test('a task above another of the same name ends first, and the other with it', async () => {
    const key = `OPS-${run}`
    const above = await opened(broker, agent('a'), { ref: key })
    const below = await opened(broker, agent('a'), { ref: `${key}-below`, parent_id: above.id })
    await broker.sql('UPDATE tasks SET ref = $2 WHERE id = $1', [below.id, key])
    expect((await done(key)).body).toMatchObject({ ended: 1 })
    expect((await taskOf(below.id)).close_reason).toBe('parent_closed')
  })

  test('remembers nothing: the name is free for a task to come', async () => {
    const key = `OPS-${run}`
    expect((await done(key)).body).toEqual({ ended: 0, remembered: 0, unchanged: 1 })
    const { id } = await opened(broker, agent('a'), { ref: key })
    expect((await taskOf(id)).state).toBe('open')
  })

  test('that names a trust source ends nothing of another', async () => {
    const key = `OPS-${run}`
    const { id } = await opened(broker, agent('a'), { ref: key })
    const json = payload('jira-issue', { 'issue.key': key })
    expect((await signed(broker, 'ci-tickets', json)).body).toMatchObject({ ended: 0 })
    expect((await taskOf(id)).state).toBe('open')
    const jobs = payload('kubernetes-job', { 'metadata.name': key })
    const { id: ours } = await opened(broker, agent('a'), { ref: `jobs/${key}` })
    const partner = partners.sign(subjectClaims('a', { now: broker.clock.now() }))
    const { id: theirs } = await opened(broker, partner, { ref: `jobs/${key}` })
    expect((await signed(broker, 'kubernetes', jobs)).body).toEqual({ ended: 1, remembered: 0, unchanged: 0 })
    expect((await taskOf(ours)).close_reason).toBe('failed')
    expect((await taskOf(theirs)).state).toBe('open')
    expect((await done(`jobs/${key}`)).body).toMatchObject({ ended: 0 })
  })
})

test('while storage is away it is 503, and nothing is half done: told again, the task ends', async () => {
  let link: DatabaseLink | undefined
  const own = await startTestBroker({
    trust: broker.config.trust,
    config: { hooks: broker.config.hooks },
    through: async url => {
      link = await linkTo(url)
      return link.url
    },
  })
  try {
    const claims = { now: own.clock.now(), repository_owner_id: '4711' }
    const { task_id } = await minted(own, ci.sign(jobClaims(run, claims)))
    const send = () => {
      const body = bodyOf()
      return deliver(own, 'github', body, githubHeaders('workflow_job', body))
    }
    link?.cut()
    const away = await send()
    expect([away.status, away.body.code]).toEqual([503, 'unavailable'])
    expect(away.headers.get('Retry-After')).toMatch(/^[1-9]/)
    expect(await own.sql('SELECT state FROM tasks WHERE id = $1', [task_id])).toEqual([{ state: 'open' }])
    link?.mend()
    const told = await eventually(async () => {
      const reply = await send()
      return reply.status === 200 ? reply.body : undefined
    })
    expect(told).toEqual({ ended: 1, remembered: 0, unchanged: 0 })
  } finally {
    await own.close()
    await link?.close()
  }
})

test('an address that sends too much is held off, as elsewhere', async () => {
  const own = await startTestBroker({
    trust: broker.config.trust,
    config: {
      hooks: broker.config.hooks,
      limits: { principal: null, address: 3 },
      listen: { host: '127.0.0.1', port: 0, metricsPort: null, mtls: null, trustedProxies: ['127.0.0.1'] },
    },
  })
  try {
    const body = bodyOf()
    const from = (address: string) =>
      deliver(own, 'github', body, { ...signedHeaders(body), 'X-Forwarded-For': address })
    const replies = await Promise.all(Array.from({ length: 6 }, () => from('192.0.2.1')))
    expect(replies.filter(({ status }) => status === 429)).toHaveLength(3)
    expect((await from('192.0.2.2')).status).toBe(200)
  } finally {
    await own.close()
  }
})

test('no secret of a hook is in a log, a row or an answer', async () => {
  const body = bodyOf()
  await deliver(broker, 'github', body, githubHeaders('workflow_job', body, 'x'))
  await tell()
  const rows = await broker.sql('SELECT d::text AS text FROM decisions d')
  const all = [
    ...broker.logged,
    ...rows.map(({ text }) => text),
    await (await fetch(broker.metricsUrl ?? '')).text(),
  ].join('\n')
  for (const secret of [hookSecret, signingToken, signature(body)]) expect(all).not.toContain(secret)
})

async function eventually<T>(look: () => Promise<T | undefined>): Promise<T> {
  for (let tries = 0; tries < 100; tries++) {
    const found = await look()
    if (found !== undefined) return found
    await new Promise(resolve => setTimeout(resolve, 50))
  }
  throw new Error('was not seen')
}
