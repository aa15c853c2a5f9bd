import { execFileSync, spawnSync } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { rootCertificates } from 'node:tls'
import forge from 'node-forge'
import { afterAll, describe, expect, it } from 'vitest'
import { readCertificate } from '../../../src/attest/x509/certificate.ts'
import { readSvid, verifySvid } from '../../../src/attest/x509/svid.ts'
import { readPem } from '../../../src/der/pem.ts'
import * as peculiar from '../../support/x509-library.ts'

const id = 'spiffe://prod.example/ci/deployer'
const hour = 3_600_000
const folder = mkdtempSync(join(tmpdir(), 'hallpass-makers-'))
afterAll(() => rmSync(folder, { recursive: true }))

const has = (program: string, argument: string) => spawnSync(program, [argument]).status === 0
const hasOpenssl = has('openssl', 'version')
const hasCerttool = has('certtool', '--version')

/** Whether the SVID is one of that authority. */
function isSvid(certificate: Buffer, root: Buffer): boolean {
  const svid = readSvid([certificate])
  expect(svid.id).toBe(id)
  return verifySvid(svid, [readCertificate(root)], Date.now(), 30_000) !== null
}

describe('certificates that others make are accepted:', () => {
  it('@peculiar/x509', async () => {
    const signingAlgorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }
    const generate = () => crypto.subtle.generateKey(signingAlgorithm, true, ['sign', 'verify'])
    const [keys, leafKeys] = await Promise.all([generate(), generate()])
    const dates = { notBefore: new Date(Date.now() - hour), notAfter: new Date(Date.now() + hour) }
    const root = await peculiar.X509CertificateGenerator.createSelfSigned({
      ...dates,
      name: 'CN=root',
      keys,
      signingAlgorithm,
      extensions: [
        new peculiar.BasicConstraintsExtension(true, 0, true),
        new peculiar.KeyUsagesExtension(peculiar.KeyUsageFlags.keyCertSign, true),
      ],
    })
    const leaf = await peculiar.X509CertificateGenerator.create({
      ...dates,
      subject: '',
      issuer: root.subject,
      publicKey: leafKeys.publicKey,
      signingKey: keys.privateKey,
      signingAlgorithm,
      extensions: [
        new peculiar.BasicConstraintsExtension(false, undefined, true),
        new peculiar.KeyUsagesExtension(peculiar.KeyUsageFlags.digitalSignature, true),
        new peculiar.SubjectAlternativeNameExtension([{ type: 'url', value: id }], true),
      ],
    })
    expect(isSvid(Buffer.from(leaf.rawData), Buffer.from(root.rawData))).toBe(true)
  })

  it('node-forge', () => {
    const { privateKey, publicKey } = generateKeyPairSync('rsa', {
      modulusLength: 2048,
      publicKeyEncoding: { format: 'pem', type: 'spki' },
      privateKeyEncoding: { format: 'pem', type: 'pkcs8' },
    })
    const make = (commonName: string, extensions: object[]) => {
      const certificate = forge.pki.createCertificate()
      certificate.publicKey = forge.pki.publicKeyFromPem(publicKey)
      certificate.serialNumber = '01'
      certificate.validity.notBefore = new Date(Date.now() - hour)
      certificate.validity.notAfter = new Date(Date.now() + hour)
      certificate.setSubject([{ name: 'commonName', value: commonName }])
      certificate.setIssuer([{ name: 'commonName', value: 'root' }])
      certificate.setExtensions(extensions)
      certificate.sign(forge.pki.privateKeyFromPem(privateKey), forge.md.sha256.create())
      return Buffer.from(forge.asn1.toDer(forge.pki.certificateToAsn1(certificate)).getBytes(), 'latin1')
    }
    const root = make('root', [
      { name: 'basicConstraints', cA: true, critical: true },
      { name: 'keyUsage', keyCertSign: true, critical: true },
    ])
    const leaf = make('leaf', [
      { name: 'basicConstraints', cA: false },
      { name: 'keyUsage', digitalSignature: true, keyEncipherment: true, critical: true },
      { name: 'extKeyUsage', serverAuth: true, clientAuth: true },
      { name: 'subjectAltName', altNames: [{ type: 6, value: id }] },
    ])
    expect(isSvid(leaf, root)).toBe(true)
  })

  it.skipIf(!hasOpenssl)('openssl (skipped where it is not installed)', () => {
    const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd: folder, stdio: 'pipe' })
    const add = (...extensions: string[]) => extensions.flatMap(extension => ['-addext', extension])
    const ec = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-384', '-nodes']
    openssl(
      ...[
        'req',
        '-x509',
        ...ec,
        '-keyout',
        'root.key',
        '-subj',
        '/CN=root',
        '-outform',
        'DER',
        '-out',
        'root.der',
        '-sha384',
      ],
      ...add('keyUsage=critical,keyCertSign', 'nameConstraints=critical,permitted;URI:prod.example'),
    )
    openssl('req', ...ec, '-keyout', 'leaf.key', '-subj', '/O=SPIRE', '-out', 'leaf.csr')
    writeFileSync(
      join(folder, 'leaf.cnf'),
      `basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=clientAuth,serverAuth\nsubjectAltName=URI:${id},DNS:a.example\n`,
    )
    openssl('x509', '-inform', 'DER', '-in', 'root.der', '-out', 'root.pem')
    openssl(
      ...[
        'x509',
        '-req',
        '-in',
        'leaf.csr',
        '-CA',
        'root.pem',
        '-CAkey',
        'root.key',
        '-extfile',
        'leaf.cnf',
        '-days',
        '1',
      ],
      ...['-CAcreateserial', '-outform', 'DER', '-out', 'leaf.der', '-sha512'],
    )
    expect(isSvid(readFileSync(join(folder, 'leaf.der')), readFileSync(join(folder, 'root.der')))).toBe(true)
  })

  it.skipIf(!hasCerttool)('GnuTLS’s certtool (skipped where it is not installed)', () => {
    const certtool = (template: string, ...args: string[]) => {
      writeFileSync(join(folder, 'template'), template)
      return execFileSync('certtool', [...args, '--template', 'template'], { cwd: folder, stdio: 'pipe' })
    }
    const der = (pem: Buffer) => readPem(pem.toString(), 1)[0]!.der
    for (const name of ['ca.key', 'a.key'])
      execFileSync('certtool', ['--generate-privkey', '--key-type', 'ed25519', '--outfile', name], {
        cwd: folder,
        stdio: 'pipe',
      })
    const root = certtool(
      'cn = "root"\nca\ncert_signing_key\nexpiration_days = 1\n',
      '--generate-self-signed',
      '--load-privkey',
      'ca.key',
    )
    writeFileSync(join(folder, 'ca.pem'), root)
    const leaf = certtool(
      `cn = "leaf"\nuri = "${id}"\nsigning_key\ntls_www_client\nexpiration_days = 1\n`,
      ...[
        '--generate-certificate',
        '--load-privkey',
        'a.key',
        '--load-ca-certificate',
        'ca.pem',
        '--load-ca-privkey',
        'ca.key',
      ],
    )
    expect(isSvid(der(leaf), der(root))).toBe(true)
  })

  it('the roots that Mozilla trusts are read', () => {
    for (const pem of rootCertificates)
      expect(readCertificate(readPem(pem, 1)[0]!.der).serial.length).toBeGreaterThan(0)
  })
})
