import { type Authority, isSameKeyId } from './authority-paths.ts'
import { type Extensions, extensionsIn, readExtensions, readSigned, sameAlgorithm } from './certificate.ts'
import {
  constructed,
  DerError,
  type Element,
  hexOf,
  inside,
  isSame,
  positive,
  primitive,
  readOne,
  smallOf,
  tags,
  timeOf,
} from './der.ts'
import { authorityKeyId, hasUnknown } from './extensions.ts'
import { oids } from './oids.ts'
import { VerifierRefusal } from './refusal.ts'
import { isSignedBy } from './signature.ts'

/** A verified revocation list: of all certificates of one authority. */
export interface Crl {
  /** Milliseconds since the epoch. */
  thisUpdate: number
  nextUpdate: number
  /** Serial numbers in hexadecimal, and whether the certificate is only on hold. */
  entries: ReadonlyMap<string, 'revoked' | 'held'>
}

const understood = new Set<string>([oids.issuingDistributionPoint])
const understoodOfEntries = new Set<string>([oids.reasonCode])

/** Reasons of RFC 5280 §5.3.1. */
const certificateHold = 6
const removeFromCrl = 8

/** Entries that are read at once: some 10 ms. */
const atOnce = 10_000

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
  return { thisUpdate, nextUpdate, entries: await readEntries(list) }
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

/** The event loop is let go on in between: a list may have 100,000 entries. */
async function readEntries(list: Element | null): Promise<Crl['entries']> {
  const entries = new Map<string, 'revoked' | 'held'>()
  if (list === null) return entries
  const elements = inside(list)
  while (!elements.isAtEnd()) {
    if (entries.size % atOnce === atOnce - 1) await new Promise(resolve => setTimeout(resolve))
    const fields = inside(elements.take(tags.sequence))
    const serial = hexOf(positive(fields.take(tags.integer)))
    timeOf(fields.any())
    const isHeld = !fields.isAtEnd() && reasonOf(extensionsIn(fields.take(tags.sequence))) === certificateHold
    fields.end()
    if (entries.has(serial)) throw new DerError('a certificate is there twice')
    entries.set(serial, isHeld ? 'held' : 'revoked')
  }
  if (entries.size === 0) throw new DerError('a list is empty')
  return entries
}

/** RFC 5280 §5.3: an entry with something that must be understood and is not makes the whole list useless. */
function reasonOf(extensions: Extensions): number | null {
  if (hasUnknown(extensions, understoodOfEntries)) throw new DerError('an entry is not understood')
  const value = extensions.get(oids.reasonCode)?.value
  if (value === undefined) return null
  const reason = smallOf(readOne(value, tags.enumerated))
  if (reason === removeFromCrl) throw new DerError('what only a delta may say')
  return reason
}
