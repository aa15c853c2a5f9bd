import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { ConfigError, listeningOn, loadConfig } from '../../src/config.ts'
import { faults, folder, load } from './load.ts'

const key = Buffer.alloc(32, 7)
const masterKey = key.toString('base64')

test('without a file, everything has its default', () => {
  const cwd = folder()
  expect(loadConfig({ env: {}, cwd })).toEqual({
    issuer: 'http://127.0.0.1:8420',
    listen: { host: '127.0.0.1', port: 8420, metricsPort: null, mtls: null, trustedProxies: [] },
    dataDir: join(cwd, '.hallpass'),
    database: null,
    masterKey: null,
    clockSkew: 30_000,
    trust: [],
    policy: { dir: null },
    credentials: { ttlDefault: 300_000, ttlMax: 900_000, signingAlg: 'ES256', signingAlgFor: {} },
    tasks: { deadlineDefault: 3_600_000, deadlineMax: 86_400_000, depthMax: 3, retention: 90 * 86_400_000 },
    limits: { principal: null, address: null },
    feed: { readers: 5_000, anonymous: 3_000, perAddress: 2_000, perPrincipal: 500 },
    pki: { trustDomain: '127.0.0.1', path: '/task/{task_id}' },
    hooks: [],
    warnings: [],
  })
})

test('an empty file, and one of comments only, say the same as none', () => {
  expect(load('').issuer).toBe('http://127.0.0.1:8420')
  expect(load('# nothing yet\n').issuer).toBe('http://127.0.0.1:8420')
})

test('the whole file of the contract is read', () => {
  const cwd = folder()
  mkdirSync(join(cwd, 'etc', 'policies'), { recursive: true })
  writeFileSync(join(cwd, 'etc', 'broker.yaml'), contract)
  const config = loadConfig({
    cwd,
    env: { HALLPASS_CONFIG: 'etc/broker.yaml', HALLPASS_MASTER_KEY: masterKey },
  })
  expect(config).toEqual({
    issuer: 'https://hallpass.example',
    listen: {
      host: '127.0.0.1',
      port: 8420,
      metricsPort: 9420,
      mtls: { port: 8443, cert: null, key: null },
      trustedProxies: ['10.0.0.0/8', '::1'],
    },
    dataDir: join(cwd, 'etc', '.hallpass'),
    database: { url: 'postgres://broker:hunter2@db.example/hallpass' },
    masterKey: key,
    clockSkew: 0,
    trust: [
      {
        name: 'github',
        kind: 'oidc',
        issuer: 'https://token.actions.githubusercontent.com',
        audience: 'https://hallpass.example',
        jwksUri: null,
        require: { repository_owner_id: '4711' },
        task: {
          kind: 'ci-job',
          ref: '{repository}/runs/{run_id}/attempts/{run_attempt}/jobs/{check_run_id}',
          bind: ['repository', 'sha', 'workflow_ref', 'environment'],
        },
        reuse: 'once',
        operators: null,
      },
      {
        name: 'prod',
        kind: 'spiffe',
        trustDomain: 'prod.example',
        audience: 'https://hallpass.example',
        bundle: { url: 'https://spire.prod.example/bundle' },
        reuse: 'any',
      },
      {
        name: 'lab',
        kind: 'spiffe',
        trustDomain: 'lab.example',
        audience: 'lab',
        bundle: { file: join(cwd, 'etc', 'bundle.json') },
        reuse: 'any',
      },
      {
        name: 'staff',
        kind: 'oidc',
        issuer: 'https://login.example/',
        audience: 'hallpass-console',
        jwksUri: 'https://login.example/keys?p=1',
        require: {},
        task: null,
        reuse: 'any',
        operators: { groupsClaim: 'groups', maxAge: 28_800_000 },
      },
    ],
    policy: { dir: join(cwd, 'etc', 'policies') },
    credentials: {
      ttlDefault: 300_000,
      ttlMax: 900_000,
      signingAlg: 'ES256',
      signingAlgFor: { 'api://AzureADTokenExchange': 'RS256' },
    },
    tasks: { deadlineDefault: 3_600_000, deadlineMax: 86_400_000, depthMax: 3, retention: 90 * 86_400_000 },
    limits: { principal: 20, address: 0.5 },
    feed: { readers: 1_000, anonymous: 900, perAddress: 800, perPrincipal: 500 },
    pki: { trustDomain: 'hallpass.example', path: '/task/{task_id}' },
    hooks: [],
    warnings: [],
  })
})

const contract = `
issuer: https://hallpass.example
listen: { host: 127.0.0.1, port: 8420, trusted_proxies: [10.0.0.0/8, "::1"], metrics_port: 9420, mtls: { port: 8443 } }
data_dir: .hallpass
database: { url: "postgres://broker:hunter2@db.example/hallpass" }
clock_skew: 0s
trust:
  - name: github
    kind: oidc
    issuer: https://token.actions.githubusercontent.com
    audience: https://hallpass.example
    require: { repository_owner_id: "4711" }
    task:
      kind: ci-job
      ref: "{repository}/runs/{run_id}/attempts/{run_attempt}/jobs/{check_run_id}"
      bind: [repository, sha, workflow_ref, environment]
    reuse: once
  - name: prod
    kind: spiffe
    trust_domain: prod.example
    bundle: { url: https://spire.prod.example/bundle, profile: https_web }
  - { name: lab, kind: spiffe, trust_domain: lab.example, audience: lab, bundle: { file: ./bundle.json } }
  - name: staff
    kind: oidc
    issuer: https://login.example/
    audience: hallpass-console
    jwks_uri: https://login.example/keys?p=1
    operators: { groups_claim: groups, max_age: 8h }
policy: { dir: ./policies }
credentials: { ttl_default: 5m, ttl_max: 15m, signing_alg: ES256, signing_alg_for: { "api://AzureADTokenExchange": RS256 } }
tasks: { deadline_default: 1h, deadline_max: 24h, depth_max: 3, retention: 90d }
limits: { principal: 20, address: 0.5, feed_readers: 1000, feed_readers_anonymous: 900, feed_readers_per_address: 800 }
pki: { trust_domain: hallpass.example, path: "/task/{task_id}" }
hooks: []
`

test('fewer readers of the feed are fewer anonymous ones, and fewer of one address', () => {
  expect(load('limits: { feed_readers: 1000 }').feed).toEqual({
    readers: 1_000,
    anonymous: 1_000,
    perAddress: 1_000,
    perPrincipal: 500,
  })
  expect(load('limits: { feed_readers_anonymous: 0 }').feed).toEqual({
    readers: 5_000,
    anonymous: 0,
    perAddress: 0,
    perPrincipal: 500,
  })
})

test('the environment overrides the file', () => {
  const config = load('listen: { port: 1 }\ndatabase: { url: postgres://file/a }', {
    HALLPASS_PORT: '9000',
    DATABASE_URL: 'postgresql://env/b',
    HALLPASS_MASTER_KEY: masterKey,
  })
  expect(config.listen.port).toBe(9000)
  expect(config.issuer).toBe('http://127.0.0.1:9000')
  expect(config.database).toEqual({ url: 'postgresql://env/b' })
  expect(config.masterKey).toEqual(key)
})

test('an issuer is kept byte for byte, a slash at its end included', () => {
  expect(load('issuer: https://hallpass.example/a/').issuer).toBe('https://hallpass.example/a/')
  expect(load('issuer: https://hallpass.example/').issuer).toBe('https://hallpass.example/')
})

test('a folder called policies beside the file is the default one', () => {
  const cwd = folder()
  mkdirSync(join(cwd, 'policies'))
  expect(loadConfig({ env: {}, cwd }).policy.dir).toBe(join(cwd, 'policies'))
})

test('defaults give way to a shorter maximum', () => {
  const config = load('credentials: { ttl_max: 1m }\ntasks: { deadline_max: 10m }')
  expect(config.credentials.ttlDefault).toBe(60_000)
  expect(config.tasks.deadlineDefault).toBe(600_000)
})

test('with port 0, the issuer and the audiences that follow it are settled when the port is known', () => {
  const config = load(`
listen: { port: 0 }
trust:
  - { name: a, kind: oidc, issuer: https://a.example }
  - { name: b, kind: oidc, issuer: https://b.example, audience: mine }
`)
  const listening = listeningOn(config, 40_123)
  expect(listening.issuer).toBe('http://127.0.0.1:40123')
  expect(listening.listen.port).toBe(40_123)
  expect(listening.trust.map(source => source.audience)).toEqual(['http://127.0.0.1:40123', 'mine'])
})

test('with an issuer of its own, the port changes nothing else', () => {
  const config = load('issuer: https://hallpass.example\nlisten: { port: 0 }')
  expect(listeningOn(config, 40_123)).toEqual({ ...config, listen: { ...config.listen, port: 40_123 } })
})

test('an audience named like a property of every object has no signing algorithm', () => {
  expect(load('').credentials.signingAlgFor['constructor' as string]).toBeUndefined()
})

test('faults of every kind are reported at once', () => {
  const yaml = `
issuer: https://hallpass.example?x
credentials: { ttl_default: 1h, signing_alg: none }
trust:
  - { name: a, kind: oidc, issuer: https://a.example }
  - { name: a, kind: oidc, issuer: ftp://a.example, isuer: x }
colour: red
colour: blue
`
  expect(faults(yaml, { HALLPASS_PORT: 'x' })).toEqual([
    { path: 'colour', message: 'is given twice' },
    { path: '$HALLPASS_PORT', message: 'must be a port: a whole number up to 65535' },
    { path: 'issuer', message: 'must not have a query' },
    { path: 'trust[1].issuer', message: 'must be an absolute URL that begins with https://' },
    { path: 'trust[1].isuer', message: 'is not a key that is known here; did you mean issuer?' },
    { path: 'credentials.signing_alg', message: 'must be ES256, ES384, RS256, PS256 or EdDSA' },
    { path: 'colour', message: 'is not a key that is known here' },
    { path: 'credentials.ttl_default', message: 'is longer than credentials.ttl_max' },
    { path: 'trust[1].name', message: 'is that of trust[0]' },
  ])
})

test('the error tells all of it in one text', () => {
  expect(new ConfigError([{ path: 'a', message: 'is b' }]).message).toBe(
    'The configuration has a fault:\n  a: is b',
  )
})
