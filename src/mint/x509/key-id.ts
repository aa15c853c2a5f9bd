import { createHash, type KeyObject } from 'node:crypto'
import { inside, readOne, wholeBits } from '../../der/read.ts'
import { tags } from '../../der/tags.ts'

/** SubjectPublicKeyInfo (RFC 5280 §4.1.2.7): DER. */
export const spkiOf = (publicKey: KeyObject): Buffer => publicKey.export({ type: 'spki', format: 'der' })

/** SHA-1 of the public key's bits, which it names and does not protect (RFC 5280 §4.2.1.2 (1)). */
export const keyIdOf = (publicKey: KeyObject): Buffer => keyIdIn(spkiOf(publicKey))

/** The same, from DER that was read before. */
export function keyIdIn(der: Buffer): Buffer {
  const spki = inside(readOne(der, tags.sequence))
  spki.take(tags.sequence)
  return createHash('sha1')
    .update(wholeBits(spki.take(tags.bitString)))
    .digest()
}
