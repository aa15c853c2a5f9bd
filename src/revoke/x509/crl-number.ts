import { randomBytes } from 'node:crypto'

const tagBits = 32n

/**
 * cRLNumber (RFC 5280 §5.2.3) of what agrees with the record at a moment of the database's clock, in microseconds since the epoch: what
 * is from later has a greater one, whichever replica made it, and none makes one that another has made. 11 octets.
 */
export function crlNumbers(): (at: bigint) => bigint {
  const tag = BigInt(randomBytes(4).readUInt32BE())
  return at => firstNumberAt(at) | tag
}

/** No CRL of that moment or later has a smaller one. */
export const firstNumberAt = (at: bigint): bigint => at << tagBits
