import { constants, type KeyObject, verify } from 'node:crypto'
import { derOf } from '../ecdsa.ts'
import type { Jws } from './jws.ts'

interface Algorithm {
  family: 'RS' | 'PS' | 'ES' | 'EdDSA'
  hash: string | null
  /** Bytes of a signature; null where the key's size says it. */
  length: number | null
  fits: (key: KeyObject) => boolean
}

const minModulusBits = 2048
// Verification time grows with the modulus.
const maxModulusBits = 8192

/** Asymmetric signatures only (RFC 7518 §3.1, RFC 8037): neither `none` nor any HMAC has an entry. */
const algorithms: ReadonlyMap<string, Algorithm> = new Map([
  ['RS256', rsa('RS', 'sha256')],
  ['RS384', rsa('RS', 'sha384')],
  ['RS512', rsa('RS', 'sha512')],
  ['PS256', rsa('PS', 'sha256')],
  ['PS384', rsa('PS', 'sha384')],
  ['PS512', rsa('PS', 'sha512')],
  ['ES256', ecdsa('sha256', 'prime256v1', 64)],
  ['ES384', ecdsa('sha384', 'secp384r1', 96)],
  ['ES512', ecdsa('sha512', 'secp521r1', 132)],
  ['EdDSA', { family: 'EdDSA', hash: null, length: 64, fits: key => key.asymmetricKeyType === 'ed25519' }],
])

/** JWT-SVIDs may use all of them but EdDSA (JWT-SVID §2.1). */
export function isAccepted(alg: string, kind: 'oidc' | 'spiffe'): boolean {
  return algorithms.has(alg) && !(kind === 'spiffe' && alg === 'EdDSA')
}

/** Whether the key's type, curve and size are those of the algorithm. */
export function keyFits(alg: string, key: KeyObject): boolean {
  return algorithms.get(alg)?.fits(key) ?? false
}

/** Whether the key made this signature with this algorithm. */
export function verifySignature(alg: string, key: KeyObject, jws: Jws): boolean {
  const algorithm = algorithms.get(alg)
  if (!algorithm?.fits(key)) return false
  if (algorithm.length !== null && jws.signature.length !== algorithm.length) return false
  try {
    const { hash, family } = algorithm
    if (family === 'ES') return verify(hash, jws.signingInput, key, derOf(jws.signature))
    return verify(hash, jws.signingInput, family === 'PS' ? withSalt(key) : key, jws.signature)
  } catch {
    return false
  }
}

/** The salt is as long as the hash (RFC 7518 §3.5). The other families take the bare key, which is quicker: PKCS #1 v1.5 is its padding. */
const withSalt = (key: KeyObject) => ({
  key,
  padding: constants.RSA_PKCS1_PSS_PADDING,
  saltLength: constants.RSA_PSS_SALTLEN_DIGEST,
})

function rsa(family: 'RS' | 'PS', hash: string): Algorithm {
  return { family, hash, length: null, fits: isSoundRsaKey }
}

function ecdsa(hash: string, curve: string, length: number): Algorithm {
  const fits = (key: KeyObject) =>
    key.asymmetricKeyType === 'ec' && key.asymmetricKeyDetails?.namedCurve === curve
  return { family: 'ES', hash, length, fits }
}

function isSoundRsaKey(key: KeyObject): boolean {
  const { modulusLength = 0, publicExponent = 0n } = key.asymmetricKeyDetails ?? {}
  return (
    key.asymmetricKeyType === 'rsa' &&
    modulusLength >= minModulusBits &&
    modulusLength <= maxModulusBits &&
    // With an exponent of 1 every message is its own signature.
    publicExponent >= 3n
  )
}
