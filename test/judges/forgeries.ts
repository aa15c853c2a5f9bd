import { X509Certificate } from 'node:crypto'
import { setTimeout as after } from 'node:timers/promises'
import { writePem } from '../../src/der/pem.ts'
import { certificateUrls } from '../../src/mint/x509/authorities.ts'
import { authorityCertificate, rootCertificate } from '../../src/mint/x509/authority-certificate.ts'
import { certificateMaker } from '../../src/mint/x509/certificate.ts'
import { spkiOf } from '../../src/mint/x509/key-id.ts'
import { signerOf } from '../../src/mint/x509/signer-of.ts'
import { serialOf } from '../../src/revoke/x509/entry.ts'
import { newKeyPair } from '../support/csr.ts'
import type { Certified, Court, Presented } from './court.ts'

const day = 86_400_000
const trustDomain = 'hallpass.test'

/** Somebody else's certificate: every name, number and address in it is this live one's, and of those above it; the keys alone are not. */
export async function forged(court: Court, { jti, task }: Certified): Promise<Presented> {
  const now = Date.now()
  const urls = certificateUrls(court.broker.issuer)
  const { authorities, roots } = await court.authority()
  const [root, authority] = [roots[0], authorities.find(({ state }) => state === 'active')]
  if (!root || !authority) throw new Error('the court has no authority')
  const lifetime = { notBefore: now - day, notAfter: now + day }

  const rootKey = newKeyPair()
  const rootSigner = signerOf({
    certificate: rootCertificate({ key: rootKey, kid: root.kid, trustDomain, ...lifetime }),
    privateKey: rootKey.privateKey,
    kid: root.kid,
  })
  const { publicKey, privateKey } = newKeyPair()
  const signer = signerOf({
    certificate: authorityCertificate({
      issuer: rootSigner,
      publicKey,
      kid: authority.kid,
      trustDomain,
      urls: { crl: urls.crl(root.kid) },
      ...lifetime,
    }),
    privateKey,
    kid: authority.kid,
  })
  const key = newKeyPair()
  const leaf = certificateMaker(signer, { crl: urls.crl(authority.kid), ocsp: urls.ocsp })({
    serial: serialOf(jti),
    notBefore: now - 30_000,
    notAfter: now + 300_000,
    spki: spkiOf(key.publicKey),
    uri: `spiffe://${trustDomain}/task/${task.id}`,
    dnsNames: [],
    serverAuth: false,
    clientAuth: true,
    task: { id: task.id, ver: 1, path: [], scopes: ['deploy:prod'], audience: ['https://deploy.example'] },
  })
  return {
    key: key.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    certificate: writePem('CERTIFICATE', leaf),
    chain: writePem('CERTIFICATE', signer.certificate),
  }
}

/** One whose time is over, by everybody's clock. */
export async function expired(court: Court): Promise<Certified> {
  const certified = await court.certified('/agent/expired', {}, { ttl: 1 })
  // notAfter is a second that it is still valid in (RFC 5280 §4.1.2.5).
  const end = Date.parse(new X509Certificate(certified.certificate).validTo) + 1_000
  while (Date.now() < end) await after(end - Date.now())
  return certified
}
