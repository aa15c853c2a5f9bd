import { createHash, type KeyObject } from 'node:crypto'
import { inside, readOne, wholeBits } from '../../der/read.ts'
import { tags } from '../../der/tags.ts'

/** SubjectPublicKeyInfo (RFC 5280 §4.1.2.7): DER. */
export const spkiOf = (publicKey: KeyObject): Buffer => publicKey.export({ type: 'spki', format: 'der' })

/** SHA-1 of the public key's bits, which it names and does not protect (RFC 5280 §4.2.1.2 (1)). */
export function keyIdOf(publicKey: KeyObject): Buffer {
  const spki = inside(readOne(spkiOf(publicKey), tags.sequence))
  spki.take(tags.sequence)
  return createHash('sha1')
    .update(wholeBits(spki.take(tags.bitString)))
    .digest()
}
