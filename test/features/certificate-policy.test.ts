import { execFileSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { allowAll, type TestBroker } from '../support/broker.ts'
import { mintCertificate, pki } from '../support/certificate-scene.ts'
import { isThere } from '../support/judges.ts'
import { minted, opened, type Scene, startScene, type TaskBody } from '../support/scene.ts'

const policies = `${allowAll.replace(/@id\("allow-mint"\).*\n/, '')}
@id("tokens") permit (principal, action == Action::"mint", resource) when { context.credential == "jwt" };
@id("clients") @ttl("2m") permit (principal, action == Action::"mint", resource in Scope::"deploy")
  when { context.credential == "x509" && context.usages == ["clientAuth"] && context.dns_names.isEmpty() };
@id("servers") permit (principal, action == Action::"mint", resource == Scope::"serve:api")
  when { context.credential == "x509" && context.usages.contains("serverAuth")
    && ["api.example", "api.internal"].containsAll(context.dns_names) };
@id("anything") permit (principal, action == Action::"mint", resource == Scope::"own:name");
@id("no-certificates") forbid (principal, action == Action::"mint", resource == Scope::"tokens:only")
  when { context.credential == "x509" };
@id("tokens-only") permit (principal, action == Action::"mint", resource == Scope::"tokens:only");`

let scene: Scene
let broker: TestBroker
let task: TaskBody
beforeAll(async () => {
  scene = await startScene({ policies, config: { pki } })
  broker = scene.broker
  task = await opened(broker, scene.agent('runner'))
})
afterAll(() => scene?.close())

const ask = (more: object) => mintCertificate(broker, scene.agent('runner'), task, more)
const lastRow = async () =>
  (
    await broker.sql<{ decision: string; code: string | null; asked: Record<string, unknown> }>(
      `SELECT decision, code, asked FROM decisions WHERE action = 'mint' ORDER BY id DESC LIMIT 1`,
    )
  )[0]!

it('whatever policy allows, no certificate has the broker’s own name: its holder could pass for the broker', async () => {
  const more = { csr: undefined, format: 'pkcs12', password: 'p' }
  for (const asked of [{}, { usages: ['serverAuth'] }, more]) {
    const { status, body } = await ask({
      scope: 'own:name',
      dns_names: ['a.example', 'hallpass.test'],
      ...asked,
    })
    expect([status, body.code]).toEqual([403, 'refused'])
    expect(await lastRow()).toMatchObject({ decision: 'deny', code: 'refused' })
  }
  expect((await ask({ scope: 'own:name', dns_names: ['a.hallpass.test'] })).status).toBe(201)
})

describe('policy sees what a certificate would be, and', () => {
  it('allows what it allows, for no longer than it says', async () => {
    const { status, body } = await ask({ ttl: 900 })
    expect(status).toBe(201)
    const { validFrom, validTo, keyUsage, subjectAltName } = new X509Certificate(body.certificate ?? '')
    expect((Date.parse(validTo) - Date.parse(validFrom)) / 1000).toBe(150)
    expect(keyUsage).toEqual(['1.3.6.1.5.5.7.3.2'])
    expect(subjectAltName).toBe(`URI:spiffe://hallpass.test/task/${task.id}`)
  })

  it('puts DNS names in where each of them is allowed', async () => {
    const dns_names = ['api.example', 'api.internal']
    const usages = ['serverAuth', 'clientAuth']
    const { status, body } = await ask({ scope: 'serve:api', usages, dns_names })
    expect(status).toBe(201)
    const { subjectAltName, keyUsage } = new X509Certificate(body.certificate ?? '')
    expect(subjectAltName).toBe(
      `URI:spiffe://hallpass.test/task/${task.id}, DNS:api.example, DNS:api.internal`,
    )
    expect(keyUsage?.toSorted()).toEqual(['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2'])
    expect(await lastRow()).toMatchObject({
      decision: 'allow',
      asked: { usages, dns_names, credential: 'x509' },
    })
  })

  it.each([
    ['serverAuth where it is not allowed', { usages: ['serverAuth'] }],
    ['both purposes where one is', { usages: ['clientAuth', 'serverAuth'] }],
    ['a DNS name where none is', { dns_names: ['api.example'] }],
    [
      'one DNS name too many',
      { scope: 'serve:api', usages: ['serverAuth'], dns_names: ['api.example', 'evil.example'] },
    ],
    ['a client where servers are', { scope: 'serve:api' }],
    ['a certificate where tokens alone are', { scope: 'tokens:only' }],
    ['one scope that is refused among others', { scope: 'deploy:prod tokens:only' }],
  ])('refuses %s', async (_, more) => {
    const { status, body } = await ask(more)
    expect([status, body.code]).toEqual([403, 'refused'])
    expect(await lastRow()).toMatchObject({
      decision: 'deny',
      code: 'refused',
      asked: { credential: 'x509' },
    })
  })

  it('says the same of tokens as ever', async () => {
    const attestation = scene.agent('runner')
    expect(
      (await minted(broker, attestation, { task_id: task.id, scope: 'tokens:only' })).access_token,
    ).toBeTypeOf('string')
  })
})

it.skipIf(!isThere('openssl', 'version'))(
  'what a CSR of openssl asked for beyond its key is not granted, and the log says so (where openssl is there)',
  async () => {
    const dir = mkdtempSync(join(tmpdir(), 'hallpass-csr-'))
    try {
      const args =
        'req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout k.pem -out c.pem -subj /CN=root -addext basicConstraints=critical,CA:TRUE -addext subjectAltName=DNS:evil.example'
      execFileSync('openssl', args.split(' '), { cwd: dir, stdio: 'pipe' })
      const { status, body } = await ask({ csr: readFileSync(join(dir, 'c.pem'), 'utf8') })
      expect(status).toBe(201)
      const { ca, subject, subjectAltName } = new X509Certificate(body.certificate ?? '')
      expect([ca, subject || undefined, subjectAltName]).toEqual([
        false,
        undefined,
        `URI:spiffe://hallpass.test/task/${task.id}`,
      ])
      expect(await lastRow()).toMatchObject({
        decision: 'allow',
        asked: { ignored: ['subject', 'basicConstraints CA:TRUE', 'subjectAltName'] },
      })
    } finally {
      rmSync(dir, { recursive: true })
    }
  },
)

describe('a broker without a trust domain of its own', () => {
  let plain: Scene
  beforeAll(async () => {
    plain = await startScene()
  })
  afterAll(() => plain?.close())

  it.each(['/pki/ca.pem', '/spiffe/bundle', '/pki/crl', '/v1/ca'])('has nothing at %s', async path => {
    const token = await plain.broker.operatorToken()
    const { status, body } = await plain.broker.client.request<{ code: string }>('GET', path, { token })
    expect([status, body.code]).toEqual([404, 'not_found'])
  })

  it('makes no request and installs nothing', async () => {
    const token = await plain.broker.operatorToken()
    for (const [path, json] of [
      ['/v1/ca/csr', {}],
      ['/v1/ca/install', { chain: '-----BEGIN CERTIFICATE-----' }],
    ] as const) {
      const { status, body } = await plain.broker.client.request<{ code: string }>('POST', path, {
        token,
        json,
      })
      expect([status, body.code]).toEqual([404, 'not_found'])
    }
    expect(await plain.broker.sql('SELECT kid FROM ca_requests')).toEqual([])
    expect(await plain.broker.sql('SELECT kid FROM ca_roots')).toEqual([])
  })

  it('refuses to mint a certificate as malformed, with a row', async () => {
    const agent = plain.agent('runner')
    const { status, body } = await mintCertificate(plain.broker, agent, await opened(plain.broker, agent))
    expect([status, body.code]).toEqual([400, 'malformed'])
    expect(await plain.broker.sql(`SELECT decision, code FROM decisions WHERE action = 'mint'`)).toEqual([
      { decision: 'deny', code: 'malformed' },
    ])
  })
})
