import { tags } from './tags.ts'

/** One element of DER (X.690 §10): tag, shortest length, content. */
export function element(tag: number, ...parts: Uint8Array[]): Buffer {
  let length = 0
  for (const part of parts) length += part.length
  // Most are short: their heads are written in place.
  const head = length < 0x80 ? null : headOf(tag, length)
  let at = head ? head.length : 2
  const out = Buffer.allocUnsafe(at + length)
  if (head) out.set(head, 0)
  else {
    out[0] = tag
    out[1] = length
  }
  for (const part of parts) {
    out.set(part, at)
    at += part.length
  }
  return out
}

/** Identifier and length of an element with so much content. */
export function headOf(tag: number, length: number): Uint8Array {
  if (length < 0x80) return Uint8Array.of(tag, length)
  if (length < 0x100) return Uint8Array.of(tag, 0x81, length)
  if (length < 0x10000) return Uint8Array.of(tag, 0x82, length >> 8, length & 0xff)
  if (length < 0x1000000) return Uint8Array.of(tag, 0x83, length >> 16, (length >> 8) & 0xff, length & 0xff)
  return Uint8Array.of(tag, 0x84, length >>> 24, (length >> 16) & 0xff, (length >> 8) & 0xff, length & 0xff)
}

export const sequence = (...parts: Uint8Array[]): Buffer => element(tags.sequence, ...parts)
export const set = (...parts: Uint8Array[]): Buffer => element(tags.set, ...parts)
export const octetString = (...parts: Uint8Array[]): Buffer => element(tags.octetString, ...parts)
/** Whole bytes. */
export const bitString = (...parts: Uint8Array[]): Buffer =>
  element(tags.bitString, Uint8Array.of(0), ...parts)
export const utf8String = (text: string): Buffer => element(tags.utf8String, Buffer.from(text, 'utf8'))
export const printableString = (text: string): Buffer =>
  element(tags.printableString, Buffer.from(text, 'latin1'))
export const none: Uint8Array = Buffer.alloc(0)

/** Named bits by number, trailing zeros left out (X.690 §11.2). Bits below 32. */
export function bits(...numbers: number[]): Buffer {
  if (numbers.length === 0) return element(tags.bitString, Uint8Array.of(0))
  const highest = Math.max(...numbers)
  const bytes = new Uint8Array(Math.floor(highest / 8) + 1)
  for (const number of numbers) bytes[number >> 3] = (bytes[number >> 3] as number) | (0x80 >> (number & 7))
  return element(tags.bitString, Uint8Array.of(7 - (highest & 7)), bytes)
}

/** X.690 §11.1. */
export const boolean = (value: boolean): Buffer => element(tags.boolean, Uint8Array.of(value ? 0xff : 0))

/** An INTEGER that is not negative: a number, or its digits, big-endian. */
export function integer(value: number | bigint | Uint8Array): Buffer {
  const digits = value instanceof Uint8Array ? value : digitsOf(BigInt(value))
  let from = 0
  while (from < digits.length - 1 && digits[from] === 0) from += 1
  const shortest = digits.subarray(from)
  return (shortest[0] ?? 0) >= 0x80 || shortest.length === 0
    ? element(tags.integer, Uint8Array.of(0), shortest)
    : element(tags.integer, shortest)
}

export const enumerated = (value: number): Buffer => element(tags.enumerated, Uint8Array.of(value))

function digitsOf(value: bigint): Buffer {
  if (value < 0n) throw new RangeError('the integer is negative')
  const hex = value.toString(16)
  return Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, 'hex')
}

/** An OBJECT IDENTIFIER from its dotted form (X.690 §8.19). */
export function oid(dotted: string): Buffer {
  const [root = 0n, second = 0n, ...rest] = dotted.split('.').map(BigInt)
  return element(tags.oid, Buffer.from([root * 40n + second, ...rest].flatMap(arcBytes)))
}

function arcBytes(arc: bigint): number[] {
  const bytes = [Number(arc & 0x7fn)]
  for (let rest = arc >> 7n; rest > 0n; rest >>= 7n) bytes.unshift(Number(rest & 0x7fn) | 0x80)
  return bytes
}

/** UTCTime until 2049, GeneralizedTime from 2050 on (RFC 5280 §4.1.2.5). Milliseconds since the epoch; a part of a second is dropped. */
export function time(moment: number): Buffer {
  const text = plainTime(moment)
  const isUtc = text >= '1950' && text < '2050'
  return isUtc
    ? element(tags.utcTime, Buffer.from(`${text.slice(2)}Z`, 'latin1'))
    : element(tags.generalizedTime, Buffer.from(`${text}Z`, 'latin1'))
}

/** GeneralizedTime, whenever (RFC 6960 §4.2.2.1). Milliseconds since the epoch; a part of a second is dropped. */
export const generalizedTime = (moment: number): Buffer =>
  element(tags.generalizedTime, Buffer.from(`${plainTime(moment)}Z`, 'latin1'))

function plainTime(moment: number): string {
  const iso = new Date(moment).toISOString()
  const [year, month, day] = [iso.slice(0, 4), iso.slice(5, 7), iso.slice(8, 10)]
  return `${year}${month}${day}${iso.slice(11, 13)}${iso.slice(14, 16)}${iso.slice(17, 19)}`
}
