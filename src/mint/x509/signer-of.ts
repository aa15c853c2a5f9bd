import { createPublicKey, type KeyObject } from 'node:crypto'
import { oids } from '../../der/oids.ts'
import { booleanOf, DerError, type Elements, inside, listIn, oidOf, readOne, timeOf } from '../../der/read.ts'
import { constructed, primitive, tags } from '../../der/tags.ts'
import { keyIdOf, spkiOf } from './key-id.ts'
import type { CertificateSigner } from './signer.ts'

/** More extensions than any authority has. */
const mostExtensions = 100

/**
 * The authority that a certificate and its private key are. What it signs must name it as its certificate does, which an organisation's own
 * root may have written otherwise than the broker would.
 *
 * Throws DerError where the certificate cannot be read, is of no authority or of another key, or the key is not a P-256 one.
 */
export function signerOf({
  certificate,
  privateKey,
  kid,
}: {
  certificate: Buffer
  privateKey: KeyObject
  kid: string
}): CertificateSigner {
  const parts = inside(readOne(certificate, tags.sequence))
  const fields = inside(parts.take(tags.sequence))
  fields.take(constructed(0))
  fields.take(tags.integer)
  fields.take(tags.sequence)
  fields.take(tags.sequence)
  const validity = inside(fields.take(tags.sequence))
  validity.any()
  const notAfter = timeOf(validity.any())
  const name = fields.take(tags.sequence).bytes
  const spki = fields.take(tags.sequence).bytes
  // issuerUniqueID and subjectUniqueID, which nobody uses.
  fields.maybe(primitive(1))
  fields.maybe(primitive(2))
  const extensions = extensionsIn(fields)

  const publicKey = createPublicKey(privateKey)
  if (publicKey.asymmetricKeyDetails?.namedCurve !== 'prime256v1')
    throw new DerError('the key is not a P-256 one')
  if (!spki.equals(spkiOf(publicKey))) throw new DerError('the certificate is of another key')
  if (!isAuthority(extensions)) throw new DerError('the certificate is not one of an authority')
  return {
    kid,
    privateKey,
    certificate,
    name,
    keyId: subjectKeyId(extensions) ?? keyIdOf(publicKey),
    notAfter,
  }
}

/** Values by their object identifiers (RFC 5280 §4.1.2.9). */
function extensionsIn(fields: Elements): Map<string, Buffer> {
  const list = inside(fields.take(constructed(3)))
  const extensions = listIn(list.take(tags.sequence), mostExtensions).map((extension): [string, Buffer] => {
    const parts = inside(readOne(extension.bytes, tags.sequence))
    const id = oidOf(parts.take(tags.oid))
    const critical = parts.maybe(tags.boolean)
    if (critical) booleanOf(critical)
    return [id, parts.take(tags.octetString).content]
  })
  return new Map(extensions)
}

function isAuthority(extensions: Map<string, Buffer>): boolean {
  const value = extensions.get(oids.basicConstraints)
  const isAuthority = value && inside(readOne(value, tags.sequence)).maybe(tags.boolean)
  return isAuthority ? booleanOf(isAuthority) : false
}

function subjectKeyId(extensions: Map<string, Buffer>): Buffer | null {
  const value = extensions.get(oids.subjectKeyIdentifier)
  return value ? readOne(value, tags.octetString).content : null
}
