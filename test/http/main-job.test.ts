import { afterAll, beforeAll, expect, it } from 'vitest'
import { ciSource, startTestBroker, type TestBroker, testIssuer } from '../support/broker.ts'
import { startIssuer, type TestIssuer } from '../support/issuer.ts'

let ci: TestIssuer
let broker: TestBroker

beforeAll(async () => {
  ci = await startIssuer()
  broker = await startTestBroker({ trust: [ciSource(ci.issuer)] })
})
afterAll(async () => {
  await broker?.close()
  await ci?.close()
})

const claims = (more: Record<string, unknown> = {}) => ({
  sub: 'repo:acme/api:ref:refs/heads/main',
  aud: testIssuer,
  repository: 'acme/api',
  run_id: '7',
  run_attempt: '1',
  check_run_id: '9',
  sha: 'abc',
  workflow_ref: 'acme/api/.github/workflows/ci.yml@refs/heads/main',
  environment: 'production',
  iat: Math.floor(Date.now() / 1000),
  exp: Math.floor(Date.now() / 1000) + 300,
  ...more,
})

it('gives a job its token in one call, and ends it with the task', async () => {
  const attestation = ci.sign(claims())
  const form = {
    grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
    subject_token: attestation,
    subject_token_type: 'urn:ietf:params:oauth:token-type:jwt',
    scope: 'deploy:prod',
    audience: 'https://deploy.example',
  }
  const minted = await broker.client.request('POST', '/oauth2/token', { form })
  expect(minted.body).toMatchObject({ scope: 'deploy:prod', token_type: 'Bearer', expires_in: 300 })
  const { task_id, access_token } = minted.body as { task_id: string; access_token: string }

  const introspect = () =>
    broker.client.request('POST', '/oauth2/introspect', { token: attestation, form: { token: access_token } })
  expect((await introspect()).body).toMatchObject({
    active: true,
    task_id,
    client_id: 'ci:repo:acme/api:ref:refs/heads/main',
  })

  const closed = await broker.client.request('POST', `/v1/tasks/${task_id}/close`, {
    token: attestation,
    json: {},
  })
  expect(closed.body).toMatchObject({ state: 'closed', close_reason: 'completed' })
  expect((await introspect()).body).toEqual({ active: false })
  expect((await broker.client.request('POST', '/oauth2/token', { form })).body).toMatchObject({
    error: 'invalid_grant',
    code: 'task_closed',
  })
  const log = await broker.client.request('GET', `/v1/decisions?task=${task_id}`, {
    token: await broker.operatorToken(),
  })
  expect((log.body as { items: unknown[] }).items.length).toBe(6)
})
