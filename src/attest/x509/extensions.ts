import { oids } from '../../der/oids.ts'
import {
  booleanOf,
  DerError,
  type Element,
  inside,
  listIn,
  namedBits,
  oidOf,
  readOne,
  smallOf,
} from '../../der/read.ts'
import { constructed, primitive, tags } from '../../der/tags.ts'
import { type GeneralName, readGeneralName, readGeneralNames } from './names.ts'

/** The extensions that path validation and SVIDs ask for (RFC 5280 §4.2.1); null where the certificate has it not. */
export interface Extensions {
  basicConstraints: BasicConstraints | null
  /** Named bits by number (RFC 5280 §4.2.1.3). */
  keyUsage: ReadonlySet<number> | null
  extKeyUsage: ReadonlySet<string> | null
  subjectAltName: GeneralName[] | null
  nameConstraints: NameConstraints | null
  certificatePolicies: ReadonlySet<string> | null
  /** Policies of the issuer's domain, and for each those of the subject's that are as good. */
  policyMappings: ReadonlyMap<string, ReadonlySet<string>> | null
  policyConstraints: PolicyConstraints | null
  /** How many certificates further down may still use anyPolicy. */
  inhibitAnyPolicy: number | null
  subjectKeyIdentifier: Buffer | null
  authorityKeyIdentifier: Buffer | null
  /** Object identifiers of those that are marked critical. */
  critical: ReadonlySet<string>
  /** Critical, and none of the above: whoever meets it must not accept the certificate (RFC 5280 §4.2). */
  hasUnknownCritical: boolean
}

export interface BasicConstraints {
  ca: boolean
  pathLength: number | null
}

export interface NameConstraints {
  permitted: GeneralName[]
  excluded: GeneralName[]
}

export interface PolicyConstraints {
  requireExplicitPolicy: number | null
  inhibitPolicyMapping: number | null
}

/** Bits of keyUsage. */
export const usages = { digitalSignature: 0, keyCertSign: 5, cRLSign: 6 } as const

const maxExtensions = 64
const maxEntries = 128

/** What is read below. */
const known: ReadonlySet<string> = new Set([
  oids.basicConstraints,
  oids.keyUsage,
  oids.extKeyUsage,
  oids.subjectAltName,
  oids.nameConstraints,
  oids.certificatePolicies,
  oids.policyMappings,
  oids.policyConstraints,
  oids.inhibitAnyPolicy,
  oids.subjectKeyIdentifier,
  oids.authorityKeyIdentifier,
])

/** @throws DerError also where one of them is there twice (RFC 5280 §4.2), and where there are too many. */
export function readExtensions(list: Element | null): Extensions {
  const values = new Map<string, Buffer>()
  const critical = new Set<string>()
  for (const extension of list ? listIn(list, maxExtensions) : []) {
    const parts = inside(readOne(extension.bytes, tags.sequence))
    const id = oidOf(parts.take(tags.oid))
    const isCritical = parts.maybe(tags.boolean)
    // FALSE is the default, and DER leaves a default out (X.690 §11.5).
    if (isCritical && !booleanOf(isCritical)) throw new DerError('a default value is spelled out')
    if (values.has(id)) throw new DerError('an extension is there twice')
    values.set(id, parts.take(tags.octetString).content)
    if (isCritical) critical.add(id)
    parts.end()
  }
  if (list && values.size === 0) throw new DerError('a list of extensions is empty')

  const valueAt = <T>(id: string, tag: number, read: (value: Element) => T): T | null => {
    const bytes = values.get(id)
    return bytes ? read(readOne(bytes, tag)) : null
  }
  return {
    basicConstraints: valueAt(oids.basicConstraints, tags.sequence, readBasicConstraints),
    keyUsage: valueAt(oids.keyUsage, tags.bitString, readKeyUsage),
    extKeyUsage: valueAt(oids.extKeyUsage, tags.sequence, readExtKeyUsage),
    subjectAltName: valueAt(oids.subjectAltName, tags.sequence, readGeneralNames),
    nameConstraints: valueAt(oids.nameConstraints, tags.sequence, readNameConstraints),
    certificatePolicies: valueAt(oids.certificatePolicies, tags.sequence, readCertificatePolicies),
    policyMappings: valueAt(oids.policyMappings, tags.sequence, readPolicyMappings),
    policyConstraints: valueAt(oids.policyConstraints, tags.sequence, readPolicyConstraints),
    inhibitAnyPolicy: valueAt(oids.inhibitAnyPolicy, tags.integer, smallOf),
    subjectKeyIdentifier: valueAt(oids.subjectKeyIdentifier, tags.octetString, ({ content }) => content),
    authorityKeyIdentifier: valueAt(oids.authorityKeyIdentifier, tags.sequence, readAuthorityKeyIdentifier),
    critical,
    hasUnknownCritical: [...critical].some(id => !known.has(id)),
  }
}

function readBasicConstraints(value: Element): BasicConstraints {
  const parts = inside(value)
  const ca = parts.maybe(tags.boolean)
  const pathLength = parts.maybe(tags.integer)
  parts.end()
  if (ca && !booleanOf(ca)) throw new DerError('a default value is spelled out')
  return { ca: ca !== null, pathLength: pathLength && smallOf(pathLength) }
}

function readKeyUsage(value: Element): Set<number> {
  const bits = namedBits(value)
  if (bits.size === 0) throw new DerError('a key is for nothing')
  return bits
}

function readExtKeyUsage(value: Element): Set<string> {
  const purposes = new Set(listIn(value, maxEntries).map(oidOf))
  if (purposes.size === 0) throw new DerError('a key is for nothing')
  return purposes
}

/** RFC 5280 §4.2.1.10: neither `minimum` nor `maximum` has a use in certificates, so that whatever follows a base is refused. */
function readNameConstraints(value: Element): NameConstraints {
  const parts = inside(value)
  const permitted = parts.maybe(constructed(0))
  const excluded = parts.maybe(constructed(1))
  parts.end()
  if (!permitted && !excluded) throw new DerError('constraints constrain nothing')
  const read = (trees: Element | null) => {
    if (!trees) return []
    const bases = listIn(trees, maxEntries).map(tree => {
      const members = inside(readOne(tree.bytes, tags.sequence))
      const base = readGeneralName(members.any(), true)
      members.end()
      return base
    })
    if (bases.length === 0) throw new DerError('a list of names is empty')
    return bases
  }
  return { permitted: read(permitted), excluded: read(excluded) }
}

/** Qualifiers are for people to read. */
function readCertificatePolicies(value: Element): Set<string> {
  const list = listIn(value, maxEntries)
  const policies = new Set(
    list.map(policy => {
      const parts = inside(readOne(policy.bytes, tags.sequence))
      const id = oidOf(parts.take(tags.oid))
      parts.maybe(tags.sequence)
      parts.end()
      return id
    }),
  )
  if (list.length === 0 || policies.size < list.length)
    throw new DerError('policies are none, or there twice')
  return policies
}

function readPolicyMappings(value: Element): Map<string, Set<string>> {
  const mappings = new Map<string, Set<string>>()
  for (const mapping of listIn(value, maxEntries)) {
    const parts = inside(readOne(mapping.bytes, tags.sequence))
    const issuer = oidOf(parts.take(tags.oid))
    const subject = oidOf(parts.take(tags.oid))
    parts.end()
    mappings.set(issuer, new Set([...(mappings.get(issuer) ?? []), subject]))
  }
  if (mappings.size === 0) throw new DerError('mappings map nothing')
  return mappings
}

function readPolicyConstraints(value: Element): PolicyConstraints {
  const parts = inside(value)
  const explicit = parts.maybe(primitive(0))
  const mapping = parts.maybe(primitive(1))
  parts.end()
  if (!explicit && !mapping) throw new DerError('constraints constrain nothing')
  const read = (skip: Element | null) => skip && smallOf({ ...skip, tag: tags.integer })
  return { requireExplicitPolicy: read(explicit), inhibitPolicyMapping: read(mapping) }
}

/** The key identifier alone: it helps to find an issuer, and decides nothing. */
function readAuthorityKeyIdentifier(value: Element): Buffer | null {
  const parts = inside(value)
  const keyIdentifier = parts.maybe(primitive(0))
  parts.maybe(constructed(1))
  parts.maybe(primitive(2))
  parts.end()
  return keyIdentifier?.content ?? null
}
