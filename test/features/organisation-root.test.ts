import { execFileSync } from 'node:child_process'
import { randomBytes, X509Certificate } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { oids } from '../../src/der/oids.ts'
import { writePem } from '../../src/der/pem.ts'
import type { CertificateAuthority, KeyList } from '../../src/http/openapi.generated.d.ts'
import { readCsr } from '../../src/mint/x509/csr.ts'
import { folder, hallpass } from '../cli/command.ts'
import type { TestBroker } from '../support/broker.ts'
import { certificateOn, derOf, faultOf, fetchTrust, pki } from '../support/certificate-scene.ts'
import { isThere } from '../support/judges.ts'
import { type Scene, startScene } from '../support/scene.ts'
import {
  basicConstraints,
  type CertificateOptions,
  extKeyUsage,
  keyUsage,
  makeAuthority,
  nameConstraints,
  subjectAltName,
  type TestAuthority,
  uriName,
} from '../support/x509.ts'

const minute = 60_000
const day = 86_400_000

const pemOf = (...certificates: (TestAuthority | Buffer)[]): string =>
  certificates.map(one => writePem('CERTIFICATE', Buffer.isBuffer(one) ? one : one.certificate)).join('')

/** The command against that broker, as an operator runs it. */
async function ca(broker: TestBroker, ...args: string[]) {
  const cwd = folder()
  writeFileSync(join(cwd, 'hallpass.yaml'), `issuer: ${broker.issuer}\n`)
  const env = { HALLPASS_TOKEN: await broker.operatorToken() }
  return hallpass(['ca', ...args, '--url', broker.url], { env, cwd })
}

async function csrOn(broker: TestBroker): Promise<{ csr: string; spki: Buffer }> {
  const { exitCode, out, err } = await ca(broker, 'csr')
  expect([exitCode, err]).toEqual([0, ''])
  return { csr: out, spki: readCsr(`${out}\n`).spki }
}

async function installOn(broker: TestBroker, pem: string) {
  const file = join(folder(), 'chain.pem')
  writeFileSync(file, pem)
  return ca(broker, 'install', file)
}

const post = async (broker: TestBroker, chain: string, token?: string) =>
  broker.client.request<CertificateAuthority & { code: string; detail: string }>('POST', '/v1/ca/install', {
    token: token ?? (await broker.operatorToken()),
    json: { chain },
  })

const stateOf = async (broker: TestBroker): Promise<CertificateAuthority> =>
  (
    await broker.client.request<CertificateAuthority>('GET', '/v1/ca', {
      token: await broker.operatorToken(),
    })
  ).body

/** An organisation, whose root signs what is asked of it. */
function organisation(now: number, options: CertificateOptions = {}) {
  const root = makeAuthority(
    { subject: 'Acme root', notBefore: now - day, notAfter: now + 3000 * day, ...options },
    now,
  )
  const below = (signer: TestAuthority, more: CertificateOptions = {}) =>
    makeAuthority(
      { subject: 'Acme issuing', notBefore: now - day, notAfter: now + 900 * day, ...more },
      now,
      signer,
    )
  /** Signs the key of a request. */
  const sign = (
    spki: Buffer,
    { signer = root, ...more }: CertificateOptions & { signer?: TestAuthority } = {},
  ) =>
    below(signer, {
      subject: 'Hallpass authority',
      notAfter: now + 400 * day,
      keys: { privateKey: signer.privateKey, publicKeyInfo: spki },
      ...more,
    })
  return { root, below, sign }
}

describe('a chain is refused, and nothing changes,', () => {
  let scene: Scene
  let spki: Buffer
  let other: Buffer
  let acme: ReturnType<typeof organisation>
  beforeAll(async () => {
    scene = await startScene({ config: { pki } })
    const elsewhere = await startScene({ config: { pki } })
    spki = (await csrOn(scene.broker)).spki
    const request = await csrOn(elsewhere.broker)
    other = request.spki
    // Its row is brought over too, by somebody who can write to the database.
    const [row] = await elsewhere.broker.sql<{ kid: string; private_key: Buffer }>(
      'SELECT * FROM ca_requests',
    )
    await scene.broker.sql(
      'INSERT INTO ca_requests SELECT $1, $2, wrapped_by, created_at FROM ca_requests LIMIT 1',
      [row!.kid, row!.private_key],
    )
    await elsewhere.close()
    acme = organisation(scene.broker.clock.now())
  })
  afterAll(() => scene?.close())

  const now = () => scene.broker.clock.now()
  const cases: [string, RegExp, () => string][] = [
    ['without a root', /exactly one root/, () => pemOf(acme.sign(spki))],
    ['with two roots', /exactly one root/, () => pemOf(acme.sign(spki), acme.root, organisation(now()).root)],
    ['with its root twice', /exactly one root/, () => pemOf(acme.sign(spki), acme.root, acme.root)],
    ['of the root alone', /exactly one certificate of a key/, () => pemOf(acme.root)],
    [
      'of a key that nobody requested',
      /exactly one certificate of a key/,
      () => pemOf(acme.below(acme.root), acme.root),
    ],
    ['of a key that another broker requested', /another broker/, () => pemOf(acme.sign(other), acme.root)],
    [
      'with two certificates of the key',
      /exactly one certificate of a key/,
      () => pemOf(acme.sign(spki), acme.sign(spki), acme.root),
    ],
    ['by another root', /not valid \(none\)/, () => pemOf(acme.sign(spki), organisation(now()).root)],
    [
      'that is expired',
      /not valid \(expired\)/,
      () => pemOf(acme.sign(spki, { notAfter: now() - minute }), acme.root),
    ],
    [
      'that is not valid yet',
      /not valid \(not_yet_valid\)/,
      () => pemOf(acme.sign(spki, { notBefore: now() + 60 * minute }), acme.root),
    ],
    [
      'that ends within a day',
      /within a day/,
      () => pemOf(acme.sign(spki, { notAfter: now() + day - minute }), acme.root),
    ],
    [
      'whose root ends within a day',
      /within a day/,
      () => {
        const short = organisation(now(), { notAfter: now() + day - minute })
        return pemOf(short.sign(spki), short.root)
      },
    ],
    [
      'whose root is not valid yet',
      /not valid \(not_yet_valid\)/,
      () => {
        const early = organisation(now(), { notBefore: now() + 60 * minute })
        return pemOf(early.sign(spki), early.root)
      },
    ],
    [
      'of no authority',
      /not one of an authority/,
      () =>
        pemOf(
          acme.sign(spki, { extensions: { [oids.basicConstraints]: basicConstraints(false) } }),
          acme.root,
        ),
    ],
    [
      'of one without basicConstraints',
      /not one of an authority/,
      () => pemOf(acme.sign(spki, { extensions: { [oids.basicConstraints]: null } }), acme.root),
    ],
    [
      'whose root is no authority',
      /not valid \(signer\)/,
      () => {
        const leaf = organisation(now(), { extensions: { [oids.basicConstraints]: basicConstraints(false) } })
        return pemOf(leaf.sign(spki), leaf.root)
      },
    ],
    [
      'that may sign no CRLs',
      /certificates and CRLs/,
      () => pemOf(acme.sign(spki, { extensions: { [oids.keyUsage]: keyUsage([5]) } }), acme.root),
    ],
    [
      'that may sign no certificates',
      /certificates and CRLs/,
      () => pemOf(acme.sign(spki, { extensions: { [oids.keyUsage]: keyUsage([6]) } }), acme.root),
    ],
    [
      'without keyUsage',
      /certificates and CRLs/,
      () => pemOf(acme.sign(spki, { extensions: { [oids.keyUsage]: null } }), acme.root),
    ],
    [
      'for certain purposes',
      /certain purposes/,
      () =>
        pemOf(
          acme.sign(spki, { extensions: { [oids.extKeyUsage]: extKeyUsage([oids.clientAuth]) } }),
          acme.root,
        ),
    ],
    [
      'below an authority for other purposes',
      /for other purposes only/,
      () => {
        const signer = acme.below(acme.root, {
          extensions: { [oids.extKeyUsage]: extKeyUsage([oids.clientAuth]) },
        })
        return pemOf(acme.sign(spki, { signer }), signer, acme.root)
      },
    ],
    [
      'of another trust domain',
      /another trust domain/,
      () =>
        pemOf(
          acme.sign(spki, {
            extensions: { [oids.subjectAltName]: subjectAltName([uriName('spiffe://other.test')]) },
          }),
          acme.root,
        ),
    ],
    [
      'named as a workload',
      /another trust domain/,
      () =>
        pemOf(
          acme.sign(spki, {
            extensions: { [oids.subjectAltName]: subjectAltName([uriName('spiffe://hallpass.test/ca')]) },
          }),
          acme.root,
        ),
    ],
    ['without a name', /no name of its own/, () => pemOf(acme.sign(spki, { subject: '' }), acme.root)],
    [
      'named as its root',
      /no name of its own|not valid/,
      () => pemOf(acme.sign(spki, { subject: 'Acme root' }), acme.root),
    ],
    [
      'whose root’s path is too short for an authority',
      /not valid \(path_length\)|would not be valid \(path_length\)/,
      () => {
        const short = organisation(now(), {
          extensions: { [oids.basicConstraints]: basicConstraints(true, 0) },
        })
        return pemOf(short.sign(spki), short.root)
      },
    ],
    [
      'between whose root and it a path is too short',
      /path_length/,
      () => {
        const signer = acme.below(acme.root, {
          extensions: { [oids.basicConstraints]: basicConstraints(true, 0) },
        })
        return pemOf(acme.sign(spki, { signer }), signer, acme.root)
      },
    ],
    [
      'whose names exclude the broker’s SPIFFE IDs',
      /would not be valid \(name_constraints\)/,
      () => {
        const extensions = {
          [oids.nameConstraints]: nameConstraints({ permitted: [uriName('acme.example')] }),
        }
        const held = organisation(now(), { extensions })
        return pemOf(held.sign(spki), held.root)
      },
    ],
    [
      'whose own names exclude them',
      /would not be valid \(name_constraints\)/,
      () => {
        const extensions = {
          [oids.nameConstraints]: nameConstraints({ excluded: [uriName('hallpass.test')] }),
        }
        return pemOf(acme.sign(spki, { extensions }), acme.root)
      },
    ],
    [
      'with a certificate left over',
      /not needed/,
      () => pemOf(acme.sign(spki), acme.below(acme.root), acme.root),
    ],
    [
      'that does not name its issuer’s key',
      /would not be valid|does not name|not valid/,
      () =>
        pemOf(
          acme.sign(spki, {
            extensions: {
              [oids.authorityKeyIdentifier]: makeAuthorityKeyId(randomBytes(20)),
            },
          }),
          acme.root,
        ),
    ],
    [
      'with a private key in it',
      /no certificate/,
      () =>
        pemOf(acme.sign(spki), acme.root) +
        acme.root.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    ],
    ['of a CSR', /no certificate/, () => writePem('CERTIFICATE REQUEST', acme.root.certificate)],
    ['of ten certificates', /more PEM/, () => pemOf(...Array.from({ length: 10 }, () => acme.root))],
    ['that is no PEM', /cannot be read/, () => 'garbage'],
    ['of PEM that is no certificate', /refused/, () => writePem('CERTIFICATE', randomBytes(300))],
    [
      'with bytes after a certificate',
      /refused/,
      () => pemOf(Buffer.concat([acme.sign(spki).certificate, Buffer.of(0)]), acme.root),
    ],
  ]

  it.each(cases)('%s', async (_, reason, chain) => {
    const { broker } = scene
    const before = await stateOf(broker)
    const pem = chain()
    const { status, body, text } = await post(broker, pem)
    expect([status, body.code], text).toEqual([400, 'malformed'])
    expect(body.detail).toMatch(reason)
    expect(await stateOf(broker)).toEqual(before)
    const [logged] = await broker.sql<{ decision: string; code: string; asked: object }>(
      'SELECT decision, code, asked FROM decisions ORDER BY at DESC, id DESC LIMIT 1 OFFSET 1',
    )
    // The last one read the state.
    expect(logged).toMatchObject({ decision: 'deny', code: 'malformed', asked: { ca: 'install' } })
    expect(broker.logged.join('\n')).not.toContain('BEGIN')
  })

  it('of a hundred kilobytes', async () => {
    const { status } = await post(scene.broker, 'x'.repeat(100_000))
    expect([400, 413, 422]).toContain(status)
  })

  it('by the command too, which says why', async () => {
    const { exitCode, out, err } = await installOn(scene.broker, pemOf(acme.root))
    expect(exitCode).not.toBe(0)
    expect(out).toBe('')
    expect(err).toContain('exactly one certificate of a key that was requested')
    const none = await ca(scene.broker, 'install', 'nosuch.pem')
    expect([none.exitCode === 0, none.err]).toEqual([false, expect.stringContaining('cannot be read')])
  })

  it('from those who do not administer', async () => {
    const token = scene.agent('runner')
    for (const path of ['/v1/ca/csr', '/v1/ca/install']) {
      const json = path.endsWith('install') ? { chain: pemOf(acme.sign(spki), acme.root) } : {}
      const { status, body } = await scene.broker.client.request<{ code: string }>('POST', path, {
        token,
        json,
      })
      expect([status, body.code]).toEqual([403, 'refused'])
    }
    expect((await scene.broker.client.request('GET', '/v1/ca', { token })).status).toBe(403)
    expect((await scene.broker.client.request('GET', '/v1/ca', {})).status).toBe(401)
  })

  it('until at last one is good', async () => {
    const { exitCode, err } = await installOn(scene.broker, pemOf(acme.root, acme.sign(spki)))
    expect([exitCode, err]).toEqual([0, ''])
  })
})

const makeAuthorityKeyId = (keyId: Buffer): Buffer => {
  const value = Buffer.concat([Buffer.of(0x30, 22, 0x80, 20), keyId])
  const wrapped = Buffer.concat([Buffer.of(0x04, value.length), value])
  const id = Buffer.from('0603551d23', 'hex')
  return Buffer.concat([Buffer.of(0x30, id.length + wrapped.length), id, wrapped])
}

describe('an organisation’s authority', () => {
  let scene: Scene
  let acme: ReturnType<typeof organisation>
  beforeAll(async () => {
    scene = await startScene({
      replicas: 2,
      config: {
        pki,
        listen: { host: '127.0.0.1', port: 0, metricsPort: 0, mtls: null, trustedProxies: [] },
      },
    })
    acme = organisation(scene.broker.clock.now())
  })
  afterAll(() => scene?.close())

  const sweep = async (ms = 0) => {
    scene.broker.clock.advance(ms)
    for (const replica of scene.replicas) await replica.sweep()
  }
  const issuerOf = async (on = scene.broker, more: object = {}) => {
    const { status, body, text } = await certificateOn(scene, on, more)
    expect(status, text).toBe(201)
    return { der: derOf(body.certificate), chain: body.chain.map(derOf) }
  }
  const roots = async () =>
    (await fetchTrust(scene.broker)).roots.map(der => new X509Certificate(der).subject)
  const metric = async () => {
    const text = await (await fetch(scene.broker.metricsUrl ?? '')).text()
    const [, value] = /^hallpass_ca_authority_expiry_timestamp_seconds\{[^}]*\} (\S+)$/m.exec(text) ?? []
    return Number(value) * 1000
  }

  it('takes over once everybody can know it, with a certificate between it and its root, in any order', async () => {
    const { broker, replicas } = scene
    await sweep(10 * minute)
    const before = await fetchTrust(broker)
    const old = await issuerOf(broker, { ttl: 900 })
    const { csr, spki } = await csrOn(broker)
    expect(csr).toMatch(/^-----BEGIN CERTIFICATE REQUEST-----\n/)
    const between = acme.below(acme.root)
    const authority = acme.sign(spki, { signer: between })
    const { exitCode, err } = await installOn(broker, pemOf(between, acme.root, authority))
    expect([exitCode, err]).toEqual([0, ''])

    // Published at once, under the next number; signing not yet.
    const after = await fetchTrust(broker)
    expect(after.sequence).toBeGreaterThan(before.sequence)
    expect(await roots()).toEqual([expect.stringContaining('hallpass.test root'), 'CN=Acme root'])
    expect(after.authorities.some(der => der.equals(authority.certificate))).toBe(true)
    expect((await issuerOf()).chain).toEqual(old.chain)
    await sweep(5 * minute)
    for (const replica of replicas) expect((await issuerOf(replica)).chain).toEqual(old.chain)
    await sweep(61_000)
    for (const replica of replicas) {
      const { der, chain } = await issuerOf(replica)
      expect(chain).toEqual([authority.certificate, between.certificate])
      expect(faultOf(der, { roots: [acme.root.certificate], authorities: chain }, broker.clock.now())).toBe(
        null,
      )
      expect(faultOf(der, after, broker.clock.now())).toBe(null)
    }
    // What the own authority signed is good to its end.
    const now = await fetchTrust(broker)
    expect(faultOf(old.der, now, broker.clock.now())).toBe(null)
    const { authorities } = await stateOf(broker)
    expect(authorities.map(({ state }) => state)).toEqual(['retired', 'active'])
  })

  it('leaves the own root published for two days, and no longer', async () => {
    const { sequence } = await fetchTrust(scene.broker)
    await sweep(1.9 * day)
    expect(await roots()).toHaveLength(2)
    expect((await fetchTrust(scene.broker)).sequence).toBe(sequence)
    await sweep(0.2 * day)
    expect(await roots()).toEqual(['CN=Acme root'])
    for (const replica of scene.replicas)
      expect((await fetchTrust(replica)).sequence).toBeGreaterThan(sequence)
    await issuerOf()
  })

  it('has no successor by itself, and rotation rotates the keys of tokens alone', async () => {
    const { broker } = scene
    const before = await stateOf(broker)
    const token = await broker.operatorToken()
    const { status, body } = await broker.client.request<KeyList>('POST', '/v1/keys/rotate', {
      token,
      json: {},
    })
    expect(status).toBe(200)
    expect(body.items.filter(({ use }) => use === 'x509')).toHaveLength(1)
    expect(body.items.filter(({ use }) => use === 'jwt').some(({ retired_at }) => retired_at !== null)).toBe(
      true,
    )
    expect(await stateOf(broker)).toEqual(before)
  })

  it('cannot be installed again, nor have its own certificate renewed: each has a key of its own', async () => {
    const { broker } = scene
    const { spki } = await csrOn(broker)
    const chain = pemOf(acme.sign(spki), acme.root)
    const before = await fetchTrust(broker)
    const answers = await Promise.all(
      Array.from({ length: 4 }, (_, i) => post(scene.replicas[i % 2]!, chain)),
    )
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 400, 400, 400])
    const renewed = await post(
      broker,
      pemOf(acme.sign(spki, { notAfter: broker.clock.now() + 800 * day }), acme.root),
    )
    expect([renewed.status, renewed.body.code]).toEqual([400, 'malformed'])
    // The same root: the bundle is as it was, and so is its number.
    await sweep()
    expect((await fetchTrust(broker)).sequence).toBe(before.sequence)
    await sweep(7 * minute)
    expect((await issuerOf()).chain).toHaveLength(1)
  })

  it('makes way for one under another root, and that for one under the first root again', async () => {
    const { broker } = scene
    const other = organisation(broker.clock.now(), { subject: 'Other root' })
    const first = await csrOn(broker)
    expect((await post(broker, pemOf(other.sign(first.spki), other.root))).status).toBe(200)
    await sweep(7 * minute)
    const { der, chain } = await issuerOf()
    expect(faultOf(der, { roots: [other.root.certificate], authorities: chain }, broker.clock.now())).toBe(
      null,
    )
    const second = await csrOn(broker)
    // Renewed meanwhile, under the same key.
    const root = makeAuthority(
      {
        subject: 'Acme root',
        keys: acme.root,
        notBefore: broker.clock.now() - day,
        notAfter: broker.clock.now() + 5000 * day,
      },
      broker.clock.now(),
    )
    const { sequence } = await fetchTrust(broker)
    expect((await post(broker, pemOf(acme.sign(second.spki), root))).status).toBe(200)
    expect((await fetchTrust(broker)).sequence).toBeGreaterThan(sequence)
    await sweep(3 * day)
    const trust = await fetchTrust(broker)
    expect(trust.roots).toEqual([root.certificate])
    expect(faultOf((await issuerOf()).der, trust, broker.clock.now())).toBe(null)
    const renamed = organisation(broker.clock.now(), { subject: 'Evil root', keys: acme.root })
    const third = await csrOn(broker)
    const refused = await post(broker, pemOf(renamed.sign(third.spki), renamed.root))
    expect([refused.status, refused.body.detail]).toEqual([
      400,
      expect.stringContaining('under another name'),
    ])
    const own = await certificateOn(scene, scene.replicas[1]!)
    expect(own.status).toBe(201)
  })

  it('is cried out for in good time, and where it has ended says so, and no root takes its place', async () => {
    const { broker } = scene
    const [active] = (await stateOf(broker)).authorities.filter(({ state }) => state === 'active')
    const end = Date.parse(active!.not_after)
    await sweep(end - broker.clock.now() - 31 * day)
    const cries = () => broker.logged.filter(line => line.includes('ends soon'))
    expect(cries()).toEqual([])
    expect(await metric()).toBe(end)
    await sweep(2 * day)
    await sweep(minute)
    expect(cries()).toHaveLength(1)
    await sweep(day)
    expect(cries()).toHaveLength(2)
    await sweep(end - broker.clock.now() - 5 * minute)
    const { der } = await issuerOf(broker, { ttl: 900 })
    expect(Date.parse(new X509Certificate(der).validTo)).toBeLessThanOrEqual(end)
    const { sequence } = await fetchTrust(broker)
    await sweep(10 * minute)
    for (const replica of scene.replicas) {
      const { status, body } = await certificateOn(scene, replica)
      expect([status, body.code]).toEqual([503, 'unavailable'])
      expect(body.detail).toContain('another must be installed')
    }
    expect(broker.logged.some(line => line.includes('no authority signs certificates'))).toBe(true)
    expect(await metric()).toBe(0)
    await sweep(6000 * day)
    const started = await broker.replica()
    expect((await fetchTrust(started)).sequence).toBe(sequence)
    expect((await stateOf(started)).authorities).toEqual([])
    await started.close()
    expect((await stateOf(broker)).roots.map(({ own }) => own)).toEqual([false])

    // Even so another can be installed.
    const late = organisation(broker.clock.now(), { subject: 'Late root' })
    const { spki } = await csrOn(broker)
    expect((await post(broker, pemOf(late.sign(spki), late.root))).status).toBe(200)
    await sweep(7 * minute)
    expect((await issuerOf()).chain).toHaveLength(1)
  })

  it('withdrawn, leaves nothing that signs until another is installed', async () => {
    const { broker } = scene
    const { der } = await issuerOf()
    const [active] = (await stateOf(broker)).authorities.filter(({ state }) => state === 'active')
    const token = await broker.operatorToken()
    const path = `/v1/keys/${active!.kid}/withdraw`
    expect((await scene.replicas[1]!.client.request('POST', path, { token, json: {} })).status).toBe(200)
    await sweep()
    for (const replica of scene.replicas) {
      expect((await certificateOn(scene, replica)).status).toBe(503)
      expect(faultOf(der, await fetchTrust(replica), broker.clock.now())).toBe('none')
    }
    const { spki } = await csrOn(broker)
    expect(
      (
        await post(
          broker,
          pemOf(
            acme.sign(spki, { notBefore: broker.clock.now(), notAfter: broker.clock.now() + 90 * day }),
            makeAuthority({
              subject: 'Acme root',
              keys: acme.root,
              notBefore: 0,
              notAfter: broker.clock.now() + 900 * day,
            }),
          ),
        )
      ).status,
    ).toBe(200)
    await sweep(7 * minute)
    await issuerOf()
  })
})

describe.skipIf(!isThere('openssl', 'version'))('with a root that openssl made (where it is there)', () => {
  it.each([
    ['directly', false],
    ['by an authority between', true],
  ])('what openssl signed %s is installed, and openssl accepts what it signs', async (_, isDeep) => {
    const scene = await startScene({ config: { pki } })
    const dir = mkdtempSync(join(tmpdir(), 'hallpass-openssl-'))
    const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd: dir, stdio: 'pipe' })
    const file = (name: string) => readFileSync(join(dir, name), 'utf8')
    try {
      const ca =
        'basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n'
      writeFileSync(join(dir, 'ca.cnf'), `${ca}authorityKeyIdentifier=keyid\n`)
      openssl(
        'req',
        '-x509',
        '-newkey',
        'rsa:2048',
        '-nodes',
        '-keyout',
        'root.key',
        '-out',
        'root.pem',
        '-days',
        '900',
        '-subj',
        '/O=Acme/CN=Acme Root',
        '-addext',
        'keyUsage=critical,keyCertSign,cRLSign',
      )
      const sign = (csr: string, by: string, out: string) =>
        openssl(
          'x509',
          '-req',
          '-in',
          csr,
          '-CA',
          `${by}.pem`,
          '-CAkey',
          `${by}.key`,
          '-CAcreateserial',
          '-days',
          '90',
          '-extfile',
          'ca.cnf',
          '-out',
          out,
        )
      if (isDeep) {
        openssl(
          'req',
          '-newkey',
          'ec',
          '-pkeyopt',
          'ec_paramgen_curve:P-384',
          '-nodes',
          '-keyout',
          'sub.key',
          '-out',
          'sub.csr',
          '-subj',
          '/O=Acme/CN=Acme Sub',
        )
        sign('sub.csr', 'root', 'sub.pem')
      }
      writeFileSync(join(dir, 'hallpass.csr'), (await csrOn(scene.broker)).csr)
      sign('hallpass.csr', isDeep ? 'sub' : 'root', 'hallpass.pem')
      const chain = file('root.pem') + file('hallpass.pem') + (isDeep ? file('sub.pem') : '')
      const { exitCode, out, err } = await installOn(scene.broker, chain)
      expect([exitCode, err]).toEqual([0, ''])
      expect(out).toContain('authorities')
      scene.broker.clock.advance(7 * minute)
      await scene.broker.sweep()
      const { status, body } = await certificateOn(scene, scene.broker)
      expect(status).toBe(201)
      writeFileSync(join(dir, 'leaf.pem'), body.certificate ?? '')
      writeFileSync(join(dir, 'between.pem'), body.chain.join(''))
      const at = String(Math.floor(scene.broker.clock.now() / 1000))
      const said = openssl(
        'verify',
        '-x509_strict',
        '-attime',
        at,
        '-purpose',
        'sslclient',
        '-no-CApath',
        '-no-CAstore',
        '-CAfile',
        'root.pem',
        '-untrusted',
        'between.pem',
        'leaf.pem',
      )
      expect(said.toString()).toContain('OK')
    } finally {
      rmSync(dir, { recursive: true })
      await scene.close()
    }
  })
})
