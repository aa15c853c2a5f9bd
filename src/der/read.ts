import { tags } from './tags.ts'

/** One element of DER (X.690 §10): views into the bytes that were read. */
export interface Element {
  /** The identifier octet. */
  tag: number
  content: Buffer
  /** Identifier, length and content. */
  bytes: Buffer
}

/** What is no DER, or not what was expected there. The message is safe to show: it holds nothing of the bytes. */
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

/** Reads bytes that are one element and nothing else (no trailing bytes). */
export function readOne(bytes: Uint8Array, tag: number): Element {
  const elements = elementsIn(asBuffer(bytes))
  const element = elements.take(tag)
  elements.end()
  return element
}

/** The elements of an element's content. */
export const inside = ({ content }: Element): Elements => elementsIn(content)

/** All elements of a SEQUENCE OF or SET OF; more than `most` are refused. */
export function listIn(element: Element, most: number): Element[] {
  const elements = inside(element)
  const list: Element[] = []
  while (!elements.isAtEnd()) {
    if (list.length === most) throw new DerError('there are too many elements')
    list.push(elements.any())
  }
  return list
}

function elementsIn(bytes: Buffer): Elements {
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

/** Definite lengths in their shortest form alone (X.690 §10.1); tags below 31, as everything in X.509 has. */
function elementAt(bytes: Buffer, start: number): Element {
  const tag = bytes[start]
  const first = bytes[start + 1]
  if (tag === undefined || first === undefined) throw new DerError('it is cut off')
  if ((tag & 0x1f) === 0x1f) throw new DerError('a tag is not in its short form')
  let at = start + 2
  let length = first
  if (first >= 0x80) {
    const count = first & 0x7f
    if (count === 0 || count > 4) throw new DerError('a length is indefinite or absurd')
    if (bytes.length < at + count) throw new DerError('it is cut off')
    length = bytes.readUIntBE(at, count)
    at += count
    if (length < 0x80 || length < 2 ** (8 * (count - 1)))
      throw new DerError('a length is longer than it need be')
  }
  const end = at + length
  if (end > bytes.length) throw new DerError('it is cut off')
  return { tag, content: bytes.subarray(at, end), bytes: bytes.subarray(start, end) }
}

/** The content of an INTEGER in its shortest form (X.690 §8.3.2), two's complement. */
export function integerBytes({ tag, content }: Element): Buffer {
  const [first, second] = content
  if (tag !== tags.integer || first === undefined) throw new DerError('an integer is expected')
  if (second !== undefined && ((first === 0 && second < 0x80) || (first === 0xff && second >= 0x80)))
    throw new DerError('an integer is longer than it need be')
  return content
}

/** An INTEGER of any size and sign. */
export function integerOf(element: Element): bigint {
  const content = integerBytes(element)
  const value = BigInt(`0x${content.toString('hex')}`)
  return (content[0] as number) >= 0x80 ? value - (1n << BigInt(8 * content.length)) : value
}

/** A small INTEGER or ENUMERATED that is not negative. */
export function smallOf(element: Element): number {
  const value = integerOf({ ...element, tag: element.tag === tags.enumerated ? tags.integer : element.tag })
  if (value < 0n || value > 0x7fffffffn) throw new DerError('a number is out of range')
  return Number(value)
}

/** X.690 §11.1. */
export function booleanOf({ tag, content }: Element): boolean {
  if (tag !== tags.boolean || content.length !== 1) throw new DerError('a boolean is expected')
  if (content[0] !== 0 && content[0] !== 0xff) throw new DerError('a boolean is neither 00 nor FF')
  return content[0] === 0xff
}

/** Octets of an object identifier: three times those of the longest in use. Reading one takes the square of its length. */
const longestOid = 128

/** An OBJECT IDENTIFIER in dotted form (X.690 §8.19). */
export function oidOf({ tag, content }: Element): string {
  if (tag !== tags.oid || content.length === 0) throw new DerError('an object identifier is expected')
  if (content.length > longestOid) throw new DerError('an object identifier is too long')
  const arcs: bigint[] = []
  let arc = 0n
  let isFirst = true
  for (const byte of content) {
    if (isFirst && byte === 0x80) throw new DerError('an object identifier is longer than it need be')
    arc = (arc << 7n) | BigInt(byte & 0x7f)
    isFirst = byte < 0x80
    if (!isFirst) continue
    arcs.push(arc)
    arc = 0n
  }
  if (!isFirst) throw new DerError('an object identifier is cut off')
  const [head = 0n, ...rest] = arcs
  const root = head < 40n ? 0n : head < 80n ? 1n : 2n
  return [root, head - root * 40n, ...rest].join('.')
}

/** The octets of a BIT STRING that is whole bytes, as keys and signatures are. */
export function wholeBits({ tag, content }: Element): Buffer {
  if (tag !== tags.bitString || content[0] !== 0) throw new DerError('a string of whole bytes is expected')
  return content.subarray(1)
}

/** A BIT STRING of named bits, without trailing zeros (X.690 §11.2): which of the first 32 are set. */
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
  const text = content.toString('latin1')
  const parts =
    tag === tags.utcTime ? utc.exec(text) : tag === tags.generalizedTime ? generalized.exec(text) : null
  if (!parts) throw new DerError('a time is expected')
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = parts.slice(1).map(Number)
  const full = tag === tags.generalizedTime ? year : year < 50 ? 2000 + year : 1900 + year
  const date = new Date(0)
  date.setUTCFullYear(full, month - 1, day)
  date.setUTCHours(hour, minute, second)
  const isReal =
    date.getUTCMonth() === month - 1 && date.getUTCDate() === day && hour < 24 && minute < 60 && second < 60
  if (!isReal) throw new DerError('a time is no time')
  return date.getTime()
}

const asBuffer = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
