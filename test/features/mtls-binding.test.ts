import { createHash } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Introspection, Task, TokenResponse } from '../../src/http/openapi.generated.d.ts'
import { allowAll, testIssuer } from '../support/broker.ts'
import { csrOf, newKeyPair } from '../support/csr.ts'
import { claimsOf } from '../support/scene.ts'
import { selfSigned } from '../support/self-signed.ts'
import type { TestSvid } from '../support/x509.ts'
import { type MtlsWorld, startMtlsWorld } from './mtls-world.ts'
import { deploy, fields, jwtType, type OAuthError, type Problem, tokenExchange } from './world.ts'

const vault = 'https://vault.example'
/** `allow-mint` allows it as well, without a word of a binding. */
const policies = `${allowAll}
@id("bound-vault") @binding("mtls")
permit (principal is Workload, action == Action::"mint", resource) when { context.audience == "${vault}" };`

let world: MtlsWorld
beforeAll(async () => {
  world = await startMtlsWorld({ policies })
})
afterAll(() => world?.close())

const thumbprint = ({ certificate }: Pick<TestSvid, 'certificate'>) =>
  createHash('sha256').update(certificate).digest('base64url')
type Client = Pick<ReturnType<MtlsWorld['with']>, 'request'>
const cnfOf = (token: string) => (claimsOf(token) as { cnf?: unknown }).cnf

/** A task of an agent's, and its SVID. */
async function task(
  path = '/agent',
): Promise<{ svid: TestSvid; client: ReturnType<MtlsWorld['with']>; task: Task }> {
  const svid = world.svid(path)
  const client = world.with(svid.pem)
  const { body } = await client.request<Task>('POST', '/v1/tasks', {
    json: { kind: 'agent-run', ref: crypto.randomUUID() },
  })
  return { svid, client, task: body }
}

const byRest = (client: Client, { id }: Task, more: Record<string, unknown> = {}, token?: string) =>
  client.request<TokenResponse & Problem>('POST', `/v1/tasks/${id}/credentials`, {
    json: { type: 'jwt', scope: 'deploy:prod', audience: deploy, ...more },
    ...(token !== undefined && { token }),
  })
const byOauth = (client: Client, { id }: Task, more: Record<string, string | undefined> = {}) =>
  client.request<TokenResponse & OAuthError>('POST', '/oauth2/token', {
    form: fields({
      grant_type: 'client_credentials',
      scope: 'deploy:prod',
      audience: deploy,
      task_id: id,
      ...more,
    }),
  })
const byToken = (client: Client, { id }: Task, more: Record<string, string | undefined> = {}) =>
  byOauth(client, { id } as Task, {
    grant_type: tokenExchange,
    subject_token: world.as('/agent'),
    subject_token_type: jwtType,
    ...more,
  })

describe('a token is bound to the client’s certificate', () => {
  it('where the request asks for it, by REST, as a client, and by a token beside the certificate', async () => {
    const { svid, client, task: own } = await task()
    const cnf = { 'x5t#S256': thumbprint(svid) }
    for (const { body, text } of [
      await byRest(client, own, { binding: 'mtls' }),
      await byRest(client, own, { binding: 'mtls' }, world.as('/agent')),
      await byOauth(client, own, { binding: 'mtls' }),
      await byToken(client, own, { binding: 'mtls' }),
    ])
      expect(cnfOf(body.access_token), text).toEqual(cnf)
  })

  it('to one that proves nothing else, too: whoever has its key has the token (RFC 8705 §3)', async () => {
    const { task: own } = await task()
    const shown = selfSigned()
    const { body } = await byToken(world.with(shown), own, { binding: 'mtls' })
    expect(cnfOf(body.access_token)).toEqual({ 'x5t#S256': thumbprint({ certificate: shown.der }) })
  })

  it('where policy asks for it, though one that does not would have been enough', async () => {
    const { svid, client, task: own } = await task()
    for (const { body } of [
      await byRest(client, own, { audience: vault }),
      await byOauth(client, own, { audience: vault }),
      // One audience that asks for it is enough.
      await byRest(client, own, { audience: [deploy, vault] }),
    ])
      expect(cnfOf(body.access_token)).toEqual({ 'x5t#S256': thumbprint(svid) })
    // Whoever shows another gets another, however often it was decided before.
    const again = world.svid('/agent')
    const { body } = await byOauth(world.with(again.pem), own, { audience: vault })
    expect(cnfOf(body.access_token)).toEqual({ 'x5t#S256': thumbprint(again) })
  })

  it('and not where neither does', async () => {
    const { client, task: own } = await task()
    expect(cnfOf((await byRest(client, own)).body.access_token)).toBeUndefined()
    expect(cnfOf((await byOauth(client, own, { binding: '' })).body.access_token)).toBeUndefined()
  })

  it('which an introspection tells', async () => {
    const { svid, client, task: own } = await task()
    const { access_token: token } = (await byRest(client, own, { binding: 'mtls' })).body
    const { body } = await client.request<Introspection>('POST', '/oauth2/introspect', { form: { token } })
    expect(body).toMatchObject({ active: true, cnf: { 'x5t#S256': thumbprint(svid) } })
    expect(await world.introspect(token)).toMatchObject({
      active: true,
      cnf: { 'x5t#S256': thumbprint(svid) },
    })
  })
})

describe('nothing is minted', () => {
  it('where a binding is asked for and there is no certificate', async () => {
    const { task: own } = await task()
    for (const client of [world.broker.client, world.with()]) {
      expect(await byToken(client, own, { binding: 'mtls' })).toMatchObject({
        status: 400,
        body: { error: 'invalid_request', code: 'malformed' },
      })
      const { status, body } = await byRest(client, own, { binding: 'mtls' }, world.as('/agent'))
      expect([status, body.code]).toEqual([400, 'malformed'])
      expect(body.decision_id).toBeDefined()
    }
  })

  it('where policy asks for one and there is no certificate, and the log says why', async () => {
    const { task: own } = await task()
    for (const client of [world.broker.client, world.with()]) {
      const oauth = await byToken(client, own, { audience: vault })
      expect([oauth.status, oauth.body.code]).toEqual([400, 'refused'])
      const { status, body } = await byRest(client, own, { audience: vault }, world.as('/agent'))
      expect(status).toBe(403)
      expect(body).toMatchObject({ code: 'refused', detail: expect.stringContaining('mutual TLS') })
      const [row] = await world.broker.sql('SELECT decision, reason, jti FROM decisions WHERE id = $1', [
        body.decision_id,
      ])
      expect(row).toEqual({ decision: 'deny', reason: expect.stringContaining('mutual TLS'), jti: null })
      // What does not ask for one is not held up.
      expect((await byRest(client, own, {}, world.as('/agent'))).status).toBe(201)
    }
  })

  it.each(['dpop', 'MTLS', 'none', 'mtls '])('for a binding to %j', async binding => {
    const { client, task: own } = await task()
    expect(await byOauth(client, own, { binding })).toMatchObject({
      status: 400,
      body: { code: 'malformed' },
    })
    expect((await byRest(client, own, { binding })).status).toBe(422)
  })

  it('but certificates, which are their keys’ by themselves', async () => {
    const { task: own } = await task()
    const asked = { type: 'x509', csr: csrOf(newKeyPair()), audience: vault }
    const { status, text } = await byRest(world.broker.client, own, asked, world.as('/agent'))
    expect(status, text).toBe(201)
    const { status: bound } = await byRest(
      world.broker.client,
      own,
      { ...asked, binding: 'mtls' },
      world.as('/agent'),
    )
    expect(bound).toBe(422)
  })
})

describe('a bound token for the broker itself', () => {
  const reads = async (client: Client, { id }: Task, token: string) => {
    const { status, body } = await client.request<Problem>('GET', `/v1/tasks/${id}`, { token })
    return status === 200 ? 200 : [status, body.code]
  }

  it('is good on its holder’s connections, and on nobody else’s', async () => {
    const { svid, client, task: own } = await task()
    const { access_token: token } = (await byRest(client, own, { audience: testIssuer, binding: 'mtls' }))
      .body
    expect(await reads(client, own, token)).toBe(200)
    expect(await reads(world.with(svid.pem), own, token)).toBe(200)
    const refused = [401, 'attestation_invalid']
    // The same workload with its next SVID is another holder.
    for (const other of [world.svid('/agent').pem, world.svid('/thief').pem, selfSigned(), undefined])
      expect(await reads(world.with(other), own, token)).toEqual(refused)
    expect(await reads(world.broker.client, own, token)).toEqual(refused)
    await expect
      .poll(async () => {
        await reads(world.broker.client, own, token)
        return (
          await world.broker.sql<{ attestation: Buffer }>(
            `SELECT attestation FROM decisions WHERE reason = 'certificate_mismatch' LIMIT 1`,
          )
        )[0]?.attestation
      })
      .toEqual(createHash('sha256').update(token).digest())
    // And it acts for its holder as others do.
    const closed = await client.request('POST', `/v1/tasks/${own.id}/close`, { token, json: {} })
    expect(closed.status).toBe(200)
  })

  it('is told from one that is bound to nobody, which is good everywhere', async () => {
    const { client, task: own } = await task()
    const { access_token: token } = (await byRest(client, own, { audience: testIssuer })).body
    for (const anybody of [client, world.with(selfSigned()), world.with(), world.broker.client])
      expect(await reads(anybody, own, token)).toBe(200)
  })

  it('mints nothing, certificate or not', async () => {
    const { client, task: own } = await task()
    const { access_token: token } = (await byRest(client, own, { audience: testIssuer, binding: 'mtls' }))
      .body
    const { status, body } = await byRest(client, own, { binding: 'mtls' }, token)
    expect([status, body.code]).toEqual([403, 'refused'])
  })
})
