import { createHash, createPrivateKey } from 'node:crypto'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { masterKeyFrom } from '../../src/secrets/master-key.ts'
import { unwrap } from '../../src/secrets/wrap.ts'
import { startMtlsWorld } from '../features/mtls-world.ts'
import { type TestBroker, testIssuer } from '../support/broker.ts'
import {
  act,
  claimsOf,
  isActive,
  type Minted,
  mint,
  minted,
  opened,
  patchContext,
  type Scene,
  startScene,
} from '../support/scene.ts'
import { selfSigned } from '../support/self-signed.ts'

let scene: Scene
beforeAll(async () => {
  scene = await startScene({
    reuse: 'once',
    replicas: 2,
    sweeps: true,
    config: {
      listen: { host: '127.0.0.1', port: 0, metricsPort: 0, mtls: null, trustedProxies: [] },
      credentials: {
        ttlDefault: 300_000,
        ttlMax: 900_000,
        signingAlg: 'ES256',
        signingAlgFor: { 'https://rsa.example': 'RS256', 'https://ed.example': 'EdDSA' },
      },
    },
  })
})
afterAll(() => scene?.close())

/** Every table of the broker, row by row, as PostgreSQL writes it: bytea in hex. */
async function dump(broker: TestBroker): Promise<string> {
  const tables = await broker.sql<{ name: string }>(
    `SELECT quote_ident(tablename) AS name FROM pg_tables WHERE schemaname = 'public' ORDER BY 1`,
  )
  const texts = []
  for (const { name } of tables) {
    const rows = await broker.sql<{ row: string }>(`SELECT t::text AS row FROM ${name} t`)
    texts.push(`# ${name}`, ...rows.map(({ row }) => row))
  }
  return texts.join('\n')
}

/** However bytes or their text may have been written down. */
function spellings(secret: Buffer | string): string[] {
  const bytes = Buffer.from(secret)
  const base64 = [0, 1, 2].map(offset =>
    // Inside a longer text the three alignments read differently; the ends depend on the neighbours.
    Buffer.concat([Buffer.alloc(offset), bytes])
      .toString('base64')
      .slice(4, -4),
  )
  return [
    ...(typeof secret === 'string' ? [secret] : []),
    bytes.toString('hex'),
    ...base64.filter(text => text.length > 8),
    ...base64.map(text => text.replaceAll('+', '-').replaceAll('/', '_')).filter(text => text.length > 8),
  ]
}

/** A token as a whole, and the parts that make it one: who has its signing input still needs the signature. */
const partsOf = (token: string): string[] => {
  const [, payload = '', signature = ''] = token.split('.')
  return [payload, signature]
}

it('invariant 6: no token, key or attestation is in any row, log line, answer or metric', async () => {
  const { broker, replicas } = scene
  const attestations: string[] = []
  const tokens: string[] = []
  const answers: string[] = []
  const told = <T extends { text: string; headers: Headers }>(reply: T): T => {
    answers.push(reply.text, JSON.stringify([...reply.headers]))
    return reply
  }
  const job = (run?: string, claims = {}) => {
    const attestation = scene.job(run, { jti: crypto.randomUUID(), ...claims })
    attestations.push(attestation)
    return attestation
  }
  const agent = (name: string, claims = {}) => {
    const attestation = scene.agent(name, { jti: crypto.randomUUID(), ...claims })
    attestations.push(attestation)
    return attestation
  }
  const operator = await broker.operatorToken()
  attestations.push(operator)

  // 1. All that succeeds. What hands out tokens is kept apart: there they belong.
  for (const replica of replicas)
    for (const audience of [
      'https://deploy.example',
      'https://rsa.example',
      'https://ed.example',
      testIssuer,
    ])
      tokens.push((await minted(replica, job(), { audience })).access_token)
  const task = await opened(broker, agent('owner'), { context: { ticket: '1' }, bind: ['ticket'] })
  const { access_token: token } = await minted(broker, agent('owner'), { task_id: task.id })
  const { access_token: own } = await minted(broker, agent('owner'), {
    task_id: task.id,
    audience: testIssuer,
  })
  tokens.push(token, own)
  await isActive(broker, agent('service'), token)
  const v1 = async (method: string, path: string, options: object) =>
    told(await broker.client.request(method, path, options))
  for (const bearer of [own, operator]) {
    await v1('GET', `/v1/tasks/${task.id}`, { token: bearer })
    await v1('GET', '/v1/tasks', { token: bearer })
  }
  await v1('GET', `/v1/tasks/${task.id}/credentials`, { token: operator })
  await v1('GET', `/v1/credentials/${claimsOf(token).jti}`, { token: operator })
  await v1('GET', '/v1/decisions?limit=200', { token: operator })
  await v1('GET', '/v1/keys', { token: operator })
  await v1('POST', '/v1/keys/rotate', { token: operator, json: {} })
  for (const path of ['jwks.json', 'openid-configuration', 'oauth-authorization-server'])
    await v1('GET', `/.well-known/${path}`, {})
  told(await patchContext(broker, agent('owner'), task.id, { ticket: '2' }))
  await v1('POST', '/oauth2/revoke', { token: agent('owner'), form: { token } })
  told(await act(broker, agent('owner'), task.id, 'close'))

  // 2. All that fails, with the secrets in every place where they can be put by mistake.
  const used = attestations[1] as string
  told(await mint(broker, used))
  told(await mint(broker, agent('owner'), { task_id: task.id }))
  told(await mint(broker, job('drift')))
  told(await mint(broker, job('drift', { sha: 'other' })))
  for (const forged of [
    job().slice(0, -6),
    `${job()}=`,
    job(undefined, { exp: 1 }),
    job(undefined, { aud: 'x' }),
    token,
    operator,
  ])
    told(await mint(broker, forged))
  for (const secret of [token, used, operator]) {
    for (const place of [
      'task_id',
      'task_ver',
      'ttl',
      'scope',
      'resource',
      'grant_type',
      'client_id',
      'subject_token_type',
      'unknown',
    ])
      told(await mint(broker, job(), { [place]: `${place === 'scope' ? '"' : ''}${secret}` }))
    for (const path of [
      `/v1/tasks/${secret}`,
      `/v1/credentials/${secret}`,
      `/v1/tasks?cursor=${secret}`,
      `/v1/tasks?${secret}`,
      `/${secret}`,
    ])
      await v1('GET', path, { token: agent('careless') })
    await v1('GET', '/v1/tasks', { headers: { Authorization: `Basic ${secret}` } })
    await v1('GET', '/v1/tasks', { headers: { Authorization: `Bearer ${secret} ${secret}` } })
    await v1('GET', '/v1/tasks', { headers: { Authorization: `Bearer ${secret.slice(1)}` } })
    await v1('POST', '/oauth2/introspect', { token: agent('careless'), form: { token: `${secret}=` } })
    await v1('POST', '/oauth2/revoke', { token: agent('careless'), form: { token: `${secret}=` } })
    await v1('POST', '/oauth2/introspect', { token: agent('careless'), form: { [secret]: 'token' } })
    for (const body of [secret, `{"kind":${secret}}`, JSON.stringify({ kind: secret, ref: 'r' })])
      await v1('POST', '/v1/tasks', {
        token: agent('careless'),
        body,
        headers: { 'Content-Type': 'application/json' },
      })
    await v1('PATCH', `/v1/tasks/${task.id}/context`, {
      token: agent('owner'),
      json: {},
      headers: { 'If-Match': secret },
    })
  }

  // 3. And what goes wrong inside.
  await broker.sql('ALTER TABLE credentials ADD CONSTRAINT never CHECK (scope IS NULL) NOT VALID')
  const failing = job()
  const response = await fetch(`${broker.url}/oauth2/token`, {
    method: 'POST',
    body: new URLSearchParams({
      grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer',
      assertion: failing,
      scope: 'a',
      audience: 'b',
    }),
  })
  expect(response.status).toBe(500)
  answers.push(await response.text())
  await broker.sql('ALTER TABLE credentials DROP CONSTRAINT never')
  scene.ci.fault = { discovery: 'hang-up', jwks: 'not-json' }
  broker.clock.advance(4 * 3_600_000)
  told(await mint(broker, job()))
  for (const replica of replicas) await replica.sweep()

  // 4. The keys themselves.
  const secret = broker.config.masterKey as Buffer
  const master = masterKeyFrom(secret)
  const rows = await broker.sql<{ kid: string; alg: string; private_key: Buffer }>(
    'SELECT * FROM signing_keys',
  )
  const privateKeys = rows.flatMap(({ kid, alg, private_key }) => {
    const der = unwrap(master, { purpose: 'signing-key', kid: `${alg}.${kid}` }, private_key)
    const { d, p, q } = createPrivateKey({ key: der, type: 'pkcs8', format: 'der' }).export({ format: 'jwk' })
    return [d, p, q].flatMap(member => member ?? []).map(member => Buffer.from(member, 'base64url'))
  })
  expect(rows.length).toBeGreaterThanOrEqual(6)
  const keys = [secret, master.derive('wrap'), master.derive('operator-token'), ...privateKeys]

  const metrics = await Promise.all(
    replicas.map(async ({ metricsUrl }) => (await fetch(metricsUrl as string)).text()),
  )
  const places: Record<string, string> = {
    rows: await dump(broker),
    lines: replicas.flatMap(({ logged }) => logged).join('\n'),
    answers: answers.join('\n'),
    metrics: metrics.join('\n'),
  }
  // Each place has been looked at: what stands for the secrets is there.
  expect(places.rows).toContain(claimsOf(token).jti)
  expect(places.lines).toContain('a fault of the broker')
  expect(places.answers).toContain('attestation_reused')
  expect(places.metrics).toMatch(/hallpass_decisions_total\{.*action="mint"/)

  const secrets = [
    ...[...attestations, ...tokens].flatMap(partsOf).flatMap(part => [part, ...spellings(part)]),
    ...keys.flatMap(spellings),
  ]
  for (const [place, text] of Object.entries(places)) {
    const found = secrets.filter(one => text.includes(one))
    expect(found, `in ${place}: ${found.map(one => around(text, one)).join('\n')}`).toEqual([])
  }
})

const around = (text: string, found: string): string => {
  const at = text.indexOf(found)
  return text.slice(Math.max(0, at - 200), at + 20)
}

it('invariant 6: the attested claims are in the log, and the attestation is there as its SHA-256', async () => {
  const attestation = scene.job('seen', { jti: crypto.randomUUID(), now: scene.broker.clock.now() })
  scene.ci.fault = {}
  scene.broker.clock.advance(60_000)
  const { access_token } = await minted(scene.broker, attestation)
  const rows = await scene.broker.sql(
    `SELECT attestation, workload->'tags'->>'run_id' AS run FROM decisions WHERE jti = $1 AND action = 'mint'`,
    [claimsOf(access_token).jti],
  )
  expect(rows).toEqual([{ attestation: createHash('sha256').update(attestation).digest(), run: 'seen' }])
})

it('invariant 6: nor is what a client showed by mutual TLS, or what was bound to it', async () => {
  const world = await startMtlsWorld()
  try {
    const { broker } = world
    const svid = world.svid('/agent')
    const stranger = selfSigned()
    const client = world.with(svid.pem)
    const answers: string[] = []
    const ask = async (by: Pick<typeof client, 'request'>, path: string, options: object) => {
      const { text, headers } = await by.request('POST', path, options)
      answers.push(text, JSON.stringify([...headers]))
      return text
    }
    const { id } = JSON.parse(await ask(client, '/v1/tasks', { json: { kind: 'agent-run', ref: 'r' } }))
    const form = { grant_type: 'client_credentials', scope: 'a', task_id: id, binding: 'mtls' }
    const { body } = await client.request<Minted>('POST', '/oauth2/token', {
      form: { ...form, audience: testIssuer },
    })
    const token = body.access_token
    expect(claimsOf(token)).toHaveProperty('cnf')
    for (const by of [world.with(stranger), world.with(), broker.client]) {
      await ask(by, `/v1/tasks/${id}/heartbeat`, { token, json: {} })
      await ask(by, '/oauth2/token', { form: { ...form, audience: 'b' } })
      await ask(by, '/v1/tasks', { json: {} })
    }
    await ask(client, '/v1/tasks', { json: { kind: svid.pem.cert, ref: 'r' } })
    await ask(client, '/oauth2/token', { form: { ...form, audience: 'b', client_id: svid.pem.cert } })

    const places = { rows: await dump(broker), lines: broker.logged.join('\n'), answers: answers.join('\n') }
    const sha256 = createHash('sha256').update(svid.certificate).digest('hex')
    expect(places.rows).toContain(sha256)
    expect(places.lines).toContain('certificate_mismatch')
    const keys = [svid.key, createPrivateKey(stranger.key)].map(key =>
      Buffer.from(key.export({ format: 'jwk' }).d ?? '', 'base64url'),
    )
    // Of a certificate, its signature: all of it that is its own.
    const certificates = [svid.certificate, stranger.der].map(der => der.subarray(-64))
    const secrets = [
      ...[...keys, ...certificates].flatMap(spellings),
      ...partsOf(token).flatMap(part => [part, ...spellings(part)]),
    ]
    for (const [place, text] of Object.entries(places))
      expect(
        secrets.filter(one => text.includes(one)),
        `in ${place}`,
      ).toEqual([])
  } finally {
    await world.close()
  }
})
