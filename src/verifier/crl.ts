import { type Authority, isSameKeyId } from './authority-paths.ts'
import { type Extensions, readExtensions, readSigned, sameAlgorithm } from './certificate.ts'
import {
  constructed,
  DerError,
  type Element,
  inside,
  isSame,
  primitive,
  readOne,
  smallOf,
  tags,
  timeOf,
} from './der.ts'
import { authorityKeyId, hasUnknown } from './extensions.ts'
import { oids } from './oids.ts'
import { VerifierRefusal } from './refusal.ts'
import { type RevokedCertificates, readRevoked } from './revoked-certificates.ts'
import { isSignedBy } from './signature.ts'

/** A verified revocation list: of all certificates of one authority. */
export interface Crl {
  /** Milliseconds since the epoch. */
  thisUpdate: number
  nextUpdate: number
  entries: RevokedCertificates
}

const understood = new Set<string>([oids.issuingDistributionPoint])

/**
 * Verifies the complete CRL of an authority (RFC 5280 §5, §6.3). How old it may be is not judged here.
 *
 * @param url where it was asked for: if it names an address of its own, it must be that one
 * @throws VerifierRefusal `crl_malformed`, `crl_other`, `crl_signature_wrong`
 */
export async function readCrl(der: Uint8Array, authority: Authority, url: string): Promise<Crl> {
  try {
    return await crl(der, authority, url)
  } catch (error) {
    throw error instanceof DerError ? new VerifierRefusal('crl_malformed', { cause: error }) : error
  }
}

async function crl(der: Uint8Array, authority: Authority, url: string): Promise<Crl> {
  const signed = readSigned(readOne(der, tags.sequence))
  const fields = inside(signed.toBeSigned)
  // Version 2: the lists of others have no extensions, and so no numbers.
  if (smallOf(fields.take(tags.integer)) !== 1) throw new DerError('it is not of version 2')
  sameAlgorithm(fields, signed)
  const issuer = fields.take(tags.sequence).bytes
  const [thisUpdate, nextUpdate] = [timeOf(fields.any()), timeOf(fields.any())]
  const list = fields.maybe(tags.sequence)
  const extensions = readExtensions(fields.take(constructed(0)))
  fields.end()
  const isOurs =
    authority.signsCrls &&
    isSame(issuer, authority.name) &&
    isSameKeyId(authorityKeyId(extensions), authority.keyId) &&
    isComplete(extensions, url)
  if (!isOurs) throw new VerifierRefusal('crl_other')
  if (!(await isSignedBy(authority.key, signed))) throw new VerifierRefusal('crl_signature_wrong')
  return { thisUpdate, nextUpdate, entries: await readRevoked(list) }
}

/** Neither a delta (RFC 5280 §5.2.4) nor a part of a list; and nothing in it that must be understood and is not. */
function isComplete(extensions: Extensions, url: string): boolean {
  if (hasUnknown(extensions, understood)) return false
  const point = extensions.get(oids.issuingDistributionPoint)
  if (point === undefined) return true
  // §5.2.5: a distribution point, and none of the marks that something was left out.
  const marks = inside(readOne(point.value, tags.sequence))
  const name = marks.maybe(constructed(0))
  return name !== null && marks.isAtEnd() && isNamed(name, url)
}

/** DistributionPointName: fullName, with this URI among its names. */
function isNamed(point: Element, url: string): boolean {
  const choice = inside(point)
  const names = inside(choice.take(constructed(0)))
  choice.end()
  const uri = new TextEncoder().encode(url)
  let isFound = false
  while (!names.isAtEnd()) {
    const { tag, content } = names.any()
    isFound ||= tag === primitive(6) && isSame(content, uri)
  }
  return isFound
}
