import { createPublicKey, type KeyObject } from 'node:crypto'
import { oids } from '../../der/oids.ts'
import { inside, readOne } from '../../der/read.ts'
import { tags } from '../../der/tags.ts'
import { element, oid, sequence } from '../../der/write.ts'

/**
 * The algorithms of keys that are accepted, byte for byte (RFC 3279 §2.3.1, RFC 5480 §2.1.1, RFC 8410 §3): curves by name alone, never by
 * parameters that the certificate brings along.
 */
const algorithms = [
  sequence(oid(oids.rsaEncryption), element(tags.null)),
  sequence(oid(oids.ecPublicKey), oid(oids.prime256v1)),
  sequence(oid(oids.ecPublicKey), oid(oids.secp384r1)),
  sequence(oid(oids.ecPublicKey), oid(oids.secp521r1)),
  sequence(oid(oids.ed25519)),
]

const minModulusBits = 2048
/** Verification time grows with the modulus. */
const maxModulusBits = 8192
const maxExponentBits = 64

/**
 * The key of a SubjectPublicKeyInfo; null where it is none that is accepted here.
 *
 * @throws DerError where it is no SubjectPublicKeyInfo.
 */
export function readPublicKey(info: Buffer): KeyObject | null {
  const parts = inside(readOne(info, tags.sequence))
  const algorithm = parts.take(tags.sequence).bytes
  parts.take(tags.bitString)
  parts.end()
  if (!algorithms.some(accepted => accepted.equals(algorithm))) return null
  try {
    const key = createPublicKey({ key: info, format: 'der', type: 'spki' })
    return key.asymmetricKeyType !== 'rsa' || isSoundRsa(key) ? key : null
  } catch {
    return null
  }
}

function isSoundRsa(key: KeyObject): boolean {
  const { modulusLength = 0, publicExponent = 0n } = key.asymmetricKeyDetails ?? {}
  return (
    modulusLength >= minModulusBits &&
    modulusLength <= maxModulusBits &&
    // With an exponent of 1 every message is its own signature; with a huge one it takes for ever.
    publicExponent >= 3n &&
    publicExponent % 2n === 1n &&
    publicExponent < 1n << BigInt(maxExponentBits)
  )
}
