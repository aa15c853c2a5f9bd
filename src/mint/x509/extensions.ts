import { oids } from '../../der/oids.ts'
import { constructed, primitive, tags } from '../../der/tags.ts'
import { bits, boolean, element, integer, octetString, oid, sequence } from '../../der/write.ts'
import { uriName } from './names.ts'

/** Makes extensions of one kind (RFC 5280 §4.2) from the DER of their values. */
export function extensionOf(
  id: string,
  { critical = false }: { critical?: boolean } = {},
): (value: Uint8Array) => Buffer {
  const head = critical ? Buffer.concat([oid(id), boolean(true)]) : oid(id)
  return value => sequence(head, octetString(value))
}

const ofAuthorityKey = extensionOf(oids.authorityKeyIdentifier)
const ofSubjectKey = extensionOf(oids.subjectKeyIdentifier)
const ofUsage = extensionOf(oids.keyUsage, { critical: true })
const ofConstraints = extensionOf(oids.basicConstraints, { critical: true })
const ofPurposes = extensionOf(oids.extKeyUsage)
const ofPoints = extensionOf(oids.crlDistributionPoints)
const ofAccess = extensionOf(oids.authorityInfoAccess)
const ofNames = extensionOf(oids.subjectAltName)
const ofOnlyNames = extensionOf(oids.subjectAltName, { critical: true })

/** RFC 5280 §4.2.1.1: by the key's identifier alone. */
export const authorityKeyIdentifier = (keyId: Uint8Array): Buffer =>
  ofAuthorityKey(sequence(element(primitive(0), keyId)))

/** RFC 5280 §4.2.1.2. */
export const subjectKeyIdentifier = (keyId: Uint8Array): Buffer => ofSubjectKey(octetString(keyId))

/** The bits of RFC 5280 §4.2.1.3 that are used here. */
export const keyUsages = { digitalSignature: 0, keyCertSign: 5, cRLSign: 6 } as const

/** Critical. */
export const keyUsage = (...usages: (keyof typeof keyUsages)[]): Buffer =>
  ofUsage(bits(...usages.map(usage => keyUsages[usage])))

/** RFC 5280 §4.2.1.9, critical. An authority with `pathLength` 0 signs no other authority. */
export function basicConstraints(authority: { pathLength: number | null } | null): Buffer {
  if (!authority) return ofConstraints(sequence())
  const { pathLength } = authority
  return ofConstraints(
    pathLength === null ? sequence(boolean(true)) : sequence(boolean(true), integer(pathLength)),
  )
}

/** RFC 5280 §4.2.1.12: purposes by their object identifiers. */
export const extKeyUsage = (...purposes: string[]): Buffer => ofPurposes(sequence(...purposes.map(oid)))

/** RFC 5280 §4.2.1.6. Critical where the subject is empty: then these names are all that there are. */
export const subjectAltName = (names: Uint8Array[], { critical }: { critical: boolean }): Buffer =>
  (critical ? ofOnlyNames : ofNames)(sequence(...names))

/** RFC 5280 §4.2.1.13: one address, of the CRL of whoever signed the certificate. */
export const crlDistributionPoint = (url: string): Buffer =>
  ofPoints(sequence(sequence(element(constructed(0), element(constructed(0), uriName(url))))))

/** RFC 5280 §4.2.2.1: where OCSP is spoken. */
export const ocspAddress = (url: string): Buffer => ofAccess(sequence(sequence(oid(oids.ocsp), uriName(url))))

/** RFC 6960 §4.2.2.2.1: of a responder, for as long as it is valid, nobody asks whether it was revoked. */
export const ocspNoCheck = extensionOf(oids.ocspNoCheck)(element(tags.null))
