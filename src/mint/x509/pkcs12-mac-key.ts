import { hash } from 'node:crypto'
import { setImmediate } from 'node:timers/promises'

/** Bytes that SHA-256 takes at a time. */
const block = 64
/** About a millisecond of them. */
const iterationsAtOnce = 500

/**
 * The key of a PKCS #12 file's HMAC-SHA-256 (RFC 7292 §B.2, ID 3): as long as the hash, so that its first round gives all of it. node:crypto
 * has no such function. In steps, so that others get their turn.
 */
export async function macKey(password: string, salt: Buffer, iterations: number): Promise<Buffer> {
  const bmpString = Buffer.from(`${password}\0`, 'utf16le').swap16()
  let key = Buffer.concat([Buffer.alloc(block, 3), filled(salt), filled(bmpString)])
  for (let done = 0; done < iterations; done++) {
    if (done > 0 && done % iterationsAtOnce === 0) await setImmediate()
    key = hash('sha256', key, 'buffer')
  }
  return key
}

/** Repeated, to fill whole blocks. */
const filled = (bytes: Buffer): Buffer => Buffer.alloc(Math.ceil(bytes.length / block) * block, bytes)
