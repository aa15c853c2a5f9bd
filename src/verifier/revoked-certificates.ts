import { extensionsIn } from './certificate.ts'
import { DerError, type Element, inside, positive, readOne, smallOf, tags, timeOf } from './der.ts'
import { hasUnknown } from './extensions.ts'
import { oids } from './oids.ts'

/** What a revocation list says of single certificates. */
export interface RevokedCertificates {
  readonly size: number
  /** By the serial number's digits: whether the certificate is revoked, or only on hold; null where it is not on the list. */
  find(serial: Uint8Array): 'revoked' | 'held' | null
}

/** Reasons of RFC 5280 §5.3.1. */
const certificateHold = 6
const removeFromCrl = 8

/** Entries between two looks at the clock, and milliseconds after which the event loop is let go on. */
const lookEvery = 512
const atOnce = 8

/**
 * Reads revokedCertificates (RFC 5280 §5.1.2.6) of a list whose signature is verified. There may be 100,000: the usual ones are read without taking
 * them apart.
 *
 * @throws DerError
 */
export async function readRevoked(list: Element | null): Promise<RevokedCertificates> {
  const held = new Map<string, boolean>()
  const bytes = list?.content ?? new Uint8Array()
  if (list !== null && bytes.length === 0) throw new DerError('a list is empty')
  let begun = performance.now()
  let read = 0
  for (let at = 0; at < bytes.length; read++) {
    if (read % lookEvery === lookEvery - 1 && performance.now() - begun > atOnce) {
      await new Promise(resolve => setTimeout(resolve))
      begun = performance.now()
    }
    const { digits, reason, end } = usualEntry(bytes, at) ?? anyEntry(bytes, at)
    if (reason === removeFromCrl) throw new DerError('what only a delta may say')
    held.set(keyOf(digits), reason === certificateHold)
    at = end
  }
  if (held.size !== read) throw new DerError('a certificate is there twice')
  return {
    size: held.size,
    find(serial) {
      const isHeld = held.get(keyOf(serial))
      return isHeld === undefined ? null : isHeld ? 'held' : 'revoked'
    },
  }
}

/** Bytes (RFC 5280 §4.1.2.2). */
const maxDigits = 20

interface Entry {
  /** Of the serial number. */
  digits: Uint8Array
  /** Null where none is told. */
  reason: number | null
  /** Where the next one begins. */
  end: number
}

const keyOf = (digits: Uint8Array): string => String.fromCharCode(...digits)

/** SEQUENCE { SEQUENCE { reasonCode, OCTET STRING { ENUMERATED of one byte: but for that byte. */
const reasonOnly = Uint8Array.of(0x30, 0x0c, 0x30, 0x0a, 0x06, 0x03, 0x55, 0x1d, 0x15, 0x04, 0x03, 0x0a, 0x01)

/** One with short lengths and no extension but a reason; null for any other, right or wrong. */
function usualEntry(bytes: Uint8Array, at: number): Entry | null {
  const length = bytes[at + 1] ?? 0x80
  const size = bytes[at + 3] ?? 0
  const first = bytes[at + 4] ?? 0
  const isPlain = bytes[at] === tags.sequence && length < 0x80 && bytes[at + 2] === tags.integer
  if (!isPlain || size === 0 || size > maxDigits || first === 0 || first >= 0x80) return null
  const time = at + 4 + size
  if (bytes[time] !== tags.utcTime || bytes[time + 1] !== 13) return null
  const rest = time + 15
  const end = at + 2 + length
  const digits = bytes.subarray(at + 4, time)
  if (rest === end) return end <= bytes.length ? { digits, reason: null, end } : null
  if (rest + reasonOnly.length + 1 !== end || end > bytes.length) return null
  for (let byte = 0; byte < reasonOnly.length; byte++)
    if (bytes[rest + byte] !== reasonOnly[byte]) return null
  const reason = bytes[end - 1] as number
  return reason < 0x80 ? { digits, reason, end } : null
}

function anyEntry(bytes: Uint8Array, at: number): Entry {
  const entry = inside({ tag: tags.sequence, content: bytes.subarray(at), bytes }).take(tags.sequence)
  const fields = inside(entry)
  const digits = positive(fields.take(tags.integer))
  if (digits.length > maxDigits) throw new DerError('a serial number is too long')
  timeOf(fields.any())
  const reason = fields.isAtEnd() ? null : reasonOf(fields.take(tags.sequence))
  fields.end()
  return { digits, reason, end: at + entry.bytes.length }
}

const understood = new Set<string>([oids.reasonCode])

/** RFC 5280 §5.3: an entry with something that must be understood and is not makes the whole list useless. */
function reasonOf(list: Element): number | null {
  const extensions = extensionsIn(list)
  if (hasUnknown(extensions, understood)) throw new DerError('an entry is not understood')
  const value = extensions.get(oids.reasonCode)?.value
  return value === undefined ? null : smallOf(readOne(value, tags.enumerated))
}
