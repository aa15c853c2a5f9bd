import { oids } from '../../der/oids.ts'
import {
  authorityKeyIdentifier,
  basicConstraints,
  crlDistributionPoint,
  extKeyUsage,
  keyUsage,
  ocspAddress,
  subjectAltName,
  subjectKeyIdentifier,
} from './extensions.ts'
import { keyIdIn } from './key-id.ts'
import { dnsName, uriName } from './names.ts'
import { type CertificateSigner, signed } from './signer.ts'
import { type TaskFields, taskExtension } from './task-extension.ts'
import { noName, toBeSigned } from './to-be-signed.ts'

/** What one certificate of a task says. */
export interface CertificateFields {
  /** The 16 bytes of the credential's UUIDv7. */
  serial: Buffer
  /** Milliseconds since the epoch, both; a part of a second is dropped. */
  notBefore: number
  notAfter: number
  /** DER of the public key, as the request had it. */
  spki: Buffer
  /** SPIFFE ID. */
  uri: string
  dnsNames: string[]
  /** One of the two at least. */
  serverAuth: boolean
  clientAuth: boolean
  task: TaskFields
}

/** Issues certificates of tasks: DER. Throws RangeError where a name has a character that names have not. */
export type CertificateMaker = (fields: CertificateFields) => Buffer

/**
 * Issues certificates of tasks under one authority. Each is an X.509-SVID (SPIFFE X509-SVID §4, §5) with an empty subject, and says where to
 * ask whether it was revoked. What all of them have in common is encoded once.
 */
export function certificateMaker(
  signer: CertificateSigner,
  urls: { crl: string; ocsp: string },
): CertificateMaker {
  const common = Buffer.concat([
    authorityKeyIdentifier(signer.keyId),
    keyUsage('digitalSignature'),
    basicConstraints(null),
    crlDistributionPoint(urls.crl),
    ocspAddress(urls.ocsp),
  ])
  return ({ uri, dnsNames, task, ...fields }) => {
    const names = [uriName(uri), ...dnsNames.map(dnsName)]
    return signed(
      signer.privateKey,
      toBeSigned({
        ...fields,
        issuer: signer.name,
        subject: noName,
        extensions: [
          common,
          subjectKeyIdentifier(keyIdIn(fields.spki)),
          purposesOf(fields),
          subjectAltName(names, { critical: true }),
          taskExtension(task),
        ],
      }),
    )
  }
}

const client = extKeyUsage(oids.clientAuth)
const server = extKeyUsage(oids.serverAuth)
const both = extKeyUsage(oids.clientAuth, oids.serverAuth)

/** Without any purpose in it a certificate would be good for all: that is never made. */
function purposesOf({ clientAuth, serverAuth }: Pick<CertificateFields, 'clientAuth' | 'serverAuth'>) {
  if (clientAuth) return serverAuth ? both : client
  if (serverAuth) return server
  throw new RangeError('a certificate without a purpose')
}
