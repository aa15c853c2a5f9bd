// The library needs it, and before itself.
import './reflect-metadata.ts'
import type { KeyObject, webcrypto } from 'node:crypto'
import {
  AsnArray,
  AsnConvert,
  AsnProp,
  AsnPropTypes,
  AsnType,
  AsnTypeTypes,
  OctetString,
} from '@peculiar/asn1-schema'
import {
  AuthorityInfoAccessExtension,
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  CRLDistributionPointsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  Extension,
  type JsonGeneralName,
  KeyUsageFlags,
  KeyUsagesExtension,
  Name,
  PublicKey,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509CertificateGenerator,
} from '@peculiar/x509'
import { oids } from '../../src/der/oids.ts'
import type { CertificateFields } from '../../src/mint/x509/certificate.ts'
import type { CertificateSigner } from '../../src/mint/x509/signer.ts'
import type { TaskFields } from '../../src/mint/x509/task-extension.ts'

/** The library, once what it needs is there. */
export * from '@peculiar/x509'

/** Certificates as `@peculiar/x509` makes them: what ours are held against, byte for byte, and in speed. */

/** A P-256 key as the library wants it. */
export const libraryKey = (privateKey: KeyObject): webcrypto.CryptoKey =>
  privateKey.toCryptoKey({ name: 'ECDSA', namedCurve: 'P-256' }, false, ['sign'])

export interface LibraryFields {
  serial: Uint8Array
  /** DER. */
  issuer: Uint8Array
  /** DER; null when empty. */
  subject: Uint8Array | null
  notBefore: number
  notAfter: number
  spki: Uint8Array
  extensions: Extension[]
}

/** DER. */
export async function certificateByLibrary(
  signingKey: webcrypto.CryptoKey,
  { serial, issuer, subject, spki, notBefore, notAfter, extensions }: LibraryFields,
): Promise<Buffer> {
  const certificate = await X509CertificateGenerator.create({
    serialNumber: Buffer.from(serial).toString('hex'),
    issuer: new Name(bytes(issuer)),
    ...(subject && { subject: new Name(bytes(subject)) }),
    notBefore: new Date(notBefore),
    notAfter: new Date(notAfter),
    publicKey: bytes(spki),
    signingKey,
    signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
    extensions,
  })
  return Buffer.from(certificate.rawData)
}

/** DER of a task's certificate. */
export async function taskCertificateByLibrary(
  signer: CertificateSigner,
  signingKey: webcrypto.CryptoKey,
  urls: { crl: string; ocsp: string },
  fields: CertificateFields,
): Promise<Buffer> {
  const names: JsonGeneralName[] = [
    { type: 'url', value: fields.uri },
    ...fields.dnsNames.map((value): JsonGeneralName => ({ type: 'dns', value })),
  ]
  const purposes = [
    ...(fields.clientAuth ? [ExtendedKeyUsage.clientAuth] : []),
    ...(fields.serverAuth ? [ExtendedKeyUsage.serverAuth] : []),
  ]
  return certificateByLibrary(signingKey, {
    ...fields,
    issuer: signer.name,
    subject: null,
    extensions: [
      new AuthorityKeyIdentifierExtension(signer.keyId.toString('hex')),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
      new BasicConstraintsExtension(false, undefined, true),
      new CRLDistributionPointsExtension([urls.crl]),
      new AuthorityInfoAccessExtension({ ocsp: urls.ocsp }),
      await SubjectKeyIdentifierExtension.create(new PublicKey(bytes(fields.spki))),
      new ExtendedKeyUsageExtension(purposes),
      new SubjectAlternativeNameExtension(names, true),
      new Extension(oids.hallpassTask, false, taskValueByLibrary(fields.task)),
    ],
  })
}

/** DER of the value of Hallpass's own extension. */
export function taskValueByLibrary({ id, ver, path, scopes, audience }: TaskFields): ArrayBuffer {
  const value = new HallpassTask()
  Object.assign(value, ofTask({ id, ver }), { taskPath: new TaskPath(path.map(ofTask)), scopes, audience })
  return AsnConvert.serialize(value)
}

class Ancestor {
  taskId = new OctetString()
  taskVer = 1
}
class TaskPath extends AsnArray<Ancestor> {}
class HallpassTask {
  version = 1
  taskId = new OctetString()
  taskVer = 1
  taskPath = new TaskPath()
  scopes: string[] = []
  audience: string[] = []
}
// The library's decorators, as the functions that they are.
AsnProp({ type: OctetString })(Ancestor.prototype, 'taskId')
AsnProp({ type: AsnPropTypes.Integer })(Ancestor.prototype, 'taskVer')
AsnType({ type: AsnTypeTypes.Sequence, itemType: Ancestor })(TaskPath)
AsnProp({ type: AsnPropTypes.Integer })(HallpassTask.prototype, 'version')
AsnProp({ type: OctetString })(HallpassTask.prototype, 'taskId')
AsnProp({ type: AsnPropTypes.Integer })(HallpassTask.prototype, 'taskVer')
AsnProp({ type: TaskPath })(HallpassTask.prototype, 'taskPath')
AsnProp({ type: AsnPropTypes.Utf8String, repeated: 'sequence' })(HallpassTask.prototype, 'scopes')
AsnProp({ type: AsnPropTypes.Utf8String, repeated: 'sequence' })(HallpassTask.prototype, 'audience')

function ofTask({ id, ver }: { id: string; ver: number }): Ancestor {
  const ancestor = new Ancestor()
  ancestor.taskId = new OctetString(bytes(Buffer.from(id.replaceAll('-', ''), 'hex')))
  ancestor.taskVer = ver
  return ancestor
}

/** The library takes the whole buffer that a view is of. */
const bytes = (view: Uint8Array): ArrayBuffer => new Uint8Array(view).buffer
