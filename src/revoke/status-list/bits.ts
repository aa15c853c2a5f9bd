/** Status Types (Token Status List, Status Types Values). */
export const statusTypes = { valid: 0, invalid: 1, suspended: 2 } as const
export type StatusType = (typeof statusTypes)[keyof typeof statusTypes]

/**
 * The statuses of a list, two bits each, the first one in the lowest bits of its byte (Token Status List, Compressed Byte Array). All
 * are valid to begin with: so is what was minted since, and a place that nobody has looks no different.
 */
export const newBits = (size: number): Uint8Array => new Uint8Array(Math.ceil(size / 4))

/** Gives places one status; `places` has four bytes for each, big-endian. Answers whether any of them had another. */
export function place(bits: Uint8Array, places: Buffer, status: StatusType): boolean {
  let changed = false
  for (let at = 0; at < places.length; at += 4) {
    const index = places.readUInt32BE(at)
    const byte = index >>> 2
    const shift = (index & 3) * 2
    const before = bits[byte] as number
    const after = (before & ~(3 << shift)) | (status << shift)
    if (after === before) continue
    bits[byte] = after
    changed = true
  }
  return changed
}

/** Makes all of them invalid. */
export const killAll = (bits: Uint8Array): void => void bits.fill(0b01_01_01_01)
