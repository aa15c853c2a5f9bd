import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import { authorityCertificate, rootCertificate } from '../../src/mint/x509/authority-certificate.ts'
import type { CertificateFields } from '../../src/mint/x509/certificate.ts'
import { spkiOf } from '../../src/mint/x509/key-id.ts'
import type { CertificateSigner } from '../../src/mint/x509/signer.ts'
import { signerOf } from '../../src/mint/x509/signer-of.ts'

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
