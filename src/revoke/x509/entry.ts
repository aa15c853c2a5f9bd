import { oids } from '../../der/oids.ts'
import { enumerated, integer, sequence, time } from '../../der/write.ts'
import { extensionOf } from '../../mint/x509/extensions.ts'
import { type CrlReason, crlReasons } from './reasons.ts'

/** A certificate that is not good, or was not and is again, as the record has it. Times are in milliseconds since the epoch. */
export interface Entry {
  /** As it stands in a CRL. */
  der: Buffer
  /** `removeFromCrl` for one that is good again: in a delta alone. */
  reason: CrlReason
  /** Since when. */
  at: number
  changedAt: number
  expiresAt: number
}

/** The serial number of a credential that is a certificate: the 16 bytes of its UUID. */
export const serialOf = (jti: string): Buffer => Buffer.from(jti.replaceAll('-', ''), 'hex')

/** The credential of a serial number, as the content of its INTEGER; null for what the broker gives no certificate. */
export function jtiOf(serial: Buffer): string | null {
  // A UUIDv7 begins with a zero until the year 6429: what begins with a one is negative.
  if (serial.length !== 16 || (serial[0] as number) >= 0x80) return null
  return serial.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
}

/**
 * Writes entries of CRLs (RFC 5280 §5.1.2.6, §5.3.1); `at` is in milliseconds since the epoch. Whole trees end at one moment: what the
 * last entry said of it is kept.
 */
export function entryWriter(): (serial: Buffer, at: number, reason: CrlReason) => Buffer {
  let [lastAt, lastReason, rest] = [Number.NaN, -1, Buffer.alloc(0)]
  return (serial, at, reason) => {
    const second = Math.floor(at / 1000)
    if (second !== lastAt || reason !== lastReason) {
      rest = Buffer.concat([time(at), ...extensionsOf(reason)])
      lastAt = second
      lastReason = reason
    }
    return sequence(integer(serial), rest)
  }
}

const ofReason = extensionOf(oids.reasonCode)

/** `unspecified` is said by saying nothing. */
const extensionsOf = (reason: CrlReason): Buffer[] =>
  reason === crlReasons.unspecified ? [] : [sequence(ofReason(enumerated(reason)))]
