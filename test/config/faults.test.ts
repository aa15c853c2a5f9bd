import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { ConfigError, loadConfig } from '../../src/config.ts'
import { faults, folder, load, paths } from './load.ts'

const oidc = (more: string) => `trust: [{ name: a, kind: oidc, issuer: https://a.example, ${more} }]`
const spiffe = (more: string) => `trust: [{ name: a, kind: spiffe, ${more} }]`
const bundle = 'bundle: { file: b.json }'
const masterKey = Buffer.alloc(32, 7).toString('base64')

describe.each<[string, [yaml: string, path: string, message: RegExp][]]>([
  [
    'issuer and listen',
    [
      ['issuer: http://hallpass.example', 'issuer', /https/],
      ['issuer: http://127.0.0.1.example', 'issuer', /https/],
      ['issuer: hallpass.example', 'issuer', /URL/],
      ['issuer: "https:hallpass.example"', 'issuer', /URL/],
      ['issuer: "https://hall\\npass.example"', 'issuer', /URL/],
      ['issuer: "https://hallpass.example\\\\x"', 'issuer', /URL/],
      ['issuer: https://hallpass.example/?a=b', 'issuer', /query/],
      ['issuer: https://hallpass.example?', 'issuer', /query/],
      ['issuer: https://hallpass.example#', 'issuer', /fragment/],
      ['issuer: https://me@hallpass.example', 'issuer', /user name/],
      ['issuer: https://@hallpass.example', 'issuer', /user name/],
      ['issuer: https://Hallpass.example', 'issuer', /canonical/],
      ['issuer: https://hallpass.example:443', 'issuer', /canonical/],
      ['issuer: https://hallpass.example/a/../b', 'issuer', /canonical/],
      ['issuer: http://127.0.0.1:0', 'issuer', /port 0/],
      ['issuer: 5', 'issuer', /text/],
      ['issuer:', 'issuer', /no value/],
      ['listen: { host: "a b" }', 'listen.host', /host name/],
      ['listen: { port: 65536 }', 'listen.port', /at most 65535/],
      ['listen: { port: "8420" }', 'listen.port', /number/],
      ['listen: { port: 1.5 }', 'listen.port', /whole number/],
      ['listen: { metrics_port: 8420 }', 'listen.metrics_port', /broker itself/],
      ['listen: { trusted_proxies: [proxy.example] }', 'listen.trusted_proxies[0]', /network/],
      ['listen: { trusted_proxies: [10.0.0.0/33] }', 'listen.trusted_proxies[0]', /network/],
      ['listen: { trusted_proxies: ["::1", "fe80::1%eth0"] }', 'listen.trusted_proxies[1]', /network/],
      ['listen: { trusted_proxies: [10.0.0.0/8/8] }', 'listen.trusted_proxies[0]', /network/],
      ['data_dir: ""', 'data_dir', /empty/],
    ],
  ],
  [
    'durations and figures',
    [
      ['clock_skew: 30', 'clock_skew', /duration/],
      ['clock_skew: half a minute', 'clock_skew', /duration/],
      ['credentials: { ttl_default: 0s }', 'credentials.ttl_default', /duration/],
      ['credentials: { ttl_default: 16m }', 'credentials.ttl_default', /longer than credentials.ttl_max/],
      ['credentials: { signing_alg: HS256 }', 'credentials.signing_alg', /ES256/],
      ['credentials: { signing_alg_for: { x: none } }', 'credentials.signing_alg_for.x', /ES256/],
      ['credentials: { signing_alg_for: { "": ES256 } }', 'credentials.signing_alg_for[""]', /empty/],
      ['tasks: { deadline_default: 25h }', 'tasks.deadline_default', /longer than tasks.deadline_max/],
      ['tasks: { depth_max: -1 }', 'tasks.depth_max', /at least 0/],
      ['tasks: { retention: 36501d }', 'tasks.retention', /duration/],
      ['limits: { principal: 0 }', 'limits.principal', /more than 0/],
      ['limits: { address: .inf }', 'limits.address', /number/],
      ['limits: { address: "5" }', 'limits.address', /number/],
      ['limits: { feed_readers: 1.5 }', 'limits.feed_readers', /whole number/],
      ['limits: { feed_readers: -1 }', 'limits.feed_readers', /at least 0/],
      [
        'limits: { feed_readers_anonymous: 5001 }',
        'limits.feed_readers_anonymous',
        /more than limits.feed_readers/,
      ],
      [
        'limits: { feed_readers: 10, feed_readers_anonymous: 11 }',
        'limits.feed_readers_anonymous',
        /more than limits.feed_readers/,
      ],
      [
        'limits: { feed_readers_anonymous: 5, feed_readers_per_address: 6 }',
        'limits.feed_readers_per_address',
        /more than limits.feed_readers_anonymous/,
      ],
    ],
  ],
  [
    'X.509',
    [
      ['pki: { trust_domain: "spiffe://a" }', 'pki.trust_domain', /trust domain/],
      ['pki: { trust_domain: Hallpass.example }', 'pki.trust_domain', /trust domain/],
      ['pki: { path: "task/{task_id}" }', 'pki.path', /begin with/],
      ['pki: { path: "" }', 'pki.path', /begin with/],
      ['pki: { path: "/" }', 'pki.path', /empty/],
      ['pki: { path: "/a//{task_id}" }', 'pki.path', /empty/],
      ['pki: { path: "/{task_id}/" }', 'pki.path', /slash at the end/],
      ['pki: { path: "/../{task_id}" }', 'pki.path', /dot segment/],
      ['pki: { path: "/./{task_id}" }', 'pki.path', /dot segment/],
      ['pki: { path: "/%61/{task_id}" }', 'pki.path', /letters, digits/],
      ['pki: { path: "/a b/{task_id}" }', 'pki.path', /letters, digits/],
      ['pki: { path: "/{task_id" }', 'pki.path', /braces/],
      ['pki: { path: "/task_id}" }', 'pki.path', /braces/],
      ['pki: { path: "/{{task_id}}" }', 'pki.path', /braces/],
      ['pki: { path: "/{task}" }', 'pki.path', /placeholders but \{task_id\}/],
      ['pki: { path: "/{}/{task_id}" }', 'pki.path', /placeholders but/],
      ['pki: { path: "/{kind}/{ref}" }', 'pki.path', /two workloads would share/],
      ['pki: { path: "/task" }', 'pki.path', /two workloads would share/],
      ['pki: { path: "/{kind}-{principal}" }', 'pki.path', /a \/ between/],
      [`pki: { path: "/${'a'.repeat(512)}/{task_id}" }`, 'pki.path', /longer than 512/],
      ['listen: { mtls: {} }', 'listen.mtls.port', /missing/],
      ['listen: { mtls: { port: 65536 } }', 'listen.mtls.port', /at most 65535/],
      ['listen: { mtls: { port: 8420 } }', 'listen.mtls.port', /broker itself/],
      ['listen: { metrics_port: 1, mtls: { port: 1 } }', 'listen.mtls.port', /metrics_port/],
      ['listen: { mtls: { port: 1, ca: a } }', 'listen.mtls.ca', /not a key/],
      [
        'issuer: "http://[::1]:8420"\nlisten: { mtls: { port: 1 } }',
        'listen.mtls.cert',
        /without pki.trust_domain/,
      ],
    ],
  ],
  [
    'a trust source',
    [
      ['trust: { name: a }', 'trust', /list/],
      ['trust: [github]', 'trust[0]', /mapping/],
      ['trust: [{ name: a }]', 'trust[0].kind', /oidc or spiffe/],
      ['trust: [{ name: a, kind: saml }]', 'trust[0].kind', /oidc or spiffe/],
      ['trust: [{ kind: oidc, issuer: https://a.example }]', 'trust[0].name', /missing/],
      ['trust: [{ name: Git, kind: oidc, issuer: https://a.example }]', 'trust[0].name', /lower-case/],
      ...['spiffe', 'hallpass', 'http', 'https', 'urn'].map(
        name =>
          [
            `trust: [{ name: ${name}, kind: oidc, issuer: https://a.example }]`,
            'trust[0].name',
            /reserved/,
          ] satisfies [string, string, RegExp],
      ),
      ['trust: [{ name: a, kind: oidc }]', 'trust[0].issuer', /missing/],
      ['trust: [{ name: a, kind: oidc, issuer: http://a.example }]', 'trust[0].issuer', /loopback/],
      ['trust: [{ name: a, kind: oidc, issuer: https://a.example?b }]', 'trust[0].issuer', /query/],
      [oidc('jwks_uri: http://a.example/keys'), 'trust[0].jwks_uri', /loopback/],
      [oidc('jwks_uri: file:///etc/keys'), 'trust[0].jwks_uri', /https/],
      [oidc('audience: ""'), 'trust[0].audience', /empty/],
      [oidc('audience: [a, b]'), 'trust[0].audience', /text/],
      [oidc('require: { owner: 4711 }'), 'trust[0].require.owner', /quotes/],
      [oidc('require: [owner]'), 'trust[0].require', /mapping/],
      [oidc('reuse: never'), 'trust[0].reuse', /any or once/],
      [oidc('trust_domain: a.example'), 'trust[0].trust_domain', /not a key/],
      [oidc('operators: { max_age: 0s }'), 'trust[0].operators.max_age', /duration/],
      [oidc('operators: {}, task: { kind: a, ref: "{b}" }'), 'trust[0].task', /operators/],
      [oidc('task: { ref: "{b}" }'), 'trust[0].task.kind', /missing/],
      [oidc('task: { kind: CI, ref: "{b}" }'), 'trust[0].task.kind', /lower-case/],
      [oidc(`task: { kind: ${'a'.repeat(65)}, ref: "{b}" }`), 'trust[0].task.kind', /64/],
      [oidc('task: { kind: a, ref: "jobs" }'), 'trust[0].task.ref', /at least one/],
      [oidc('task: { kind: a, ref: "{b" }'), 'trust[0].task.ref', /braces/],
      [oidc('task: { kind: a, ref: "{b}-{c}" }'), 'trust[0].task.ref', /between two placeholders/],
      [oidc('task: { kind: a, ref: "{b}", bind: [c, c] }'), 'trust[0].task.bind', /twice/],
      [oidc('task: { kind: a, ref: "{b}", bind: [""] }'), 'trust[0].task.bind[0]', /claim/],
      [spiffe(bundle), 'trust[0].trust_domain', /missing/],
      [spiffe(`trust_domain: Prod.example, ${bundle}`), 'trust[0].trust_domain', /SPIFFE/],
      [spiffe(`trust_domain: "spiffe://prod.example", ${bundle}`), 'trust[0].trust_domain', /SPIFFE/],
      [spiffe(`trust_domain: ${'a'.repeat(256)}, ${bundle}`), 'trust[0].trust_domain', /SPIFFE/],
      [spiffe('trust_domain: a.example'), 'trust[0].bundle', /missing/],
      [spiffe('trust_domain: a.example, bundle: {}'), 'trust[0].bundle', /\{ file \}/],
      [
        spiffe('trust_domain: a.example, bundle: { url: https://b.example, file: b }'),
        'trust[0].bundle',
        /\{ file \}/,
      ],
      [
        spiffe('trust_domain: a.example, bundle: { file: b, profile: https_web }'),
        'trust[0].bundle',
        /\{ file \}/,
      ],
      [
        spiffe('trust_domain: a.example, bundle: { url: http://b.example }'),
        'trust[0].bundle.url',
        /loopback/,
      ],
      [
        spiffe('trust_domain: a.example, bundle: { url: https://b.example, profile: https_spiffe }'),
        'trust[0].bundle.profile',
        /must be https_web/,
      ],
      [
        spiffe(`trust_domain: a.example, ${bundle}, task: { kind: a, ref: "{b}" }`),
        'trust[0].task',
        /not a key/,
      ],
    ],
  ],
  [
    'the file itself',
    [
      ['- a', 'the file', /mapping/],
      ['a: [', 'line 1, column 5', /YAML/],
      ['issuer: !secret x', 'line 1, column 9', /YAML/],
      ['a: 1\n---\nb: 2', 'line 2, column 1', /MULTIPLE_DOCS/],
      ['? [a]\n: b', 'line 1, column 3', /NON_STRING_KEY/],
      ['issuer: *x', 'aliases', /anchor/],
      ['limits: { principal: 1, "principal": 2 }', 'limits.principal', /twice/],
      ['trust:\n- { name: a, name: b, kind: oidc, issuer: https://a.example }', 'trust[0].name', /twice/],
      [oidc('require: { __proto__: "x" }'), 'trust[0].require.__proto__', /not a key/],
      ['isuer: https://a.example', 'isuer', /did you mean issuer/],
      ['credentials: { ttl: 5m }', 'credentials.ttl', /not a key/],
      ['policy: { dir: ./nowhere }', 'policy.dir', /not a folder/],
      ['policy: { dir: hallpass.yaml }', 'policy.dir', /not a folder/],
    ],
  ],
])('%s', (_, cases) => {
  test.each(cases)('%s is a fault of %s', (yaml, path, message) => {
    expect(faults(yaml)).toEqual([{ path, message: expect.stringMatching(message) }])
  })
})

describe('one issuer, one trust source', () => {
  const two = (a: string, b: string) =>
    paths(`trust: [{ name: a, kind: oidc, issuer: ${a} }, { name: b, kind: oidc, issuer: ${b} }]`)

  test.each([
    ['https://a.example', 'https://a.example'],
    ['https://a.example/x', 'https://a.example/x/'],
    ['https://a.example', 'https://a.example/'],
    ['https://a.example', 'https://A.example'],
    ['https://a.example', 'https://a.example:443'],
  ])('%s and %s are one', (a, b) => {
    expect(two(a, b)).toEqual(['trust[1].issuer'])
  })

  test.each([
    ['https://a.example', 'https://b.example'],
    ['https://a.example/x', 'https://a.example/X'],
    ['https://a.example', 'https://a.example:8443'],
  ])('%s and %s are two', (a, b) => {
    expect(two(a, b)).toEqual([])
  })

  test("the broker's own issuer is a fault, configured or by default", () => {
    const own = 'trust: [{ name: a, kind: oidc, issuer: "http://127.0.0.1:8420/" }]'
    expect(paths(own)).toEqual(['trust[0].issuer'])
    expect(paths(`issuer: https://hallpass.example\n${own}`)).toEqual([])
    expect(paths(own, { HALLPASS_PORT: '8421' })).toEqual([])
  })

  test('a trust domain twice is a fault, and so is that of pki', () => {
    const source = (name: string) => `{ name: ${name}, kind: spiffe, trust_domain: a.example, ${bundle} }`
    expect(paths(`trust: [${source('a')}, ${source('b')}]`)).toEqual(['trust[1].trust_domain'])
    expect(paths(`trust: [${source('a')}]\npki: { trust_domain: a.example }`)).toEqual(['pki.trust_domain'])
  })

  test('a name twice is a fault', () => {
    expect(
      paths(
        `trust: [{ name: a, kind: oidc, issuer: https://a.example }, { name: a, kind: spiffe, trust_domain: b, ${bundle} }]`,
      ),
    ).toEqual(['trust[1].name'])
  })
})

describe('issuers that everybody shares', () => {
  const shared = [
    'https://token.actions.githubusercontent.com',
    'https://gitlab.com',
    'https://agent.buildkite.com',
    'https://accounts.google.com',
  ]
  const source = (issuer: string, more = '') => `trust: [{ name: a, kind: oidc, issuer: "${issuer}"${more} }]`

  test.each(shared)('%s needs a required claim', issuer => {
    expect(paths(source(issuer))).toEqual(['trust[0].require'])
    expect(paths(source(issuer, ', require: {}'))).toEqual(['trust[0].require'])
    expect(paths(source(issuer, ', require: { owner: "1" }'))).toEqual([])
  })

  test('so do operators that come from one', () => {
    expect(paths(source('https://accounts.google.com', ', operators: {}'))).toEqual(['trust[0].require'])
    expect(
      paths(source('https://accounts.google.com', ', operators: {}, require: { hd: a.example }')),
    ).toEqual([])
  })

  test.each([...shared.slice(0, 3), 'https://oidc.circleci.com/org/1'])(
    '%s signs for jobs: no operators',
    issuer => {
      expect(paths(source(issuer, ', operators: {}, require: { owner: "1" }'))).toEqual([
        'trust[0].operators',
      ])
    },
  )

  test('CircleCI has one for each organisation, which needs none', () => {
    expect(paths(source('https://oidc.circleci.com/org/1'))).toEqual([])
  })
})

describe('the environment', () => {
  test.each([
    ['HALLPASS_PORT', '65536'],
    ['HALLPASS_PORT', '084'],
    ['HALLPASS_PORT', ''],
    ['HALLPASS_MASTER_KEY', ''],
    ['HALLPASS_MASTER_KEY', Buffer.alloc(31).toString('base64')],
    ['HALLPASS_MASTER_KEY', Buffer.alloc(33).toString('base64')],
    ['HALLPASS_MASTER_KEY', `${masterKey}\n`],
    ['HALLPASS_MASTER_KEY', masterKey.slice(0, -1)],
    ['HALLPASS_MASTER_KEY', Buffer.alloc(32, 255).toString('base64url')],
    ['HALLPASS_MASTER_KEY', masterKey.replace('c=', 'd=')],
    ['HALLPASS_CONFIG', ''],
    ['HALLPASS_CONFIG', 'nowhere.yaml'],
  ])('%s=%j is a fault', (name, value) => {
    expect(paths('', { [name]: value })).toEqual([`$${name}`])
  })

  test.each(['', 'mysql://db', 'localhost:5432'])('DATABASE_URL=%j is a fault', value => {
    expect(paths('', { DATABASE_URL: value, HALLPASS_MASTER_KEY: masterKey })).toEqual(['$DATABASE_URL'])
  })

  test('a database needs a master key, wherever it is given', () => {
    expect(paths('', { DATABASE_URL: 'postgres://db/a' })).toEqual(['$HALLPASS_MASTER_KEY'])
    expect(paths('database: { url: postgres://db/a }')).toEqual(['$HALLPASS_MASTER_KEY'])
  })

  test('the port that it gives is not for metrics too', () => {
    expect(paths('listen: { metrics_port: 9000 }', { HALLPASS_PORT: '9000' })).toEqual([
      'listen.metrics_port',
    ])
  })
})

describe('reading the file', () => {
  test('a few lines of aliases do not grow into gigabytes', () => {
    const levels = Array.from(
      { length: 9 },
      (_, i) => `a${i + 1}: &a${i + 1} [${Array(9).fill(`*a${i}`).join(', ')}]`,
    )
    expect(paths(['a0: &a0 [x, x]', ...levels].join('\n'))).toContain('aliases')
  })

  test('an alias that holds itself is a fault', () => {
    expect(paths('trust: &a [*a]')).toEqual(['trust[0]'])
  })

  test('brackets without end are a fault', () => {
    expect(paths('['.repeat(50_000)).length).toBeGreaterThan(0)
    expect(paths('['.repeat(50_000)).length).toBeLessThan(30)
  })

  test('a file of more than 1 MiB is a fault', () => {
    expect(faults(`# ${'x'.repeat(1024 * 1024)}`)[0]?.message).toBe('is larger than 1 MiB')
  })

  test('a file that is not UTF-8 is a fault', () => {
    expect(faults(Buffer.from([0x23, 0xff]))[0]?.message).toBe('is not UTF-8')
  })

  test('a folder in its place is a fault', () => {
    const cwd = folder()
    mkdirSync(join(cwd, 'hallpass.yaml'))
    expect(() => loadConfig({ env: {}, cwd })).toThrow(/cannot be read \(EISDIR\)/)
  })

  test('a file named by HALLPASS_CONFIG is read in place of the default one', () => {
    const cwd = folder()
    writeFileSync(join(cwd, 'hallpass.yaml'), 'nonsense: true')
    writeFileSync(join(cwd, 'other.yaml'), 'clock_skew: 1s')
    expect(loadConfig({ env: { HALLPASS_CONFIG: 'other.yaml' }, cwd }).clockSkew).toBe(1000)
  })
})

test('__proto__ is a key like any other that is unknown', () => {
  expect(paths('__proto__: { issuer: https://a.example }')).toContain('__proto__')
  expect(paths('listen: { __proto__: { port: 1 } }')).toContain('listen.__proto__')
})

test('no fault repeats a secret', () => {
  const secret = 'hunter2'
  for (const yaml of [
    `database: { url: "mysql://broker:${secret}@db" }`,
    `database: "postgres://broker:${secret}@db"`,
    `database: { "postgres://broker:${secret}@db" }`,
    `database: { url: "postgres://broker:${secret}@db }`,
    `database: { url: "postgres://broker:\\${secret}@db" }`,
    `database: { url: &${secret} x, a: *y${secret} }`,
    `issuer: https://me:${secret}@hallpass.example`,
    `%TAG ! ${secret}\n---\na: !${secret} x`,
  ]) {
    const error = new ConfigError(faults(yaml, { DATABASE_URL: secret, HALLPASS_MASTER_KEY: secret }))
    expect(error.faults.length).toBeGreaterThan(2)
    expect(error.message).not.toContain(secret)
    expect(error.message).not.toContain('broker')
  }
})

test('http is accepted on loopback', () => {
  for (const host of ['127.0.0.1', '127.8.9.10', 'localhost', '[::1]']) {
    expect(load(`issuer: "http://${host}:8420"`).issuer).toBe(`http://${host}:8420`)
  }
})
