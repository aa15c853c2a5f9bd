import { oids } from '../../der/oids.ts'
import {
  booleanOf,
  DerError,
  type Element,
  type Elements,
  inside,
  integerBytes,
  listIn,
  oidOf,
  readOne,
} from '../../der/read.ts'
import { constructed, tags } from '../../der/tags.ts'

/** Which certificate is asked about (CertID, RFC 6960 §4.1.1). */
export interface CertId {
  /** DER of all of it, for the answer. */
  bytes: Buffer
  /** Dotted. */
  hashAlgorithm: string
  issuerNameHash: Buffer
  issuerKeyHash: Buffer
  /** As the content of its INTEGER. */
  serial: Buffer
}

export interface OcspRequest {
  /** One at least. */
  certIds: CertId[]
  /** null where there is none. */
  nonce: Buffer | null
}

/** Octets of a request, and certificates that it may ask about. */
export const requestMost = 4 * 1024
export const certIdsMost = 16
/** Octets (RFC 8954 §2.1). */
const nonceMost = 32
const extensionsMost = 16

/**
 * Reads an OCSPRequest (RFC 6960 §4.1.1): DER to the letter. Who asks, and a signature on it, are of no interest: everybody may know
 * (§4.1.2). An extension that is critical and not known refuses the request, any other is passed over (§4.4). Throws DerError.
 */
export function readOcspRequest(bytes: Uint8Array): OcspRequest {
  if (bytes.length > requestMost) throw new DerError('the request is too long')
  const request = inside(readOne(bytes, tags.sequence))
  const toBeSigned = inside(request.take(tags.sequence))
  const signature = request.maybe(constructed(0))
  if (signature) only(inside(signature), tags.sequence)
  request.end()

  // A version that is the default is not written (X.690 §11.5), and there is no other: [0] is refused as whatever does not belong there.
  const requestor = toBeSigned.maybe(constructed(1))
  if (requestor) {
    const name = inside(requestor)
    name.any()
    name.end()
  }
  const certIds = listIn(toBeSigned.take(tags.sequence), certIdsMost).map(certIdOf)
  if (certIds.length === 0) throw new DerError('nothing is asked about')
  const extensions = extensionsOf(toBeSigned.maybe(constructed(2)))
  toBeSigned.end()
  const nonce = extensions.get(oids.ocspNonce)
  mustBeKnown(extensions, [oids.ocspNonce])
  return { certIds, nonce: nonce ? nonceOf(nonce.value) : null }
}

function certIdOf(element: Element): CertId {
  const request = inside(asSequence(element))
  const certId = request.take(tags.sequence)
  mustBeKnown(extensionsOf(request.maybe(constructed(0))), [])
  request.end()

  const parts = inside(certId)
  const algorithm = inside(parts.take(tags.sequence))
  const hashAlgorithm = oidOf(algorithm.take(tags.oid))
  const parameters = algorithm.maybe(tags.null)
  if (parameters && parameters.content.length > 0) throw new DerError('a NULL is none')
  algorithm.end()
  const issuerNameHash = parts.take(tags.octetString).content
  const issuerKeyHash = parts.take(tags.octetString).content
  const serial = integerBytes(parts.take(tags.integer))
  parts.end()
  return { bytes: certId.bytes, hashAlgorithm, issuerNameHash, issuerKeyHash, serial }
}

interface Extension {
  critical: boolean
  value: Buffer
}

/** Extensions (RFC 5280 §4.1), each once and one at least, by their identifiers. */
function extensionsOf(tagged: Element | null): Map<string, Extension> {
  const extensions = new Map<string, Extension>()
  if (!tagged) return extensions
  const list = listIn(only(inside(tagged), tags.sequence), extensionsMost)
  if (list.length === 0) throw new DerError('there are no extensions')
  for (const element of list) {
    const parts = inside(asSequence(element))
    const id = oidOf(parts.take(tags.oid))
    const critical = parts.maybe(tags.boolean)
    if (critical && !booleanOf(critical)) throw new DerError('a default is written')
    const value = parts.take(tags.octetString).content
    parts.end()
    if (extensions.has(id)) throw new DerError('an extension is there twice')
    extensions.set(id, { critical: critical !== null, value })
  }
  return extensions
}

function mustBeKnown(extensions: Map<string, Extension>, known: string[]): void {
  for (const [id, { critical }] of extensions)
    if (critical && !known.includes(id)) throw new DerError('a critical extension is not known')
}

function nonceOf(value: Buffer): Buffer {
  const { content } = readOne(value, tags.octetString)
  if (content.length === 0 || content.length > nonceMost) throw new DerError('the nonce has no such length')
  return content
}

function only(elements: Elements, tag: number): Element {
  const element = elements.take(tag)
  elements.end()
  return element
}

const asSequence = ({ bytes }: Element): Element => readOne(bytes, tags.sequence)
