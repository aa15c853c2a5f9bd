import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import fc from 'fast-check'
import { authorityCertificate, rootCertificate } from '../../src/mint/x509/authority-certificate.ts'
import type { CertificateFields } from '../../src/mint/x509/certificate.ts'
import { spkiOf } from '../../src/mint/x509/key-id.ts'
import type { CertificateSigner } from '../../src/mint/x509/signer.ts'
import { signerOf } from '../../src/mint/x509/signer-of.ts'
import type { TaskFields } from '../../src/mint/x509/task-extension.ts'

export const urls = {
  crl: 'https://hallpass.example/pki/crl/NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs',
  ocsp: 'https://hallpass.example/pki/ocsp',
}

export interface KeyPair {
  privateKey: KeyObject
  publicKey: KeyObject
}

export const newKeyPair = (namedCurve = 'P-256'): KeyPair => generateKeyPairSync('ec', { namedCurve })

const day = 86_400_000

/** A root and an authority under it, valid from a minute ago on. */
export function newAuthority(trustDomain = 'hallpass.example'): {
  root: CertificateSigner
  authority: CertificateSigner
} {
  const [rootKey, key] = [newKeyPair(), newKeyPair()]
  const notBefore = Date.now() - 60_000
  const root = signerOf({
    certificate: rootCertificate({
      key: rootKey,
      kid: 'kRoot_-0',
      trustDomain,
      notBefore,
      notAfter: notBefore + 10_000 * day,
    }),
    privateKey: rootKey.privateKey,
    kid: 'kRoot_-0',
  })
  const authority = signerOf({
    certificate: authorityCertificate({
      issuer: root,
      publicKey: key.publicKey,
      kid: 'kIssuer-',
      trustDomain,
      notBefore,
      notAfter: notBefore + 30 * day,
      urls: { crl: 'https://hallpass.example/pki/crl/kRoot_-0' },
    }),
    privateKey: key.privateKey,
    kid: 'kIssuer-',
  })
  return { root, authority }
}

/** Fields of a certificate that is valid now. */
export const someFields = (change: Partial<CertificateFields> = {}): CertificateFields => ({
  serial: Buffer.from('0199aabbccdd7eee8fff001122334455', 'hex'),
  notBefore: Date.now() - 30_000,
  notAfter: Date.now() + 300_000,
  spki: spkiOf(newKeyPair().publicKey),
  uri: 'spiffe://hallpass.example/task/0199aabb-0000-7eee-8fff-001122334455',
  dnsNames: [],
  clientAuth: true,
  serverAuth: false,
  task: {
    id: '0199aabb-0000-7eee-8fff-001122334455',
    ver: 1,
    path: [],
    scopes: ['deploy:prod'],
    audience: ['https://api.example'],
  },
  ...change,
})

const version = fc.oneof(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 1, max: 2 ** 31 - 1 }))
const ancestor = fc.record({ id: fc.uuid(), ver: version })
const texts = fc.array(fc.string({ unit: 'binary', minLength: 0, maxLength: 200 }), {
  minLength: 1,
  maxLength: 12,
})

export const someTasks: fc.Arbitrary<TaskFields> = fc.record({
  id: fc.uuid(),
  ver: version,
  path: fc.array(ancestor, { maxLength: 8 }),
  scopes: texts,
  audience: texts,
})

const label = fc.stringMatching(/^[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?$/)
const names = fc.array(label, { minLength: 1, maxLength: 6 }).map(labels => labels.join('.'))
const segments = fc.array(fc.stringMatching(/^[A-Za-z0-9._-]{1,250}$/), { minLength: 1, maxLength: 8 })
/** Whole seconds from 1950 until 2199: a UTCTime until 2049, then a GeneralizedTime. */
const moments = fc
  .integer({ min: Date.UTC(1950, 0) / 1000, max: Date.UTC(2200, 0) / 1000 - 1 })
  .map(s => s * 1000)

/** Fields of certificates for one of these public keys. */
export const fieldsFor = (spkis: Buffer[]): fc.Arbitrary<CertificateFields> =>
  fc
    .record({
      serial: fc.uint8Array({ minLength: 16, maxLength: 16 }).filter(([first = 0]) => first > 0),
      notBefore: moments,
      notAfter: moments,
      spki: fc.constantFrom(...spkis),
      uri: fc.tuple(names, segments).map(([domain, path]) => `spiffe://${domain}/${path.join('/')}`),
      dnsNames: fc.array(names, { maxLength: 40 }),
      usages: fc.constantFrom([true, false], [false, true], [true, true]),
      task: someTasks,
    })
    .map(({ serial, usages: [clientAuth = true, serverAuth = true], ...fields }) => ({
      ...fields,
      serial: Buffer.from(serial),
      clientAuth,
      serverAuth,
    }))
