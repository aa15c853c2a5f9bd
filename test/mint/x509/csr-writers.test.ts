import { execFileSync, spawnSync } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import forge from 'node-forge'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { oids } from '../../../src/der/oids.ts'
import { readCsr } from '../../../src/mint/x509/csr.ts'

const isThere = (program: string): boolean =>
  spawnSync(program, ['--help'], { stdio: 'ignore' }).error === undefined
const run = (program: string, ...args: string[]): string =>
  execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'hallpass-csr-'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

describe.skipIf(!isThere('openssl'))('CSRs of openssl req (skipped without openssl)', () => {
  const request = (...args: string[]) =>
    run('openssl', 'req', '-new', '-nodes', '-keyout', join(folder, 'openssl.key'), '-subj', '/CN=x', ...args)

  test.each([
    ['P-256', ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256']],
    ['P-384', ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-384', '-sha384']],
    ['Ed25519', ['-newkey', 'ed25519']],
    ['RSA-2048', ['-newkey', 'rsa:2048', '-sha512']],
  ])('%s', (key, args) => {
    expect(readCsr(request(...args))).toMatchObject({ key, asksFor: ['subject'] })
  })

  test('which ask for an authority', () => {
    const more = [
      '-addext',
      'basicConstraints=critical,CA:TRUE',
      '-addext',
      'subjectAltName=DNS:bank.example',
    ]
    expect(readCsr(request('-newkey', 'ed25519', ...more))).toMatchObject({
      asksFor: ['subject', 'basicConstraints CA:TRUE', 'subjectAltName'],
    })
  })

  test.each([
    ['P-521', ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-521'], 'key-algorithm'],
    [
      'an explicit curve',
      ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-pkeyopt', 'ec_param_enc:explicit'],
      'key-algorithm',
    ],
    ['Ed448', ['-newkey', 'ed448'], 'key-algorithm'],
    ['RSA of 512 bits', ['-newkey', 'rsa:512'], 'key-size'],
    [
      'RSA with exponent 3',
      ['-newkey', 'rsa', '-pkeyopt', 'rsa_keygen_bits:2048', '-pkeyopt', 'rsa_keygen_pubexp:3'],
      'key-exponent',
    ],
    ['an RSA-PSS key', ['-newkey', 'rsa-pss'], 'key-algorithm'],
    [
      'an RSA-PSS signature',
      ['-newkey', 'rsa:2048', '-sigopt', 'rsa_padding_mode:pss'],
      'signature-algorithm',
    ],
    ['SHA-1', ['-newkey', 'rsa:2048', '-sha1'], 'signature-algorithm'],
  ])('but not %s', (_, args, fault) => {
    const text = request(...args)
    expect(() => readCsr(text)).toThrow(
      expect.objectContaining({ code: 'malformed', cause: new Error(fault) }),
    )
  })
})

describe.skipIf(!isThere('keytool'))('a CSR of Java (skipped without keytool)', () => {
  test('P-256, with its subjectKeyIdentifier', () => {
    const store = ['-keystore', join(folder, 'java.p12'), '-storepass', 'changeit', '-alias', 'a']
    run('keytool', '-genkeypair', ...store, '-dname', 'CN=x', '-keyalg', 'EC', '-groupname', 'secp256r1')
    const file = join(folder, 'java.csr')
    run('keytool', '-certreq', ...store, '-file', file)
    expect(readCsr(readFileSync(file, 'utf8'))).toMatchObject({
      key: 'P-256',
      asksFor: ['subject', oids.subjectKeyIdentifier],
    })
  })
})

describe.skipIf(!isThere('certtool'))('CSRs of GnuTLS (skipped without certtool)', () => {
  test.each([
    ['P-256', ['--key-type', 'ecdsa', '--curve', 'secp256r1']],
    ['Ed25519', ['--key-type', 'ed25519']],
  ])('%s', (key, args) => {
    const file = join(folder, `${key}.key`)
    run('certtool', '--generate-privkey', '--outfile', file, '--no-text', ...args)
    const template = join(folder, 'empty')
    execFileSync('sh', ['-c', ': > "$0"', template])
    const text = run(
      'certtool',
      '--generate-request',
      '--load-privkey',
      file,
      '--template',
      template,
      '--no-text',
    )
    expect(readCsr(text)).toMatchObject({ key })
  })
})

test('CSRs of node-forge, with the attributes of its manual, whose set is in no order', () => {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const csr = forge.pki.createCertificationRequest()
  csr.publicKey = forge.pki.publicKeyFromPem(publicKey.export({ type: 'spki', format: 'pem' }) as string)
  csr.setSubject([{ name: 'commonName', value: 'example.org' }])
  csr.setAttributes([
    { name: 'challengePassword', value: 'password' },
    { name: 'unstructuredName', value: 'My Company, Inc.' },
    {
      name: 'extensionRequest',
      extensions: [{ name: 'subjectAltName', altNames: [{ type: 2, value: 'test.org' }] }],
    },
  ])
  csr.sign(
    forge.pki.privateKeyFromPem(privateKey.export({ type: 'pkcs1', format: 'pem' }) as string),
    forge.md.sha256.create(),
  )
  expect(readCsr(forge.pki.certificationRequestToPem(csr))).toMatchObject({
    key: 'RSA-2048',
    asksFor: ['subject', '1.2.840.113549.1.9.7', '1.2.840.113549.1.9.2', 'subjectAltName'],
  })
})
