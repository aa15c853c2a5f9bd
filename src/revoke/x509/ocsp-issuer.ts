import { createHash, X509Certificate } from 'node:crypto'
import { oids } from '../../der/oids.ts'
import { inside, readOne, wholeBits } from '../../der/read.ts'
import { tags } from '../../der/tags.ts'
import { spkiOf } from '../../mint/x509/key-id.ts'
import type { CertificateSigner } from '../../mint/x509/signer.ts'
import type { CertId } from './ocsp-request.ts'

/** Hashes that an issuer may be named by: RFC 6960 asks for SHA-1, where it protects nothing. */
const hashes: ReadonlyMap<string, string> = new Map([
  [oids.sha1, 'sha1'],
  [oids.sha256, 'sha256'],
  [oids.sha384, 'sha384'],
  [oids.sha512, 'sha512'],
])

/** Whether a CertID names this authority (RFC 6960 §4.1.1): by its name and by its key. Each hash is made once. */
export function issuerMatcher(): (certId: CertId, authority: CertificateSigner) => boolean {
  const made = new WeakMap<Buffer, Map<string, { name: Buffer; key: Buffer }>>()

  function hashesOf({ name, certificate }: CertificateSigner, hash: string) {
    const own = made.get(certificate) ?? new Map<string, { name: Buffer; key: Buffer }>()
    made.set(certificate, own)
    const known = own.get(hash)
    if (known) return known
    const digest = (bytes: Buffer): Buffer => createHash(hash).update(bytes).digest()
    const both = { name: digest(name), key: digest(publicKeyBits(certificate)) }
    own.set(hash, both)
    return both
  }

  return ({ hashAlgorithm, issuerNameHash, issuerKeyHash }, authority) => {
    const hash = hashes.get(hashAlgorithm)
    if (hash === undefined) return false
    const { name, key } = hashesOf(authority, hash)
    return name.equals(issuerNameHash) && key.equals(issuerKeyHash)
  }
}

function publicKeyBits(certificate: Buffer): Buffer {
  const spki = inside(readOne(spkiOf(new X509Certificate(certificate).publicKey), tags.sequence))
  spki.take(tags.sequence)
  return wholeBits(spki.take(tags.bitString))
}
