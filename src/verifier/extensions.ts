import type { Extensions } from './certificate.ts'
import {
  DerError,
  inside,
  listIn,
  namedBits,
  oidOf,
  primitive,
  readOne,
  smallOf,
  tags,
  trueIfThere,
} from './der.ts'
import { oids } from './oids.ts'

/** Bits of keyUsage (RFC 5280 §4.2.1.3). */
export const keyUsages = { digitalSignature: 0, keyCertSign: 5, cRLSign: 6 } as const

// Each reads one extension, gives null where it is not there, and throws DerError where it cannot be read.

/** RFC 5280 §4.2.1.9. */
export function basicConstraints(
  extensions: Extensions,
): { isAuthority: boolean; pathLength: number | null } | null {
  const value = extensions.get(oids.basicConstraints)?.value
  if (!value) return null
  const fields = inside(readOne(value, tags.sequence))
  const isAuthority = trueIfThere(fields)
  const length = fields.maybe(tags.integer)
  fields.end()
  if (length !== null && !isAuthority) throw new DerError('a length of paths without an authority')
  return { isAuthority, pathLength: length === null ? null : smallOf(length) }
}

/** RFC 5280 §4.2.1.3. */
export function keyUsage(extensions: Extensions): Set<number> | null {
  const value = extensions.get(oids.keyUsage)?.value
  return value ? namedBits(readOne(value, tags.bitString)) : null
}

/** RFC 5280 §4.2.1.12: object identifiers. */
export function extKeyUsage(extensions: Extensions): string[] | null {
  const value = extensions.get(oids.extKeyUsage)?.value
  return value ? listIn(readOne(value, tags.sequence), tags.oid, 32).map(oidOf) : null
}

/** RFC 5280 §4.2.1.2. */
export function subjectKeyId(extensions: Extensions): Uint8Array | null {
  const value = extensions.get(oids.subjectKeyIdentifier)?.value
  return value ? readOne(value, tags.octetString).content : null
}

/** RFC 5280 §4.2.1.1: the key's identifier; null also where only the issuer and the serial number are given. */
export function authorityKeyId(extensions: Extensions): Uint8Array | null {
  const value = extensions.get(oids.authorityKeyIdentifier)?.value
  if (!value) return null
  return inside(readOne(value, tags.sequence)).maybe(primitive(0))?.content ?? null
}

const [dnsName, uri] = [primitive(2), primitive(6)]
const visibleAscii = /^[\x21-\x7e]+$/

/** RFC 5280 §4.2.1.6: URIs and DNS names. Names of other kinds are refused: a certificate of a task has none. */
export function subjectAltNames(extensions: Extensions): { uris: string[]; dnsNames: string[] } | null {
  const value = extensions.get(oids.subjectAltName)?.value
  if (!value) return null
  const names = { uris: [] as string[], dnsNames: [] as string[] }
  const elements = inside(readOne(value, tags.sequence))
  while (!elements.isAtEnd()) {
    const { tag, content } = elements.any()
    const text = new TextDecoder('latin1').decode(content)
    if ((tag !== uri && tag !== dnsName) || !visibleAscii.test(text))
      throw new DerError('a name is of no use')
    if (names.uris.length + names.dnsNames.length === maxNames) throw new DerError('there are too many names')
    ;(tag === uri ? names.uris : names.dnsNames).push(text)
  }
  return names
}

const maxNames = 1000

/** Whether there is an extension that must be understood (RFC 5280 §4.2) and is none of these. */
export function hasUnknown(extensions: Extensions, known: ReadonlySet<string>): boolean {
  for (const [oid, { critical }] of extensions) if (critical && !known.has(oid)) return true
  return false
}
