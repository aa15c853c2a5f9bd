import type { CryptoKey } from 'jose'
import type { Signed } from './certificate.ts'
import { DerError, inside, oidOf, positive, readOne, tags } from './der.ts'
import { oids } from './oids.ts'

/** What WebCrypto is told of an algorithm. */
interface Algorithm {
  name: string
  namedCurve?: string
  hash?: string
}

interface Curve {
  namedCurve: string
  /** Bytes of a coordinate. */
  size: number
}

const curves: Record<string, Curve> = {
  [oids.prime256v1]: { namedCurve: 'P-256', size: 32 },
  [oids.secp384r1]: { namedCurve: 'P-384', size: 48 },
  [oids.secp521r1]: { namedCurve: 'P-521', size: 66 },
}

const ecdsa: Record<string, string> = {
  [oids.ecdsaWithSha256]: 'SHA-256',
  [oids.ecdsaWithSha384]: 'SHA-384',
  [oids.ecdsaWithSha512]: 'SHA-512',
}

const rsa: Record<string, string> = {
  [oids.sha256WithRSA]: 'SHA-256',
  [oids.sha384WithRSA]: 'SHA-384',
  [oids.sha512WithRSA]: 'SHA-512',
}

/** A public key that a document was signed by, in whatever algorithm the document names. */
export interface PublicKey {
  verifies(signed: Signed): Promise<boolean>
  /** The P-256 key that it is: what an issuing authority has; null for any other. */
  p256: CryptoKey | null
}

/** ecdsa-with-SHA256 without parameters (RFC 5758 §3.2): 30 0a 06 08 and the object identifier. */
const ecdsaWithSha256 = '300a06082a8648ce3d040302'

/** Bits. */
const leastModulus = 2048

/**
 * Reads a SubjectPublicKeyInfo. Authorities have P-256 keys; roots and what is between may be the organisation's own, with RSA, P-384, P-521 or
 * Ed25519 keys. A signature in any other algorithm is never right, SHA-1 and RSASSA-PSS among them.
 *
 * @throws DerError, or what WebCrypto throws
 */
export async function readPublicKey(spki: Uint8Array): Promise<PublicKey> {
  const fields = inside(readOne(spki, tags.sequence))
  const parts = inside(fields.take(tags.sequence))
  const kind = oidOf(parts.take(tags.oid))
  const curve = kind === oids.ecPublicKey ? curves[oidOf(parts.take(tags.oid))] : undefined
  if (curve !== undefined) return ecKey(spki, curve)
  if (kind === oids.ed25519) return edKey(spki)
  if (kind === oids.rsaEncryption) return rsaKey(spki)
  throw new DerError('a key of this kind is not known')
}

async function ecKey(spki: Uint8Array, { namedCurve, size }: Curve): Promise<PublicKey> {
  const key = await imported(spki, { name: 'ECDSA', namedCurve })
  return {
    p256: namedCurve === 'P-256' ? key : null,
    async verifies({ toBeSigned, algorithm, signature }) {
      const { oid, isBare } = readAlgorithm(algorithm)
      const hash = ecdsa[oid]
      if (hash === undefined || !isBare) return false
      const raw = rawSignature(signature, size)
      return raw !== null && verify({ name: 'ECDSA', hash }, key, raw, toBeSigned.bytes)
    },
  }
}

async function edKey(spki: Uint8Array): Promise<PublicKey> {
  const key = await imported(spki, { name: 'Ed25519' })
  return {
    p256: null,
    async verifies({ toBeSigned, algorithm, signature }) {
      const { oid, isBare } = readAlgorithm(algorithm)
      return oid === oids.ed25519 && isBare && verify({ name: 'Ed25519' }, key, signature, toBeSigned.bytes)
    },
  }
}

async function rsaKey(spki: Uint8Array): Promise<PublicKey> {
  /** WebCrypto binds a key to its hash: one for each. */
  const keys = new Map<string, CryptoKey>()
  for (const hash of Object.values(rsa)) {
    const key = await imported(spki, { name: 'RSASSA-PKCS1-v1_5', hash })
    const { modulusLength = 0 } = key.algorithm as { modulusLength?: number }
    if (modulusLength < leastModulus) throw new DerError('a key is too weak')
    keys.set(hash, key)
  }
  return {
    p256: null,
    async verifies({ toBeSigned, algorithm, signature }) {
      const { oid, isNull } = readAlgorithm(algorithm)
      const key = keys.get(rsa[oid] ?? '')
      return (
        key !== undefined && isNull && verify({ name: 'RSASSA-PKCS1-v1_5' }, key, signature, toBeSigned.bytes)
      )
    },
  }
}

/** The one algorithm of an issuing authority: ECDSA with P-256 and SHA-256. */
export async function isSignedBy(key: CryptoKey, signed: Signed): Promise<boolean> {
  if (!isEcdsaWithSha256(signed)) return false
  const raw = rawSignature(signed.signature, 32)
  return raw !== null && verify({ name: 'ECDSA', hash: 'SHA-256' }, key, raw, signed.toBeSigned.bytes)
}

export const isEcdsaWithSha256 = ({ algorithm }: Signed): boolean =>
  algorithm.length === ecdsaWithSha256.length / 2 &&
  algorithm.every((byte, at) => byte === Number.parseInt(ecdsaWithSha256.slice(2 * at, 2 * at + 2), 16))

/** `isNull`: with parameters that are NULL, as RSA's must be (RFC 4055 §5). `isBare`: without. */
function readAlgorithm(algorithm: Uint8Array): { oid: string; isBare: boolean; isNull: boolean } {
  const fields = inside(readOne(algorithm, tags.sequence))
  const oid = oidOf(fields.take(tags.oid))
  if (fields.isAtEnd()) return { oid, isBare: true, isNull: false }
  const { tag, content } = fields.any()
  return { oid, isBare: false, isNull: tag === 0x05 && content.length === 0 && fields.isAtEnd() }
}

/** SEQUENCE { r INTEGER, s INTEGER } (RFC 3279 §2.2.3) as WebCrypto wants it: both of full length, one after the other; null where it is none. */
function rawSignature(der: Uint8Array, size: number): Uint8Array | null {
  try {
    const fields = inside(readOne(der, tags.sequence))
    const [r, s] = [positive(fields.take(tags.integer)), positive(fields.take(tags.integer))]
    fields.end()
    if (r.length > size || s.length > size) return null
    const raw = new Uint8Array(2 * size)
    raw.set(r, size - r.length)
    raw.set(s, 2 * size - s.length)
    return raw
  } catch {
    return null
  }
}

const imported = (spki: Uint8Array, algorithm: Algorithm): Promise<CryptoKey> =>
  crypto.subtle.importKey('spki', owned(spki), algorithm, true, ['verify'])

const verify = (
  algorithm: Algorithm,
  key: CryptoKey,
  signature: Uint8Array,
  data: Uint8Array,
): Promise<boolean> => crypto.subtle.verify(algorithm, key, owned(signature), owned(data))

/** WebCrypto's types take no views of shared memory: nor is there any here. */
const owned = (bytes: Uint8Array): Uint8Array<ArrayBuffer> => bytes as Uint8Array<ArrayBuffer>
