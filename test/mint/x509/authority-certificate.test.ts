import { execFileSync } from 'node:child_process'
import { createPublicKey, generateKeyPairSync, verify, X509Certificate } from 'node:crypto'
import { beforeAll, describe, expect, it } from 'vitest'
import { oids } from '../../../src/der/oids.ts'
import { readPem } from '../../../src/der/pem.ts'
import { DerError, inside, integerBytes, readOne, wholeBits } from '../../../src/der/read.ts'
import { constructed, tags } from '../../../src/der/tags.ts'
import {
  authorityCertificate,
  authorityRequest,
  responderCertificate,
  rootCertificate,
  serverCertificate,
} from '../../../src/mint/x509/authority-certificate.ts'
import { keyIdOf, spkiOf } from '../../../src/mint/x509/key-id.ts'
import { distinguishedName } from '../../../src/mint/x509/names.ts'
import type { CertificateSigner } from '../../../src/mint/x509/signer.ts'
import { signerOf } from '../../../src/mint/x509/signer-of.ts'
import { type KeyPair, newKeyPair } from '../../support/certificates.ts'
import { isThere } from '../../support/judges.ts'
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  CRLDistributionPointsExtension,
  certificateByLibrary,
  ExtendedKeyUsageExtension,
  Extension,
  KeyUsageFlags,
  KeyUsagesExtension,
  libraryKey,
  Pkcs10CertificateRequest,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
} from '../../support/x509-library.ts'

const trustDomain = 'hallpass.example'
const kid = 'NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs'
const lifetime = { notBefore: Date.UTC(2026, 0, 1), notAfter: Date.UTC(2056, 0, 1) }
const crl = 'https://hallpass.example/pki/crl/root'

let rootKey: KeyPair
let key: KeyPair
let root: CertificateSigner

beforeAll(() => {
  rootKey = newKeyPair()
  key = newKeyPair()
  root = signerOf({
    certificate: rootCertificate({ key: rootKey, kid, trustDomain, ...lifetime }),
    privateKey: rootKey.privateKey,
    kid,
  })
})

function bodyOf(certificate: Buffer): Buffer {
  return inside(readOne(certificate, tags.sequence)).take(tags.sequence).bytes
}

function serialOf(certificate: Buffer): Buffer {
  const fields = inside(readOne(bodyOf(certificate), tags.sequence))
  fields.take(constructed(0))
  return integerBytes(fields.take(tags.integer))
}

/** Holds a certificate that `root` issued against what the library makes of the same fields. */
async function expectAsByLibrary(
  certificate: Buffer,
  {
    publicKey,
    subject,
    extensions,
  }: { publicKey: KeyPair['publicKey']; subject: Buffer | null; extensions: Extension[] },
): Promise<void> {
  const theirs = await certificateByLibrary(libraryKey(rootKey.privateKey), {
    ...lifetime,
    serial: serialOf(certificate),
    issuer: distinguishedName(`${trustDomain} root NzbLsXh8`),
    subject,
    spki: spkiOf(publicKey),
    extensions: [
      new AuthorityKeyIdentifierExtension(keyIdOf(rootKey.publicKey).toString('hex')),
      ...extensions,
    ],
  })
  expect(bodyOf(certificate).toString('hex')).toBe(bodyOf(theirs).toString('hex'))
  expect(new X509Certificate(certificate).verify(rootKey.publicKey)).toBe(true)
}

const signs = () => new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true)
const signature = () => new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true)
const domainName = () =>
  new SubjectAlternativeNameExtension([{ type: 'url', value: `spiffe://${trustDomain}` }])
const own = async ({ publicKey }: KeyPair) =>
  new SubjectKeyIdentifierExtension(keyIdOf(publicKey).toString('hex'))

describe('certificates that are not of tasks are, byte for byte, what @peculiar/x509 makes of the same fields', () => {
  it('a root', async () => {
    await expectAsByLibrary(root.certificate, {
      publicKey: rootKey.publicKey,
      subject: distinguishedName(`${trustDomain} root NzbLsXh8`),
      extensions: [
        await own(rootKey),
        signs(),
        new BasicConstraintsExtension(true, undefined, true),
        domainName(),
      ],
    })
  })

  it('an issuing authority', async () => {
    const { publicKey } = key
    const certificate = authorityCertificate({
      issuer: root,
      publicKey,
      kid,
      trustDomain,
      ...lifetime,
      urls: { crl },
    })
    await expectAsByLibrary(certificate, {
      publicKey,
      subject: distinguishedName(`${trustDomain} authority NzbLsXh8`),
      extensions: [
        await own(key),
        signs(),
        new BasicConstraintsExtension(true, 0, true),
        domainName(),
        new CRLDistributionPointsExtension([crl]),
      ],
    })
  })

  it('an OCSP responder', async () => {
    const { publicKey } = key
    await expectAsByLibrary(responderCertificate({ issuer: root, publicKey, ...lifetime }), {
      publicKey,
      subject: distinguishedName('OCSP responder'),
      extensions: [
        await own(key),
        signature(),
        new BasicConstraintsExtension(false, undefined, true),
        new ExtendedKeyUsageExtension([oids.ocspSigning]),
        new Extension(oids.ocspNoCheck, false, new Uint8Array([5, 0])),
      ],
    })
  })

  it('the listener of the broker itself', async () => {
    const { publicKey } = key
    const names = {
      dns: ['localhost', 'hallpass.example'],
      ip: ['127.0.0.1', '::1', '2001:db8::a:0:1'],
    }
    await expectAsByLibrary(
      serverCertificate({ issuer: root, publicKey, names, ...lifetime, urls: { crl } }),
      {
        publicKey,
        subject: null,
        extensions: [
          await own(key),
          signature(),
          new BasicConstraintsExtension(false, undefined, true),
          new ExtendedKeyUsageExtension([oids.serverAuth]),
          new SubjectAlternativeNameExtension(
            [
              ...names.dns.map(value => ({ type: 'dns' as const, value })),
              ...names.ip.map(value => ({ type: 'ip' as const, value })),
            ],
            true,
          ),
          new CRLDistributionPointsExtension([crl]),
        ],
      },
    )
  })
})

it('a key is named by the SHA-1 of its bits, as Web Crypto knows them', async () => {
  const point = await crypto.subtle.exportKey(
    'raw',
    key.publicKey.toCryptoKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, ['verify']),
  )
  expect(keyIdOf(key.publicKey)).toEqual(Buffer.from(await crypto.subtle.digest('SHA-1', point)))
})

it('serial numbers are positive, of sixteen bytes, and another each time', () => {
  const serials = Array.from({ length: 300 }, () =>
    serialOf(responderCertificate({ issuer: root, publicKey: key.publicKey, ...lifetime })),
  )
  for (const serial of serials) expect(serial.length === 16 && (serial[0] as number) < 0x80).toBe(true)
  expect(new Set(serials.map(serial => serial.toString('hex')))).toHaveLength(300)
})

it('a common name fits into the 64 characters that it may have, however long the trust domain', () => {
  const long = `${'a'.repeat(251)}.org`
  const certificate = new X509Certificate(
    rootCertificate({ key: rootKey, kid, trustDomain: long, ...lifetime }),
  )
  const [, name = ''] = /CN=(.*)/.exec(certificate.subject) ?? []
  expect(name).toBe(`${'a'.repeat(44)} root NzbLsXh8`)
  expect(certificate.subjectAltName).toBe(`URI:spiffe://${long}`)
})

it('an IP address is the same, however it is written', () => {
  const { publicKey } = key
  for (const [written, ip] of [
    ['2001:DB8:0:0::1', '2001:db8::1'],
    ['::192.0.2.7', '::c000:207'],
    ['1::', '1:0:0:0:0:0:0:0'],
    ['1:2:3:4:5:6:7:8', '1:2:3:4:5:6:7:8'],
  ] as const) {
    const names = { dns: [], ip: [written] }
    const certificate = serverCertificate({ issuer: root, publicKey, names, ...lifetime, urls: { crl } })
    expect(new X509Certificate(certificate).checkIP(ip)).toBe(ip)
  }
})

it.each(['', 'localhost', '127.0.0', '1.2.3.4.5', '::g', 'fe80::1%eth0', '[::1]'])(
  'an IP address is none: %j',
  ip => {
    const names = { dns: [], ip: [ip] }
    const { publicKey } = key
    expect(() => serverCertificate({ issuer: root, publicKey, names, ...lifetime, urls: { crl } })).toThrow(
      RangeError,
    )
  },
)

describe('the request of an authority to an organisation', () => {
  const request = () => authorityRequest({ ...key, kid, trustDomain })

  it('asks, to the library, for an authority under it that signs no other, and is signed by the key itself', async () => {
    const read = new Pkcs10CertificateRequest(request())
    expect(await read.verify()).toBe(true)
    expect(read.subject).toBe(`O=Hallpass, CN=${trustDomain} authority NzbLsXh8`)
    expect(Buffer.from(read.publicKey.rawData)).toEqual(spkiOf(key.publicKey))
    const wanted = [await own(key), signs(), new BasicConstraintsExtension(true, 0, true), domainName()]
    expect(read.extensions.map(({ rawData }) => Buffer.from(rawData))).toEqual(
      wanted.map(({ rawData }) => Buffer.from(rawData)),
    )
  })

  it('is one block of PEM, whose signature verifies', () => {
    const [{ label, der } = { label: '', der: Buffer.alloc(0) }] = readPem(request(), 1)
    expect(label).toBe('CERTIFICATE REQUEST')
    const parts = inside(readOne(der, tags.sequence))
    const body = parts.take(tags.sequence).bytes
    parts.take(tags.sequence)
    expect(verify('sha256', body, key.publicKey, wholeBits(parts.take(tags.bitString)))).toBe(true)
  })

  it.skipIf(!isThere('openssl', 'version'))('is accepted by openssl req (where OpenSSL is installed)', () => {
    const shown = execFileSync('openssl', ['req', '-verify', '-noout', '-text'], {
      input: request(),
      encoding: 'utf8',
      stdio: ['pipe', 'pipe', 'ignore'],
    })
    expect(shown).toContain('CA:TRUE, pathlen:0')
    expect(shown).toContain(`URI:spiffe://${trustDomain}`)
  })
})

describe('what an authority signs as', () => {
  const certificateOf = (extensions: Extension[], publicKey = key.publicKey) =>
    certificateByLibrary(libraryKey(rootKey.privateKey), {
      ...lifetime,
      serial: Buffer.of(1),
      issuer: distinguishedName('an organisation'),
      subject: distinguishedName('what the organisation calls it'),
      spki: spkiOf(publicKey),
      extensions,
    })
  const isAuthority = () => new BasicConstraintsExtension(true, undefined, true)
  const signer = (certificate: Buffer, privateKey = key.privateKey) =>
    signerOf({ certificate, privateKey, kid })

  it('is as its certificate says, whatever the organisation called it and its key', async () => {
    const certificate = await certificateOf([isAuthority(), new SubjectKeyIdentifierExtension('0102030405')])
    expect(signer(certificate)).toEqual({
      kid,
      privateKey: key.privateKey,
      certificate,
      name: distinguishedName('what the organisation calls it'),
      keyId: Buffer.of(1, 2, 3, 4, 5),
      notAfter: lifetime.notAfter,
    })
  })

  it('has the key identifier of its key where its certificate names none', async () => {
    expect(signer(await certificateOf([isAuthority()])).keyId).toEqual(keyIdOf(key.publicKey))
  })

  it('is nothing where the certificate is of another key', async () => {
    const certificate = await certificateOf([isAuthority()])
    expect(() => signer(certificate, newKeyPair().privateKey)).toThrow(DerError)
  })

  it('is nothing where the key is not a P-256 one', async () => {
    const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
    for (const other of [newKeyPair('P-384'), rsa, generateKeyPairSync('ed25519')]) {
      const certificate = await certificateOf([isAuthority()], other.publicKey)
      expect(() => signer(certificate, other.privateKey)).toThrow(DerError)
    }
  })

  it('is nothing where the certificate is not one of an authority', async () => {
    for (const extensions of [
      [new BasicConstraintsExtension(false, undefined, true)],
      [new SubjectKeyIdentifierExtension('0102')],
    ]) {
      const certificate = await certificateOf(extensions)
      expect(() => signer(certificate)).toThrow(DerError)
    }
  })

  it('is nothing where the certificate is cut off, or there is more behind it', async () => {
    const certificate = await certificateOf([isAuthority()])
    for (let length = 0; length < certificate.length; length += 7)
      expect(() => signer(certificate.subarray(0, length))).toThrow(DerError)
    expect(() => signer(Buffer.concat([certificate, Buffer.of(0)]))).toThrow(DerError)
  })

  it('is of the private key that was given: its public half is in the certificate', () => {
    expect(spkiOf(createPublicKey(root.privateKey))).toEqual(
      spkiOf(new X509Certificate(root.certificate).publicKey),
    )
  })
})
