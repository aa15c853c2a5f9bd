import type { Certificate } from './certificate.ts'
import type { TaskVersion } from './claims.ts'
import { DerError, hexOf } from './der.ts'
import {
  basicConstraints,
  extKeyUsage,
  hasUnknown,
  keyUsage,
  keyUsages,
  subjectAltNames,
} from './extensions.ts'
import { oids } from './oids.ts'
import { VerifierRefusal } from './refusal.ts'
import { isScope } from './scope.ts'
import { isSpiffeId } from './spiffe-id.ts'
import { readTaskFields, uuidOf } from './task-extension.ts'

/** What a certificate is presented for: by a client to a server, or by a server to a client (RFC 5280 §4.2.1.12). */
export type CertificateUsage = 'clientAuth' | 'serverAuth'

/** What a certificate of a task says. */
export interface TaskCertificate {
  /** Its serial number's 16 bytes, as the UUID that they are. */
  jti: string
  /** The same in hexadecimal. */
  serial: string
  spiffeId: string
  dnsNames: string[]
  task: TaskVersion
  /** Ancestors, root first; empty at the root. */
  path: TaskVersion[]
  scopes: string[]
  audience: string[]
}

const understood = new Set<string>([
  oids.authorityKeyIdentifier,
  oids.keyUsage,
  oids.basicConstraints,
  oids.extKeyUsage,
  oids.subjectAltName,
  oids.hallpassTask,
])

/** UUIDv7 (RFC 9562 §5.7). */
const uuid7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/

/**
 * Reads what a certificate of a task says from one whose signature is verified: an X.509-SVID with Hallpass's own extension. Authorities sign others
 * too (their OCSP responders' certificates, the broker's own): those are refused.
 *
 * @throws VerifierRefusal `certificate_extension_unknown`, `certificate_type_wrong`, `certificate_usage_wrong`, `certificate_malformed`
 */
export function readTaskCertificate(certificate: Certificate, usage: CertificateUsage): TaskCertificate {
  try {
    return taskCertificate(certificate, usage)
  } catch (error) {
    throw error instanceof DerError ? new VerifierRefusal('certificate_malformed', { cause: error }) : error
  }
}

function taskCertificate({ serial, extensions }: Certificate, usage: CertificateUsage): TaskCertificate {
  if (hasUnknown(extensions, understood)) throw new VerifierRefusal('certificate_extension_unknown')
  const own = extensions.get(oids.hallpassTask)
  const jti = uuidOf(serial)
  const usages = keyUsage(extensions)
  const isOfTask =
    own !== undefined &&
    uuid7.test(jti) &&
    basicConstraints(extensions)?.isAuthority === false &&
    usages?.has(keyUsages.digitalSignature) === true &&
    !usages.has(keyUsages.keyCertSign) &&
    !usages.has(keyUsages.cRLSign)
  if (!isOfTask) throw new VerifierRefusal('certificate_type_wrong')
  if (!extKeyUsage(extensions)?.includes(oids[usage])) throw new VerifierRefusal('certificate_usage_wrong')
  // SPIFFE X509-SVID §2: one URI.
  const { uris, dnsNames } = subjectAltNames(extensions) ?? { uris: [], dnsNames: [] }
  const [spiffeId = '', another] = uris
  if (another !== undefined || !isSpiffeId(spiffeId)) throw new VerifierRefusal('certificate_type_wrong')
  const fields = readTaskFields(own.value)
  // With a space in it, one would pass for two.
  if (!fields.scopes.every(isScope)) throw new VerifierRefusal('certificate_malformed')
  return { jti, serial: hexOf(serial), spiffeId, dnsNames, ...fields }
}
