import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Credential, DecisionList, Task, TokenResponse } from '../../src/http/openapi.generated.d.ts'
import {
  deliver,
  githubHeaders,
  gitlabHeaders,
  type Payload,
  payload,
  signedHeaders,
} from '../support/authorities.ts'
import type { TestBroker } from '../support/broker.ts'
import { type Claims, formOfReadme, type RunningExample, startExample } from './example.ts'
import type { OAuthError } from './world.ts'

interface Authority {
  name: string
  payload: Payload
  /** How the delivery of the payload says that the job ended. */
  closeReason: string
  /** What makes it the end of another job of the same workflow, and which attestation is that job's. */
  another: (id: string) => { changes: Record<string, unknown>; claims: Claims }
  /** The same job, not over yet. */
  goesOn: Record<string, unknown>
  headers: (body: string, secret: string) => Record<string, string>
}

const circle = (name: string) => `oidc.circleci.com/${name}`
const uuid = (id: string) => `00000000-0000-4000-8000-${id.padStart(12, '0')}`

const authorities: Authority[] = [
  {
    name: 'github',
    payload: 'github-workflow-job',
    closeReason: 'failed',
    another: id => ({ changes: { 'workflow_job.id': Number(id) }, claims: { check_run_id: id } }),
    goesOn: { action: 'in_progress', 'workflow_job.status': 'in_progress', 'workflow_job.conclusion': null },
    headers: (body, secret) => githubHeaders('workflow_job', body, secret),
  },
  {
    name: 'gitlab',
    payload: 'gitlab-job',
    closeReason: 'failed',
    another: id => ({ changes: { build_id: Number(id) }, claims: { job_id: id } }),
    goesOn: { build_status: 'running' },
    headers: (_, secret) => gitlabHeaders('Job Hook', secret),
  },
  {
    name: 'kubernetes',
    payload: 'kubernetes-pod',
    closeReason: 'failed',
    another: id => ({
      changes: { 'object.metadata.uid': uuid(id) },
      claims: { 'kubernetes.io': kubernetesClaims(uuid(id)) },
    }),
    goesOn: { 'object.status.phase': 'Running' },
    headers: (body, secret) => signedHeaders(body, 'X-Hub-Signature-256', secret),
  },
  {
    name: 'circleci',
    payload: 'circleci-job',
    closeReason: 'completed',
    another: id => ({ changes: { 'job.id': uuid(id) }, claims: { [circle('job-id')]: uuid(id) } }),
    goesOn: { 'job.status': 'on_hold' },
    headers: (body, secret) => signedHeaders(body, 'circleci-signature', secret),
  },
]

const kubernetesClaims = (uid: string) => ({
  namespace: 'payments',
  pod: { name: 'migrate-4-2-x7k2p', uid },
  serviceaccount: { name: 'migrator', uid: 'e6a8680e-d103-4cce-80ea-03acbbeacf7d' },
})

describe.each(authorities)('$name', authority => {
  let example: RunningExample
  beforeAll(async () => {
    example = await startExample(authority.name)
  })
  afterAll(() => example?.close())

  const mint = (claims: Claims = {}, on: TestBroker = example.broker) =>
    on.client.request<TokenResponse & OAuthError>('POST', '/oauth2/token', {
      form: { ...formOfReadme(example.readme), subject_token: example.attest(claims) },
    })
  const tell = (changes: Record<string, unknown> = {}, on: TestBroker = example.broker) => {
    const body = JSON.stringify(payload(authority.payload, changes))
    const [hook] = example.config.hooks
    return deliver(on, authority.name, body, authority.headers(body, hook?.secret ?? ''))
  }
  const asOperator = async <Body>(path: string) => {
    const token = await example.broker.operatorToken()
    return (await example.broker.client.request<Body>('GET', path, { token })).body
  }
  const rows = (taskId: string) =>
    example.broker.sql('SELECT state, reason FROM revocations WHERE task_id = $1', [taskId])

  test('a job whose runner was killed ends when its authority says so: its token is dead, and it gets nothing more', async () => {
    const { task_id } = (await mint()).body
    const path = `/v1/tasks/${task_id}`
    const credential = async () =>
      (await asOperator<{ items: Credential[] }>(`${path}/credentials`)).items[0]?.live
    expect(await credential()).toBe(true)

    // It says much before that.
    const before = await tell(authority.goesOn)
    expect([before.status, before.body]).toEqual([
      200,
      { ended: 0, remembered: 0, unchanged: 0, ignored: expect.any(String) },
    ])
    expect(await credential()).toBe(true)

    const { status, body } = await tell()
    expect([status, body]).toEqual([200, { ended: 1, remembered: 0, unchanged: 0 }])
    expect(await asOperator<Task>(path)).toMatchObject({
      state: 'closed',
      close_reason: authority.closeReason,
      closed_at: expect.any(String),
    })
    expect(await credential()).toBe(false)
    expect((await mint()).body).toMatchObject({ error: 'invalid_grant', code: 'task_closed' })
    expect(await rows(task_id)).toEqual([{ state: 'closed', reason: authority.closeReason }])

    const { items } = await asOperator<DecisionList>(`/v1/decisions?task=${task_id}&action=close`)
    expect(items).toEqual([
      expect.objectContaining({
        decision: 'allow',
        principal: null,
        trust: authority.name,
        reason: expect.stringMatching(new RegExp(`^the authority ${authority.name} reported that .* ended`)),
        asked: expect.objectContaining({ hook: authority.name, outcome: authority.closeReason }),
        address: '127.0.0.1',
      }),
    ])
  })

  test('told again, out of order, or once the job has closed its task itself, nothing changes', async () => {
    const { changes, claims } = authority.another('7001')
    const { task_id } = (await mint(claims)).body
    const token = example.attest(claims)
    const closed = await example.broker.client.request('POST', `/v1/tasks/${task_id}/close`, {
      token,
      json: { outcome: 'completed' },
    })
    expect(closed.status).toBe(200)
    const task = await asOperator<Task>(`/v1/tasks/${task_id}`)
    for (const more of [changes, { ...changes, ...authority.goesOn }, changes])
      expect((await tell(more)).status).toBe(200)
    expect((await tell(changes)).body).toEqual({ ended: 0, remembered: 0, unchanged: 1 })
    expect(await asOperator<Task>(`/v1/tasks/${task_id}`)).toEqual(task)
    expect(await rows(task_id)).toHaveLength(1)
  })

  test('told before the job’s first call, the job gets nothing, on a broker that was started later too', async () => {
    const { changes, claims } = authority.another('7002')
    expect((await tell(changes)).body).toEqual({ ended: 0, remembered: 1, unchanged: 0 })
    expect((await tell(changes)).body).toEqual({ ended: 0, remembered: 0, unchanged: 1 })
    const later = await example.broker.replica()
    try {
      for (const broker of [example.broker, later]) {
        expect((await mint(claims, broker)).body).toMatchObject({
          error: 'invalid_grant',
          code: 'task_closed',
        })
        const opened = await broker.client.request<{ code: string }>('POST', '/v1/tasks', {
          token: example.attest(claims),
          json: {},
        })
        expect([opened.status, opened.body.code]).toEqual([409, 'task_closed'])
      }
    } finally {
      await later.close()
    }
    // Another job is not meant.
    expect((await mint(authority.another('7003').claims)).status).toBe(200)
  })

  test('told by somebody else, nothing ends', async () => {
    const { changes, claims } = authority.another('7004')
    const { task_id } = (await mint(claims)).body
    const body = JSON.stringify(payload(authority.payload, changes))
    for (const headers of [
      { 'Content-Type': 'application/json' },
      authority.headers(body, 'another secret'),
    ]) {
      const { status, body: problem } = await deliver(example.broker, authority.name, body, headers)
      expect([status, problem.code]).toEqual([401, 'attestation_invalid'])
    }
    expect((await asOperator<Task>(`/v1/tasks/${task_id}`)).state).toBe('open')
    expect((await mint(claims)).body.task_id).toBe(task_id)
  })
})
