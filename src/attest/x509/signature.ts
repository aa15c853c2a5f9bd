import { constants, type KeyObject, verify } from 'node:crypto'
import { oids } from '../../der/oids.ts'
import { constructed, tags } from '../../der/tags.ts'
import { element, integer, oid, sequence } from '../../der/write.ts'
import type { Certificate } from './certificate.ts'

interface Algorithm {
  hash: string | null
  keyType: 'rsa' | 'ec' | 'ed25519'
  isPss: boolean
}

const none = element(tags.null)

/** By the DER of the AlgorithmIdentifier: whatever is spelled otherwise, SHA-1 included, has no entry. */
const algorithms: ReadonlyMap<string, Algorithm> = new Map([
  ...pkcs1(oids.sha256WithRSA, 'sha256'),
  ...pkcs1(oids.sha384WithRSA, 'sha384'),
  ...pkcs1(oids.sha512WithRSA, 'sha512'),
  ...pss(oids.sha256, 'sha256', 32),
  ...pss(oids.sha384, 'sha384', 48),
  ...pss(oids.sha512, 'sha512', 64),
  // RFC 5758 §3.2, RFC 8410 §3: no parameters.
  entry(sequence(oid(oids.ecdsaWithSha256)), 'sha256', 'ec'),
  entry(sequence(oid(oids.ecdsaWithSha384)), 'sha384', 'ec'),
  entry(sequence(oid(oids.ecdsaWithSha512)), 'sha512', 'ec'),
  entry(sequence(oid(oids.ed25519)), null, 'ed25519'),
])

/** Whether its signature algorithm is one that is accepted. */
export const hasAcceptedAlgorithm = ({ signatureAlgorithm }: Certificate): boolean =>
  algorithms.has(signatureAlgorithm.toString('hex'))

/** Whether the key signed the certificate. */
export function isSignedBy({ signatureAlgorithm, tbs, signature }: Certificate, key: KeyObject): boolean {
  const algorithm = algorithms.get(signatureAlgorithm.toString('hex'))
  if (!algorithm || key.asymmetricKeyType !== algorithm.keyType) return false
  try {
    return verify(algorithm.hash, tbs, algorithm.isPss ? withSalt(key) : key, signature)
  } catch {
    return false
  }
}

const withSalt = (key: KeyObject) => ({
  key,
  padding: constants.RSA_PKCS1_PSS_PADDING,
  saltLength: constants.RSA_PSS_SALTLEN_DIGEST,
})

function entry(
  identifier: Buffer,
  hash: string | null,
  keyType: Algorithm['keyType'],
  isPss = false,
): [string, Algorithm] {
  return [identifier.toString('hex'), { hash, keyType, isPss }]
}

/** RFC 4055 §5: NULL, and absent parameters must be accepted as well. */
function pkcs1(id: string, hash: string): [string, Algorithm][] {
  return [entry(sequence(oid(id), none), hash, 'rsa'), entry(sequence(oid(id)), hash, 'rsa')]
}

/** RFC 4055 §3.1: one hash for message and mask, a salt of its length; the hash with NULL or without (§2.1). */
function pss(id: string, hash: string, salt: number): [string, Algorithm][] {
  return [sequence(oid(id), none), sequence(oid(id))].map(digest => {
    const parameters = sequence(
      element(constructed(0), digest),
      element(constructed(1), sequence(oid(oids.mgf1), digest)),
      element(constructed(2), integer(salt)),
    )
    return entry(sequence(oid(oids.rsaPss), parameters), hash, 'rsa', true)
  })
}
