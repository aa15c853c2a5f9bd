import { generateKeyPairSync } from 'node:crypto'
import { newId } from '../../src/ids.ts'
import { authorityCertificate, rootCertificate } from '../../src/mint/x509/authority-certificate.ts'
import { certificateMaker } from '../../src/mint/x509/certificate.ts'
import { keyIdOf, spkiOf } from '../../src/mint/x509/key-id.ts'
import type { CertificateSigner } from '../../src/mint/x509/signer.ts'
import { signerOf } from '../../src/mint/x509/signer-of.ts'
import { serialOf } from '../../src/revoke/x509/entry.ts'

const day = 86_400_000
const trustDomain = 'hallpass.test'
const base = 'https://hallpass.test/pki'
export const testUrls = { crl: (kid: string) => `${base}/crl/${kid}`, ocsp: `${base}/ocsp` }

const newPair = () => generateKeyPairSync('ec', { namedCurve: 'P-256' })

/** A root, or an authority below one, of a key of its own. */
export function newAuthority(above?: CertificateSigner, now = Date.now()): CertificateSigner {
  const key = newPair()
  const kid = keyIdOf(key.publicKey).toString('base64url')
  const shared = { kid, trustDomain, notBefore: now - day, notAfter: now + 30 * day }
  const certificate = above
    ? authorityCertificate({
        ...shared,
        issuer: above,
        publicKey: key.publicKey,
        urls: { crl: testUrls.crl(above.kid) },
      })
    : rootCertificate({ ...shared, key })
  return signerOf({ certificate, privateKey: key.privateKey, kid })
}

/** The certificate of a task, of a key that nobody has any more, with this credential's serial number. */
export const leafOf = (issuer: CertificateSigner, jti: string, now = Date.now()): Buffer =>
  certificateMaker(issuer, { crl: testUrls.crl(issuer.kid), ocsp: testUrls.ocsp })({
    serial: serialOf(jti),
    notBefore: now - 30_000,
    notAfter: now + 3_600_000,
    spki: spkiOf(newPair().publicKey),
    uri: `spiffe://${trustDomain}/task/${jti}`,
    dnsNames: [],
    serverAuth: false,
    clientAuth: true,
    task: { id: newId(), ver: 1, path: [], scopes: ['deploy:prod'], audience: ['https://deploy.example'] },
  })
