import { createPublicKey, type KeyObject } from 'node:crypto'
import { oids } from '../../der/oids.ts'
import { writePem } from '../../der/pem.ts'
import { type Element, inside, integerBytes, readOne, wholeBits } from '../../der/read.ts'
import { tags } from '../../der/tags.ts'
import { element, oid, sequence } from '../../der/write.ts'
import { csrRefused } from './csr-refused.ts'
import { isGoodPoint } from './ed25519-point.ts'
import { isWeakModulus } from './weak-rsa.ts'

/** A public key that a certificate may be for. */
export interface SubjectKey {
  publicKey: KeyObject
  /** DER of its SubjectPublicKeyInfo, as it will stand in the certificate. */
  spki: Buffer
  key: 'P-256' | 'P-384' | 'Ed25519' | `RSA-${number}`
}

/**
 * What is accepted, by the whole of its AlgorithmIdentifier: each has one spelling, and what is not in this list (other curves and curves
 * spelled out, RSA-PSS, DSA, keys that cannot sign) is nothing that has to be recognised. RFC 5480 §2.1.1, RFC 8410 §3, RFC 3279 §2.3.1.
 */
const kinds = new Map<string, (bits: Buffer) => SubjectKey['key']>(
  (
    [
      [oid(oids.ecPublicKey), oid(oids.prime256v1), bits => onCurve(bits, 'P-256', 32)],
      [oid(oids.ecPublicKey), oid(oids.secp384r1), bits => onCurve(bits, 'P-384', 48)],
      [oid(oids.ed25519), Buffer.alloc(0), ed25519],
      [oid(oids.rsaEncryption), element(tags.null), rsa],
    ] satisfies [Buffer, Buffer, (bits: Buffer) => SubjectKey['key']][]
  ).map(([algorithm, parameters, check]) => [sequence(algorithm, parameters).toString('latin1'), check]),
)

/** Reads a SubjectPublicKeyInfo (RFC 5280 §4.1.2.7). Throws DerError, or `malformed` for a key that nobody should have. */
export function readSubjectKey(spki: Element): SubjectKey {
  const parts = inside(spki)
  const algorithm = parts.take(tags.sequence)
  const bits = wholeBits(parts.take(tags.bitString))
  parts.end()
  const kind = kinds.get(algorithm.bytes.toString('latin1'))
  if (!kind) throw csrRefused('key-algorithm', 'its key is none of P-256, P-384, Ed25519 and RSA')
  const key = kind(bits)
  return { publicKey: keyObject(spki.bytes), spki: Buffer.from(spki.bytes), key }
}

/**
 * As text: given an object, node:crypto finds out that it is no key by catching two errors, stack traces and all, which costs more than
 * reading the key. OpenSSL refuses a point that is not on its curve.
 */
function keyObject(spki: Buffer): KeyObject {
  try {
    return createPublicKey(writePem('PUBLIC KEY', spki))
  } catch {
    throw csrRefused('key-invalid', 'its key is not valid')
  }
}

/** Two coordinates, uncompressed (RFC 5480 §2.2): that is never the point at infinity, which has one byte. */
function onCurve(bits: Buffer, name: 'P-256' | 'P-384', size: number): SubjectKey['key'] {
  if (bits.length !== 1 + 2 * size || bits[0] !== 0x04)
    throw csrRefused('key-invalid', 'its key is no uncompressed point of its curve')
  return name
}

function ed25519(bits: Buffer): SubjectKey['key'] {
  if (!isGoodPoint(bits)) throw csrRefused('key-invalid', 'its key is no point that could be a key')
  return 'Ed25519'
}

/** RFC 8017 §A.1.1, in the bounds of the CA/Browser Forum's baseline requirements §6.1.5 and §6.1.6. */
function rsa(bits: Buffer): SubjectKey['key'] {
  const parts = inside(readOne(bits, tags.sequence))
  const modulus = natural(parts.take(tags.integer))
  const exponent = natural(parts.take(tags.integer))
  parts.end()
  const size = 8 * modulus.length
  if (size < 2048 || size > 8192 || (modulus[0] as number) < 0x80)
    throw csrRefused('key-size', 'its RSA key has not 2048 to 8192 bits, in whole bytes')
  if (exponent.length > 32 || !isGoodExponent(numberOf(exponent)))
    throw csrRefused('key-exponent', 'the exponent of its RSA key is even, below 65537 or above 2^256')
  if (isWeakModulus(numberOf(modulus))) throw csrRefused('key-weak', 'its RSA key can be broken')
  return `RSA-${size}`
}

const isGoodExponent = (e: bigint): boolean => e % 2n === 1n && e >= 65537n

const numberOf = (digits: Buffer): bigint => BigInt(`0x${digits.toString('hex')}`)

/** The digits of an INTEGER, without the byte that keeps it from being negative. */
function natural(integer: Element): Buffer {
  const digits = integerBytes(integer)
  if ((digits[0] as number) >= 0x80) throw csrRefused('key-invalid', 'a number in its key is negative')
  return digits[0] === 0 && digits.length > 1 ? digits.subarray(1) : digits
}
