import { type KeyObject, randomBytes } from 'node:crypto'
import { oids } from '../../der/oids.ts'
import { writePem } from '../../der/pem.ts'
import { constructed } from '../../der/tags.ts'
import { element, integer, oid, sequence, set } from '../../der/write.ts'
import {
  authorityKeyIdentifier,
  basicConstraints,
  crlDistributionPoint,
  extKeyUsage,
  keyUsage,
  ocspNoCheck,
  subjectAltName,
  subjectKeyIdentifier,
} from './extensions.ts'
import { keyIdOf, spkiOf } from './key-id.ts'
import { distinguishedName, dnsName, ipName, uriName } from './names.ts'
import { type CertificateSigner, signed } from './signer.ts'
import { noName, toBeSigned } from './to-be-signed.ts'

interface KeyPair {
  privateKey: KeyObject
  publicKey: KeyObject
}

/** Milliseconds since the epoch; a part of a second is dropped. */
interface Lifetime {
  notBefore: number
  notAfter: number
}

/** Whose key it is that is certified: the thumbprint (RFC 7638) that names the key, and the broker's trust domain. */
interface Authority {
  kid: string
  trustDomain: string
}

/** The certificate of a root, signed by itself: DER. */
export function rootCertificate({
  key,
  kid,
  trustDomain,
  ...lifetime
}: Authority & Lifetime & { key: KeyPair }): Buffer {
  const name = nameOf('root', { kid, trustDomain })
  const keyId = keyIdOf(key.publicKey)
  return issued(
    { privateKey: key.privateKey, name, keyId },
    {
      ...lifetime,
      subject: name,
      publicKey: key.publicKey,
      extensions: authorityExtensions({ keyId, trustDomain, pathLength: null }),
    },
  )
}

/** The certificate of an issuing authority, signed by a root of the broker's own: DER. */
export function authorityCertificate({
  issuer,
  publicKey,
  kid,
  trustDomain,
  urls,
  ...lifetime
}: Authority &
  Lifetime & {
    issuer: CertificateSigner
    publicKey: KeyObject
    /** Where the root's own CRL is. */
    urls: { crl: string }
  }): Buffer {
  return issued(issuer, {
    ...lifetime,
    subject: nameOf('authority', { kid, trustDomain }),
    publicKey,
    extensions: [
      ...authorityExtensions({ keyId: keyIdOf(publicKey), trustDomain, pathLength: 0 }),
      crlDistributionPoint(urls.crl),
    ],
  })
}

/** The request of an issuing authority to an organisation's own root (PKCS#10, RFC 2986): PEM. */
export function authorityRequest({ privateKey, publicKey, kid, trustDomain }: Authority & KeyPair): string {
  const extensions = sequence(
    ...authorityExtensions({ keyId: keyIdOf(publicKey), trustDomain, pathLength: 0 }),
  )
  const info = sequence(
    integer(0),
    nameOf('authority', { kid, trustDomain }),
    spkiOf(publicKey),
    element(constructed(0), sequence(oid(oids.extensionRequest), set(extensions))),
  )
  return writePem('CERTIFICATE REQUEST', signed(privateKey, info))
}

/** The certificate of an OCSP responder, to which an authority leaves answering for it (RFC 6960 §4.2.2.2): DER. */
export function responderCertificate({
  issuer,
  publicKey,
  ...lifetime
}: Lifetime & { issuer: CertificateSigner; publicKey: KeyObject }): Buffer {
  return issued(issuer, {
    ...lifetime,
    subject: distinguishedName('OCSP responder'),
    publicKey,
    extensions: [
      subjectKeyIdentifier(keyIdOf(publicKey)),
      keyUsage('digitalSignature'),
      basicConstraints(null),
      extKeyUsage(oids.ocspSigning),
      ocspNoCheck,
    ],
  })
}

/**
 * The certificate of the broker's own TLS listener: DER. It names the CRL alone: OCSP answers for credentials, and would know nothing of it.
 */
export function serverCertificate({
  issuer,
  publicKey,
  names,
  urls,
  ...lifetime
}: Lifetime & {
  issuer: CertificateSigner
  publicKey: KeyObject
  /** One at least. */
  names: { dns: string[]; ip: string[] }
  urls: { crl: string }
}): Buffer {
  return issued(issuer, {
    ...lifetime,
    subject: noName,
    publicKey,
    extensions: [
      subjectKeyIdentifier(keyIdOf(publicKey)),
      keyUsage('digitalSignature'),
      basicConstraints(null),
      extKeyUsage(oids.serverAuth),
      subjectAltName([...names.dns.map(dnsName), ...names.ip.map(ipName)], { critical: true }),
      crlDistributionPoint(urls.crl),
    ],
  })
}

/**
 * What an authority's certificate says of it. It is an SVID itself, whose SPIFFE ID has no path (SPIFFE X509-SVID §3.2). It has no name
 * constraints, though they would hold it to its trust domain: who does not know ones of URIs must refuse all that is below (RFC 5280
 * §4.2.1.10), §4.2 of SPIFFE's warns of that, and where the broker holds the root too, whoever took the one key has taken the other.
 */
const authorityExtensions = (authority: {
  keyId: Buffer
  trustDomain: string
  pathLength: number | null
}): Buffer[] => [
  subjectKeyIdentifier(authority.keyId),
  keyUsage('keyCertSign', 'cRLSign'),
  basicConstraints(authority),
  subjectAltName([uriName(`spiffe://${authority.trustDomain}`)], { critical: false }),
]

/** RFC 5280 allows a common name 64 characters; the trust domain, which may have 255, is in full among the other names. */
const nameOf = (what: 'root' | 'authority', { kid, trustDomain }: Authority): Buffer =>
  distinguishedName(`${trustDomain.slice(0, 44)} ${what} ${kid.slice(0, 8)}`)

function issued(
  issuer: Pick<CertificateSigner, 'privateKey' | 'name' | 'keyId'>,
  {
    publicKey,
    extensions,
    ...fields
  }: Lifetime & { subject: Buffer; publicKey: KeyObject; extensions: Buffer[] },
): Buffer {
  return signed(
    issuer.privateKey,
    toBeSigned({
      ...fields,
      serial: newSerial(),
      issuer: issuer.name,
      spki: spkiOf(publicKey),
      extensions: [authorityKeyIdentifier(issuer.keyId), ...extensions],
    }),
  )
}

/** Sixteen bytes, positive and not to be guessed (RFC 5280 §4.1.2.2). */
function newSerial(): Buffer {
  const serial = randomBytes(16)
  serial[0] = ((serial[0] as number) & 0x3f) | 0x40
  return serial
}
