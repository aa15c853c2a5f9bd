import { oids } from '../../der/oids.ts'
import {
  booleanOf,
  DerError,
  type Element,
  type Elements,
  inside,
  integerBytes,
  listIn,
  oidOf,
  readOne,
} from '../../der/read.ts'
import { tags } from '../../der/tags.ts'
import { csrRefused } from './csr-refused.ts'

const mostAttributes = 8
const mostExtensions = 32
/** Bytes: the longest in use have half of that. Reading longer ones as numbers takes its time. */
const longestOid = 40
const deepest = 8

/** Extensions that others' certificates would have from a CSR, by name. */
const extensionNames = new Map<string, string>([
  [oids.subjectAltName, 'subjectAltName'],
  [oids.keyUsage, 'keyUsage'],
  [oids.extKeyUsage, 'extKeyUsage'],
])

/**
 * What a CSR asks for beyond its key: a subject, the extensions of its extensionRequest (RFC 2985 §5.4.2), and other attributes. Object
 * identifiers stand for what has no name here. Throws DerError for what is no Name (RFC 5280 §4.1.2.4) or no Attributes (RFC 2986 §4.1).
 */
export function asksOf(subject: Element, attributes: Element): string[] {
  const asks = isEmptyName(subject) ? [] : ['subject']
  const list = listIn(attributes, Number.POSITIVE_INFINITY)
  if (list.length > mostAttributes)
    throw csrRefused('too-many-attributes', `it has more than ${mostAttributes} attributes`)
  const types = new Set<string>()
  for (const attribute of list) {
    const { type, asksFor } = readAttribute(attribute)
    // A type has all of its values in one attribute.
    if (types.has(type)) throw new DerError('an attribute is there twice')
    types.add(type)
    asks.push(...asksFor)
  }
  return [...new Set(asks)]
}

/** Checks a Name, which nobody reads: sets of types and values. */
function isEmptyName(name: Element): boolean {
  const relativeNames = inside(name)
  const isEmpty = relativeNames.isAtEnd()
  while (!relativeNames.isAtEnd()) {
    const values = inside(relativeNames.take(tags.set))
    do {
      const typeAndValue = inside(values.take(tags.sequence))
      nextOid(typeAndValue)
      mustBeDer(typeAndValue.any(), deepest)
      typeAndValue.end()
    } while (!values.isAtEnd())
  }
  return isEmpty
}

function readAttribute(attribute: Element): { type: string; asksFor: string[] } {
  if (attribute.tag !== tags.sequence) throw new DerError('an attribute is expected')
  const parts = inside(attribute)
  const type = nextOid(parts)
  const values = inside(parts.take(tags.set))
  parts.end()
  if (type === oids.extensionRequest) {
    const extensions = values.take(tags.sequence)
    values.end()
    return { type, asksFor: asksOfExtensions(extensions) }
  }
  do mustBeDer(values.any(), deepest)
  while (!values.isAtEnd())
  return { type, asksFor: [type] }
}

function asksOfExtensions(extensions: Element): string[] {
  const list = listIn(extensions, Number.POSITIVE_INFINITY)
  if (list.length > mostExtensions)
    throw csrRefused('too-many-extensions', `it asks for more than ${mostExtensions} extensions`)
  return list.map(extension => {
    if (extension.tag !== tags.sequence) throw new DerError('an extension is expected')
    const parts = inside(extension)
    const type = nextOid(parts)
    const critical = parts.maybe(tags.boolean)
    // X.690 §11.5: a default is not written out.
    if (critical && !booleanOf(critical)) throw new DerError('a default is written out')
    const { content } = parts.take(tags.octetString)
    parts.end()
    if (type !== oids.basicConstraints) return extensionNames.get(type) ?? type
    return asksToBeAuthority(content) ? 'basicConstraints CA:TRUE' : 'basicConstraints'
  })
}

/** RFC 5280 §4.2.1.9. */
function asksToBeAuthority(basicConstraints: Buffer): boolean {
  const parts = inside(readOne(basicConstraints, tags.sequence))
  const ca = parts.maybe(tags.boolean)
  const pathLength = parts.maybe(tags.integer)
  parts.end()
  if (pathLength) integerBytes(pathLength)
  return ca !== null && booleanOf(ca)
}

function nextOid(parts: Elements): string {
  const type = parts.take(tags.oid)
  if (type.content.length > longestOid) throw new DerError('an object identifier is too long')
  return oidOf(type)
}

/** What nobody reads must be DER all the same: no strings in pieces (X.690 §10.2), nothing cut off or indefinite however deep. */
function mustBeDer(element: Element, depth: number): void {
  const isConstructed = (element.tag & 0x20) !== 0
  const isUniversal = element.tag < 0x40
  if (isUniversal && isConstructed !== (element.tag === tags.sequence || element.tag === tags.set))
    throw new DerError('a value is in pieces, or is none')
  if (element.tag === tags.integer) integerBytes(element)
  if (element.tag === tags.boolean) booleanOf(element)
  if (!isConstructed) return
  if (depth === 0) throw new DerError('it is nested too deeply')
  const parts = inside(element)
  while (!parts.isAtEnd()) mustBeDer(parts.any(), depth - 1)
}
