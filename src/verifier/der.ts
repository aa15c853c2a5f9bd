/** Identifier octets (X.680 §8.6) that are read here. */
export const tags = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  oid: 0x06,
  enumerated: 0x0a,
  utf8String: 0x0c,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const

/** `[n]` around something, or in the place of a SEQUENCE's tag. */
export const constructed = (n: number): number => 0xa0 | n
/** `[n]` in the place of a primitive type's tag. */
export const primitive = (n: number): number => 0x80 | n

/** One element of DER (X.690 §10): views into the bytes that were read. */
export interface Element {
  /** The identifier octet. */
  tag: number
  content: Uint8Array
  /** Identifier, length and content. */
  bytes: Uint8Array
}

/** What is no DER, or not what is expected there. It never leaves the package. */
export class DerError extends Error {
  override readonly name = 'DerError'
}

/** Reads the elements of one content, in order. Every method throws DerError where what is there is not what was asked for. */
export interface Elements {
  /** The next element, which must have this tag. */
  take(tag: number): Element
  /** The next element if it has this tag, else null. */
  maybe(tag: number): Element | null
  /** The next element, of whatever tag. */
  any(): Element
  isAtEnd(): boolean
  /** Nothing may follow. */
  end(): void
}

/** Reads bytes that are one element and nothing else. */
export function readOne(bytes: Uint8Array, tag: number): Element {
  const elements = elementsIn(bytes)
  const element = elements.take(tag)
  elements.end()
  return element
}

/** The elements of an element's content. */
export const inside = ({ content }: Element): Elements => elementsIn(content)

/** The elements of a SEQUENCE with this tag: at least one, and no more than `most`. */
export function listIn(element: Element, tag: number, most: number): Element[] {
  const elements = inside(element)
  const list: Element[] = []
  while (!elements.isAtEnd()) {
    if (list.length === most) throw new DerError('there are too many elements')
    list.push(elements.take(tag))
  }
  if (list.length === 0) throw new DerError('a list is empty')
  return list
}

function elementsIn(bytes: Uint8Array): Elements {
  let at = 0

  function any(): Element {
    const element = elementAt(bytes, at)
    at += element.bytes.length
    return element
  }
  function maybe(tag: number): Element | null {
    return at < bytes.length && bytes[at] === tag ? any() : null
  }
  return {
    any,
    maybe,
    take(tag) {
      const element = maybe(tag)
      if (!element) throw new DerError('an element is missing, or another one is in its place')
      return element
    },
    isAtEnd: () => at === bytes.length,
    end() {
      if (at !== bytes.length) throw new DerError('there is more than there should be')
    },
  }
}

/** Definite lengths in their shortest form alone (X.690 §10.1), and tags below 31: X.509 has no others. */
function elementAt(bytes: Uint8Array, start: number): Element {
  const tag = bytes[start]
  const first = bytes[start + 1]
  if (tag === undefined || first === undefined) throw new DerError('it is cut off')
  if ((tag & 0x1f) === 0x1f) throw new DerError('a tag is not in its short form')
  let at = start + 2
  let length = first
  if (first >= 0x80) {
    const count = first & 0x7f
    if (count === 0 || count > 4) throw new DerError('a length is indefinite or absurd')
    length = 0
    for (let read = 0; read < count; read++) length = length * 256 + (bytes[at++] ?? 0)
    if (length < 0x80 || length < 2 ** (8 * (count - 1)))
      throw new DerError('a length is longer than it need be')
  }
  const end = at + length
  if (end > bytes.length) throw new DerError('it is cut off')
  return { tag, content: bytes.subarray(at, end), bytes: bytes.subarray(start, end) }
}

/** The content of an INTEGER that is positive, in its shortest form (X.690 §8.3.2), without a leading zero. */
export function positive({ tag, content }: Element): Uint8Array {
  const [first, second] = content
  if (tag !== tags.integer || first === undefined || first >= 0x80)
    throw new DerError('a positive integer is expected')
  if (first !== 0) return content
  if (second === undefined || second < 0x80)
    throw new DerError('an integer is zero, or longer than it need be')
  return content.subarray(1)
}

/** A small INTEGER or ENUMERATED that is not negative. */
export function smallOf({ tag, content }: Element): number {
  if (tag === tags.integer || tag === tags.enumerated) {
    if (content.length === 1 && content[0] === 0) return 0
    const digits = positive({ tag: tags.integer, content, bytes: content })
    if (digits.length <= 6) return digits.reduce((value, digit) => value * 256 + digit, 0)
  }
  throw new DerError('a small number is expected')
}

/** X.690 §11.1. */
export function booleanOf({ tag, content }: Element): boolean {
  const isBoolean = tag === tags.boolean && content.length === 1 && (content[0] === 0 || content[0] === 0xff)
  if (!isBoolean) throw new DerError('a boolean is expected')
  return content[0] === 0xff
}

/** A BOOLEAN DEFAULT FALSE: the default is left out (X.690 §11.5). */
export function trueIfThere(elements: Elements): boolean {
  const found = elements.maybe(tags.boolean)
  if (found === null) return false
  if (!booleanOf(found)) throw new DerError('a default is spelt out')
  return true
}

/** An OBJECT IDENTIFIER in dotted form (X.690 §8.19). Arcs beyond what a number holds exactly are refused. */
export function oidOf({ tag, content }: Element): string {
  if (tag !== tags.oid || content.length === 0) throw new DerError('an object identifier is expected')
  const arcs: number[] = []
  let arc = 0
  let isFirst = true
  for (const byte of content) {
    if (isFirst && byte === 0x80) throw new DerError('an object identifier is longer than it need be')
    arc = arc * 128 + (byte & 0x7f)
    if (!Number.isSafeInteger(arc)) throw new DerError('an object identifier is absurd')
    isFirst = byte < 0x80
    if (!isFirst) continue
    arcs.push(arc)
    arc = 0
  }
  if (!isFirst) throw new DerError('an object identifier is cut off')
  const [head = 0, ...rest] = arcs
  const root = Math.min(Math.floor(head / 40), 2)
  return [root, head - root * 40, ...rest].join('.')
}

/** The octets of a BIT STRING that is whole bytes, as keys and signatures are. */
export function wholeBits({ tag, content }: Element): Uint8Array {
  if (tag !== tags.bitString || content[0] !== 0) throw new DerError('a string of whole bytes is expected')
  return content.subarray(1)
}

/** A BIT STRING of named bits, without trailing zeros (X.690 §11.2): which are set. */
export function namedBits({ tag, content }: Element): Set<number> {
  const [unused, ...bytes] = content
  if (tag !== tags.bitString || unused === undefined || unused > 7 || bytes.length > 4)
    throw new DerError('named bits are expected')
  const last = bytes.at(-1)
  if (last === undefined ? unused !== 0 : (last & ((1 << (unused + 1)) - 1)) !== 1 << unused)
    throw new DerError('named bits are longer than they need be')
  const set = new Set<number>()
  for (const [place, byte] of bytes.entries())
    for (let bit = 0; bit < 8; bit++) if (byte & (0x80 >> bit)) set.add(8 * place + bit)
  return set
}

const utc = /^(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/
const generalized = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/

/** UTCTime or GeneralizedTime as RFC 5280 §4.1.2.5 has them: seconds, `Z`, no fraction. Milliseconds since the epoch. */
export function timeOf({ tag, content }: Element): number {
  const text = content.length <= 15 ? String.fromCharCode(...content) : ''
  const parts =
    tag === tags.utcTime ? utc.exec(text) : tag === tags.generalizedTime ? generalized.exec(text) : null
  if (!parts) throw new DerError('a time is expected')
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = parts.slice(1).map(Number)
  const date = new Date(0)
  date.setUTCFullYear(
    tag === tags.generalizedTime ? year : year < 50 ? 2000 + year : 1900 + year,
    month - 1,
    day,
  )
  date.setUTCHours(hour, minute, second)
  const isReal =
    date.getUTCMonth() === month - 1 && date.getUTCDate() === day && hour < 24 && minute < 60 && second < 60
  if (!isReal) throw new DerError('a time is no time')
  return date.getTime()
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

export function utf8Of({ tag, content }: Element): string {
  if (tag !== tags.utf8String) throw new DerError('a text is expected')
  try {
    return utf8.decode(content)
  } catch {
    throw new DerError('a text is not UTF-8')
  }
}

export const isSame = (one: Uint8Array, other: Uint8Array): boolean =>
  one.length === other.length && one.every((byte, at) => byte === other[at])

export const hexOf = (bytes: Uint8Array): string => {
  let text = ''
  for (const byte of bytes) text += hexDigits[byte]
  return text
}

const hexDigits = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'))
