import { generateKeyPairSync } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { beforeAll, describe, expect, test } from 'vitest'
import { parseSpiffeId } from '../../src/attest/spiffe-id.ts'
import { pathPlaceholders, pkiPathFault } from '../../src/config/pki-path.ts'
import { defaultTrustDomain } from '../../src/config/trust-domain.ts'
import { ConfigError, loadConfig } from '../../src/config.ts'
import { selfSigned } from '../support/self-signed.ts'
import { folder, load, paths } from './load.ts'

describe('the broker’s own trust domain', () => {
  const source = '{ name: a, kind: spiffe, trust_domain: hallpass.example, bundle: { file: b.json } }'

  test('is the issuer’s host where none is given', () => {
    const { pki, warnings } = load('issuer: https://hallpass.example:8443/a')
    expect(pki).toEqual({ trustDomain: 'hallpass.example', path: '/task/{task_id}' })
    expect(warnings).toEqual([])
    expect(load('listen: { port: 0 }').pki?.trustDomain).toBe('127.0.0.1')
    expect(load('pki: { path: "/w/{principal}" }').pki).toEqual({
      trustDomain: '127.0.0.1',
      path: '/w/{principal}',
    })
  })

  test.each([
    ['the issuer’s host is an IPv6 address', 'issuer: "http://[::1]:8420"'],
    ['the issuer’s host is a trust source’s', `issuer: https://hallpass.example\ntrust: [${source}]`],
  ])('is none, with a warning, where %s', (_, yaml) => {
    const { pki, warnings } = load(yaml)
    expect(pki).toBeNull()
    expect(warnings).toEqual([expect.stringMatching(/no X\.509 certificates are issued/)])
    expect(load(`${yaml}\npki: { trust_domain: own.example }`)).toMatchObject({
      pki: { trustDomain: 'own.example', path: '/task/{task_id}' },
      warnings: [],
    })
  })

  test('a host that can be none is not bent into one', () => {
    fc.assert(
      fc.property(fc.webUrl(), issuer => {
        const domain = defaultTrustDomain(issuer, [])
        if (domain === null) return
        expect(parseSpiffeId(`spiffe://${domain}/a`)?.trustDomain).toBe(new URL(issuer).hostname)
      }),
    )
  })
})

describe('a path that is accepted', () => {
  const pieces = fc.constantFrom(
    ...pathPlaceholders.map(name => `{${name}}`),
    '/',
    '.',
    '..',
    'a',
    '-',
    '%',
    '{',
    '}',
    '//',
  )
  const template = fc.array(pieces, { maxLength: 8 }).map(parts => `/${parts.join('')}`)
  const value = fc.stringMatching(/^[a-z][A-Za-z0-9._-]{0,3}$/)
  const values = fc.record({ task_id: value, kind: value, ref: value, principal: value })
  const render = (path: string, given: Record<string, string>) =>
    path.replace(/\{([a-z_]+)\}/g, (_, name: string) => given[name] ?? '')

  test('makes SPIFFE IDs, whatever is put in', () => {
    fc.assert(
      fc.property(template, values, (path, given) => {
        if (pkiPathFault(path) !== null) return
        const made = render(path, given)
        expect(parseSpiffeId(`spiffe://a${made}`)?.path).toBe(made)
      }),
      { numRuns: 5000 },
    )
  })

  test('gives two tasks of two principals two names', () => {
    fc.assert(
      fc.property(template, values, values, (path, one, other) => {
        if (pkiPathFault(path) !== null || one.task_id === other.task_id || one.principal === other.principal)
          return
        expect(render(path, one)).not.toBe(render(path, other))
      }),
      { numRuns: 5000 },
    )
  })
})

describe('the certificate of the listener for mutual TLS', () => {
  let cwd: string
  beforeAll(() => {
    cwd = folder()
    const own = selfSigned()
    const other = selfSigned()
    mkdirSync(join(cwd, 'tls'))
    const weak = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
    for (const [name, text] of Object.entries({
      'cert.pem': own.cert,
      'chain.pem': own.cert + other.cert,
      'broken-chain.pem': `${own.cert}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n`,
      'key.pem': own.key,
      'other.pem': other.key,
      'locked.pem': weak.export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'a' }),
      'nonsense.pem': 'hunter2',
    }))
      writeFileSync(join(cwd, 'tls', name), text)
  })

  const mtls = (files: string) => {
    writeFileSync(join(cwd, 'hallpass.yaml'), `listen: { mtls: { port: 8443, ${files} } }`)
    try {
      return loadConfig({ env: {}, cwd }).listen.mtls
    } catch (error) {
      if (error instanceof ConfigError) return error.faults.map(({ path, message }) => `${path} ${message}`)
      throw error
    }
  }

  test('is in files, relative to the configuration', () => {
    expect(mtls('cert: tls/cert.pem, key: ./tls/key.pem')).toEqual({
      port: 8443,
      cert: join(cwd, 'tls', 'cert.pem'),
      key: join(cwd, 'tls', 'key.pem'),
    })
    expect(mtls('cert: tls/chain.pem, key: ./tls/key.pem')).toHaveProperty('port', 8443)
  })

  test.each<[files: string, faults: RegExp[]]>([
    ['cert: tls/cert.pem', [/^listen.mtls.key is missing/]],
    ['key: tls/key.pem', [/^listen.mtls.cert is missing/]],
    ['key: tls/nothing.pem', [/^listen.mtls.cert is missing/, /^listen.mtls.key cannot be read \(ENOENT\)/]],
    ['cert: tls, key: tls/nothing.pem', [/cert cannot be read \(EISDIR\)/, /key cannot be read \(ENOENT\)/]],
    ['cert: tls/key.pem, key: tls/cert.pem', [/cert is not a certificate/, /key is not a private key/]],
    [
      'cert: tls/nonsense.pem, key: tls/nonsense.pem',
      [/cert is not a certificate/, /key is not a private key/],
    ],
    ['cert: tls/cert.pem, key: tls/locked.pem', [/key is not a private key in PEM without a password/]],
    ['cert: tls/cert.pem, key: tls/other.pem', [/key is not the key of the certificate/]],
    ['cert: tls/broken-chain.pem, key: tls/key.pem', [/cert is nothing that TLS can use/]],
    ['cert: "", key: 5', [/cert .*empty/, /key must be a text/]],
  ])('%s is a fault', (files, expected) => {
    const found = mtls(files)
    expect(found).toEqual(expected.map(message => expect.stringMatching(message)))
    expect(JSON.stringify(found)).not.toContain('hunter2')
  })
})

test('the port that the environment gives is not for mutual TLS too', () => {
  expect(paths('listen: { mtls: { port: 9000 } }', { HALLPASS_PORT: '9000' })).toEqual(['listen.mtls.port'])
  expect(paths('listen: { port: 0, metrics_port: 0, mtls: { port: 0 } }')).toEqual([])
})
