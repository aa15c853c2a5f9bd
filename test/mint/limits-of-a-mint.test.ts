import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ciSource, spiffeSource, startTestBroker, type TestBroker, testIssuer } from '../support/broker.ts'
import { startIssuer, type TestIssuer } from '../support/issuer.ts'
import { createTrustDomain } from '../support/spiffe.ts'

const domain = createTrustDomain('prod.example')
let ci: TestIssuer
let once: TestIssuer
let bundle: Awaited<ReturnType<typeof domain.serveBundle>>
let broker: TestBroker

const policies = `
@id("open") permit (principal is Workload, action == Action::"open", resource);
@id("mint") permit (principal is Workload, action == Action::"mint", resource);
@id("no-close-unprotected") forbid (principal is Workload, action in [Action::"close", Action::"heartbeat"], resource)
when { principal.hasTag("ref_protected") && principal.getTag("ref_protected") == "false" };
`

beforeAll(async () => {
  ci = await startIssuer()
  once = await startIssuer()
  bundle = await domain.serveBundle()
  broker = await startTestBroker({
    trust: [
      ciSource(ci.issuer),
      ciSource(once.issuer, { name: 'once', reuse: 'once' }),
      spiffeSource('prod.example', { url: bundle.url }),
    ],
    policies,
  })
})
afterAll(async () => {
  await broker?.close()
  await Promise.all([ci?.close(), once?.close(), bundle?.close()])
})

const now = () => Math.floor(broker.clock.now() / 1000)
const claims = (more: Record<string, unknown> = {}) => ({
  sub: 'job',
  aud: testIssuer,
  iat: now(),
  exp: now() + 300,
  repository: 'a',
  run_id: '1',
  run_attempt: '1',
  check_run_id: '1',
  ...more,
})
const mint = (assertion: string, audience: string | string[], scope = 'a') =>
  broker.client.request('POST', '/oauth2/token', {
    form: { grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer', assertion, scope, audience },
  })

describe('a mint', () => {
  it('is refused where the token would be larger than what introspection reads', async () => {
    const audiences = Array.from({ length: 30 }, (_, i) => `https://${'x'.repeat(900)}${i}.example`)
    const reply = await mint(ci.sign(claims()), audiences)
    expect(reply.body).toMatchObject({ error: 'invalid_request', code: 'malformed' })
  })

  it('for a task that is silent past its heartbeat is refused before the sweeper has come by', async () => {
    const svid = () => domain.svid('/agent', { audience: testIssuer, now: broker.clock.now() })
    const opened = await broker.client.request('POST', '/v1/tasks', {
      token: svid(),
      json: { kind: 'agent-run', ref: 'silent', heartbeat_timeout: 60 },
    })
    const ask = () =>
      broker.client.request('POST', `/v1/tasks/${opened.body.id}/credentials`, {
        token: svid(),
        json: { type: 'jwt', scope: 'a', audience: 'b' },
      })
    expect((await ask()).status).toBe(201)
    broker.clock.advance(61_000)
    const late = await ask()
    expect([late.status, late.body.code]).toEqual([409, 'task_closed'])
    await broker.sweep()
    const [row] = await broker.sql('SELECT close_reason FROM tasks WHERE id = $1', [opened.body.id])
    expect(row).toEqual({ close_reason: 'silent' })
  })

  it('brings a second proof of who asks, and is refused: it would go unchecked', async () => {
    const reply = await broker.client.request('POST', '/oauth2/token', {
      form: {
        grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer',
        assertion: ci.sign(claims()),
        client_assertion: 'garbage',
        scope: 'a',
        audience: 'b',
      },
    })
    expect(reply.body).toMatchObject({ error: 'invalid_request', code: 'malformed' })
  })

  it('with an attestation that is good until the end of time is no fault of ours', async () => {
    const forever = once.sign(claims({ exp: 253_402_300_799, jti: 'forever', run_id: '2' }))
    expect((await mint(forever, 'b')).status).toBe(200)
    expect((await mint(forever, 'b')).body).toMatchObject({ code: 'attestation_reused' })
  })
})

describe('a Hallpass token at the broker itself', () => {
  it('is judged by the claims that it was minted for', async () => {
    const token = async (ref_protected: string, run_id: string) => {
      const reply = await mint(ci.sign(claims({ ref_protected, run_id })), testIssuer)
      return { task: String(reply.body.task_id), token: String(reply.body.access_token) }
    }
    const beat = async ({ task, token }: { task: string; token: string }) =>
      (await broker.client.request('POST', `/v1/tasks/${task}/heartbeat`, { token, json: {} })).status
    expect(await beat(await token('true', '3'))).toBe(200)
    expect(await beat(await token('false', '4'))).toBe(403)
  })
})
