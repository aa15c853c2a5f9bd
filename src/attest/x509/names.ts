import { oids } from '../../der/oids.ts'
import { DerError, type Element, inside, listIn, oidOf, readOne } from '../../der/read.ts'
import { constructed, primitive, tags } from '../../der/tags.ts'

/** A distinguished name as it is compared (RFC 5280 §7.1): no two that mean the same differ here. */
export interface Name {
  /** The relative names in order, each in its one spelling. */
  rdns: string[]
  /** Values of `emailAddress`, as written: constraints on mail apply to them too (RFC 5280 §4.2.1.10). */
  emails: string[]
}

/** A GeneralName (RFC 5280 §4.2.1.6). `other` are the forms that nothing here understands. */
export type GeneralName =
  | { form: 'email' | 'dns' | 'uri'; value: string }
  | { form: 'ip'; value: Buffer }
  | { form: 'directory'; value: Name }
  | { form: 'other'; tag: number }

const maxRdns = 64
const maxAttributes = 16
const maxNames = 128

export function readName(element: Element): Name {
  const emails: string[] = []
  const rdns = listIn(element, maxRdns).map(rdn => {
    if (rdn.tag !== tags.set) throw new DerError('a name is no sequence of sets')
    const attributes = listIn(rdn, maxAttributes).map(attribute => {
      const parts = inside(readOne(attribute.bytes, tags.sequence))
      const type = oidOf(parts.take(tags.oid))
      const value = parts.any()
      parts.end()
      const text = textOf(value)
      if (type === oids.emailAddress && text !== null) emails.push(text)
      return JSON.stringify([type, text === null ? value.bytes.toString('hex') : folded(text)])
    })
    if (attributes.length === 0) throw new DerError('a relative name is empty')
    // The order within a set says nothing.
    return attributes.sort().join()
  })
  return { rdns, emails }
}

export const sameName = (one: Name, other: Name): boolean =>
  one.rdns.length === other.rdns.length && isWithin(one, other)

/** Whether the name is the base or below it. */
export const isWithin = (name: Name, base: Name): boolean =>
  base.rdns.every((rdn, place) => name.rdns[place] === rdn)

/** GeneralNames: at least one, and so many at most that comparing them with as many constraints is no work. */
export function readGeneralNames(element: Element): GeneralName[] {
  const names = listIn(element, maxNames).map(name => readGeneralName(name, false))
  if (names.length === 0) throw new DerError('a list of names is empty')
  return names
}

/** `isBase`: the base of a constraint, where an IP address has its mask beside it. */
export function readGeneralName(element: Element, isBase: boolean): GeneralName {
  switch (element.tag) {
    case primitive(1):
      return { form: 'email', value: ia5(element) }
    case primitive(2):
      return { form: 'dns', value: ia5(element) }
    case primitive(6):
      return { form: 'uri', value: ia5(element) }
    case primitive(7): {
      const bytes = element.content.length / (isBase ? 2 : 1)
      if (bytes !== 4 && bytes !== 16) throw new DerError('an IP address has no such length')
      return { form: 'ip', value: element.content }
    }
    case constructed(4): {
      const parts = inside(element)
      const value = readName(parts.take(tags.sequence))
      parts.end()
      return { form: 'directory', value }
    }
    case constructed(0):
    case constructed(3):
    case constructed(5):
    case primitive(8):
      return { form: 'other', tag: element.tag }
    default:
      throw new DerError('a name is of no known form')
  }
}

/** Printable ASCII alone: what is read as text must be the same text to everybody. */
function ia5({ content }: Element): string {
  const text = content.toString('latin1')
  if (!/^[ -~]*$/.test(text)) throw new DerError('a name is no plain ASCII')
  return text
}

/** The text of whichever string type; null where the value is none, which is compared byte by byte. */
function textOf({ tag, content }: Element): string | null {
  switch (tag) {
    case tags.printableString:
    case tags.ia5String:
    case tags.t61String:
      return content.toString('latin1')
    case tags.utf8String:
      return utf8(content)
    case tags.bmpString:
      return units(content, 2)
    case tags.universalString:
      return units(content, 4)
    default:
      return null
  }
}

function utf8(content: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(content)
  } catch {
    throw new DerError('a name is no UTF-8')
  }
}

function units(content: Buffer, size: 2 | 4): string {
  if (content.length % size !== 0) throw new DerError('a name is cut off')
  let text = ''
  for (let at = 0; at < content.length; at += size) {
    const point = content.readUIntBE(at, size)
    if (point > 0x10ffff) throw new DerError('a name is no Unicode')
    text += String.fromCodePoint(point)
  }
  return text
}

/** Characters of a value that are put into order: more than X.520 allows but a few. */
const maxNormalized = 256

/**
 * What caseIgnoreMatch makes of a string, near enough (RFC 4518): compatibility forms, case, and runs of blanks. Compatibility forms, which
 * plain ASCII has none of, take the square of the length where accents are piled upon accents: seconds for what one certificate can hold.
 */
function folded(text: string): string {
  const isPlain = /^[\0-\x7f]*$/.test(text)
  if (!isPlain && text.length > maxNormalized) throw new DerError('a name is too long')
  const normal = isPlain ? text : text.normalize('NFKC')
  return normal.toLowerCase().replace(/\s+/g, ' ').replace(/^ | $/g, '')
}
