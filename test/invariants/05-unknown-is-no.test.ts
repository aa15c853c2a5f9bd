import { readdirSync, unlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect, it } from 'vitest'
import { allowAll, spiffeSource, startTestBroker, testIssuer } from '../support/broker.ts'
import { databaseAway } from '../support/database-away.ts'
import { encode, type Fault, type generateKey, signText } from '../support/issuer.ts'
import {
  jobClaims,
  mint,
  minted,
  opened,
  type Scene,
  type SceneOptions,
  startScene,
  tokenForm,
} from '../support/scene.ts'
import { createTrustDomain } from '../support/spiffe.ts'

let ends: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const end of ends.reverse()) await end()
  ends = []
})

async function scene(options: SceneOptions = {}): Promise<Scene> {
  const started = await startScene(options)
  ends.push(started.close)
  return started
}

const credentials = async ({ broker }: Scene): Promise<number> =>
  (await broker.sql<{ n: number }>('SELECT count(*)::int AS n FROM credentials'))[0]!.n

const overflow = 'context.ttl * 9223372036854775807 > 0'

it.each([
  [
    'a permit that cannot be evaluated',
    `permit (principal, action == Action::"mint", resource) when { ${overflow} };`,
  ],
  [
    'a forbid that cannot be evaluated',
    `forbid (principal, action == Action::"mint", resource) when { ${overflow} };`,
  ],
  [
    'an unless that cannot be evaluated',
    `forbid (principal, action == Action::"mint", resource) unless { ${overflow} };`,
  ],
])('invariant 5: %s refuses, although another policy permits', async (_, policy) => {
  const tried = await scene({ policies: `${allowAll}\n@id("failing") ${policy}` })
  const { status, body } = await mint(tried.broker, tried.job())
  expect({ status, code: body.code }).toEqual({ status: 400, code: 'refused' })
  expect(await credentials(tried)).toBe(0)
  const rows = await tried.broker.sql('SELECT reason FROM decisions WHERE id = $1', [body.decision_id])
  expect(rows).toEqual([{ reason: expect.stringContaining('failing') }])
})

it('invariant 5: where no policy speaks, the answer is no', async () => {
  const tried = await scene({ policies: '' })
  expect((await mint(tried.broker, tried.job())).body).toMatchObject({ code: 'refused' })
  expect(await credentials(tried)).toBe(0)
})

it('invariant 5: a broken change of policy changes nothing; taking the permits away refuses at once', async () => {
  const tried = await scene()
  const file = join(tried.broker.policyDir, 'test.cedar')
  writeFileSync(file, `${allowAll}\nthis is no policy`)
  await expect.poll(() => tried.broker.logged.some(line => line.includes('policy change refused'))).toBe(true)
  await minted(tried.broker, tried.job())
  for (const name of readdirSync(tried.broker.policyDir))
    if (name.endsWith('.cedar')) unlinkSync(join(tried.broker.policyDir, name))
  await expect
    .poll(async () => (await mint(tried.broker, tried.job())).body.code, { timeout: 10_000 })
    .toBe('refused')
})

it('invariant 5: a broker whose policies do not load does not start', async () => {
  await expect(startScene({ policies: '@id("a") permit (principal, action, resource' })).rejects.toThrow(
    'faults',
  )
})

const faults: Fault[] = ['error', 'not-found', 'redirect', 'not-json', 'no-keys', 'hang-up', 'huge']

it('invariant 5: keys that cannot be had, or have been away for longer than they may serve, let nobody in', async () => {
  const tried = await scene()
  for (const fault of faults) {
    await minted(tried.broker, tried.job())
    const before = await credentials(tried)
    tried.broker.clock.advance(3 * 3_600_000)
    tried.ci.fault = { jwks: fault }
    const { status, headers, body } = await mint(tried.broker, tried.job())
    if (status === 503) expect(Number(headers.get('Retry-After'))).toBeGreaterThan(0)
    else
      expect({ fault, status, code: body.code }).toEqual({ fault, status: 400, code: 'attestation_invalid' })
    expect(await credentials(tried)).toBe(before)
    tried.ci.fault = {}
    tried.broker.clock.advance(60_000)
  }
})

it('invariant 5: an empty or vanished SPIFFE bundle lets nobody in', async () => {
  const domain = createTrustDomain('prod.example')
  const endpoint = await domain.serveBundle()
  const broker = await startTestBroker({ trust: [spiffeSource('prod.example', { url: endpoint.url })] })
  ends.push(broker.close, endpoint.close)
  const svid = () => domain.svid('/ci/deployer', { audience: testIssuer, now: broker.clock.now() })
  const task = await opened(broker, svid())
  await minted(broker, svid(), { task_id: task.id })

  const kept = domain.keys
  domain.keys = []
  broker.clock.advance(120_000)
  const refused = () => mint(broker, svid(), { task_id: task.id })
  // Signed with the key of before, which the bundle has no more.
  domain.svid = (path, options) => createSvid(kept[0]!, path, options.now)
  await expect.poll(async () => (await refused()).body.code).toBe('attestation_invalid')
})

const createSvid = (key: ReturnType<typeof generateKey>, path: string, now = Date.now()) => {
  const iat = Math.floor(now / 1000)
  const claims = { sub: `spiffe://prod.example${path}`, aud: testIssuer, iat, exp: iat + 300 }
  return signText(key, JSON.stringify({ alg: key.alg, kid: key.kid, typ: 'JWT' }), JSON.stringify(claims))
}

it('invariant 5: what does not parse is refused, even where its signature is good', async () => {
  const tried = await scene()
  const [key] = tried.ci.keys
  const header = JSON.stringify({ alg: key!.alg, kid: key!.kid, typ: 'JWT' })
  const payload = JSON.stringify({ iss: tried.ci.issuer, ...jobClaims('1') })
  const claims = (more: object) => JSON.stringify({ iss: tried.ci.issuer, ...jobClaims('1'), ...more })
  const texts: [string, string][] = [
    [header, payload.slice(0, -1)],
    [header, payload.replace('{', '{"sub":"a","sub":"b",')],
    [header, `${payload} x`],
    [header, '[]'],
    [header, 'null'],
    [header, `\ufeff${payload}`],
    [`${header.slice(0, -1)},"alg":"none"}`, payload],
    [header.replace('"JWT"', '"at+jwt"'), payload],
    [header, claims({ exp: 'tomorrow' })],
    [header, claims({ exp: null })],
    [header, claims({ nbf: [] })],
    [header, claims({ aud: [testIssuer, 'https://other.example'] })],
    [header, claims({ aud: {} })],
    [header, claims({ sub: 7 })],
    [header, claims({ sub: '' })],
    [header, claims({ 'a.b': '1', a: { b: '2' } })],
  ]
  for (const [head, body] of texts)
    expect((await mint(tried.broker, signText(key!, head, body))).body, body).toMatchObject({
      code: 'attestation_invalid',
    })
  for (const text of [
    '',
    '.',
    '..',
    'a',
    `${encode(header)}.${encode(payload)}.`,
    `${encode(header)}.${encode(payload)}`,
  ])
    expect((await mint(tried.broker, text)).status, text).toBe(400)
  expect((await mint(tried.broker, signText(key!, header, claims({ run_id: '' })))).body.code).toBe(
    'malformed',
  )
  expect((await mint(tried.broker, signText(key!, header, claims({ run_id: undefined })))).body.code).toBe(
    'malformed',
  )
  expect(await credentials(tried)).toBe(0)
  // The same spelled well is let in.
  await minted(tried.broker, signText(key!, header, payload))
})

it('invariant 5: a parameter that is unknown to its grant, doubled or without sense is refused', async () => {
  const tried = await scene()
  const form = (more: Record<string, string | string[]>) =>
    tried.broker.client.request('POST', '/oauth2/token', { form: tokenForm(tried.job(), more) })
  for (const more of [
    { scope: ['a', 'b'] },
    { subject_token: [tried.job(), tried.job()] },
    { ttl: '-1' },
    { ttl: '1e9' },
    { ttl: '0' },
    { task_ver: 'x' },
    { task_id: 'x' },
    { grant_type: 'password' },
    { authorization_details: '[]' },
    { actor_token: tried.job() },
    { subject_token_type: 'urn:ietf:params:oauth:token-type:access_token' },
    { requested_token_type: 'urn:ietf:params:oauth:token-type:saml2' },
    { resource: 'relative' },
    { audience: '' },
  ])
    expect((await form(more)).status, JSON.stringify(more)).toBe(400)
  expect(await credentials(tried)).toBe(0)
})

it('invariant 5: while the way to the database is cut, every door says 503 and when to come back', () =>
  databaseAway('cut', ends))
