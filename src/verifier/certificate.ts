import {
  constructed,
  DerError,
  type Element,
  type Elements,
  inside,
  listIn,
  oidOf,
  positive,
  readOne,
  smallOf,
  tags,
  timeOf,
  trueIfThere,
  wholeBits,
} from './der.ts'

/** Something that was signed, as certificates and revocation lists are: what, how, and the signature. */
export interface Signed {
  toBeSigned: Element
  /** DER of the AlgorithmIdentifier. */
  algorithm: Uint8Array
  signature: Uint8Array
}

export interface Extension {
  critical: boolean
  value: Uint8Array
}

/** By object identifier. */
export type Extensions = ReadonlyMap<string, Extension>

/** A certificate (RFC 5280 §4.1) that was read, and nothing of it believed yet. */
export interface Certificate extends Signed {
  der: Uint8Array
  /** The serial number's digits. */
  serial: Uint8Array
  /** DER of the names. */
  issuer: Uint8Array
  subject: Uint8Array
  /** Milliseconds since the epoch; valid until the end of that second, but taken for dead at its beginning. */
  notBefore: number
  notAfter: number
  /** DER of the SubjectPublicKeyInfo. */
  publicKey: Uint8Array
  extensions: Extensions
}

/** Bytes. */
const maxSize = 64 * 1024
const maxExtensions = 64
const version3 = 2

/**
 * Reads a certificate of version 3, strictly: DER and nothing after it.
 *
 * @throws DerError
 */
export function readCertificate(der: Uint8Array): Certificate {
  if (der.length > maxSize) throw new DerError('it is too large')
  const signed = readSigned(readOne(der, tags.sequence))
  const fields = inside(signed.toBeSigned)
  const version = inside(fields.take(constructed(0)))
  if (smallOf(version.any()) !== version3) throw new DerError('it is not of version 3')
  version.end()
  const serial = positive(fields.take(tags.integer))
  sameAlgorithm(fields, signed)
  const issuer = fields.take(tags.sequence).bytes
  const validity = inside(fields.take(tags.sequence))
  const [notBefore, notAfter] = [timeOf(validity.any()), timeOf(validity.any())]
  validity.end()
  const subject = fields.take(tags.sequence).bytes
  const publicKey = fields.take(tags.sequence).bytes
  // Unique identifiers, which conforming authorities do not write, would come before (§4.1.2.8).
  const extensions = readExtensions(fields.take(constructed(3)))
  fields.end()
  return { ...signed, der, serial, issuer, subject, notBefore, notAfter, publicKey, extensions }
}

/** SEQUENCE { toBeSigned, signatureAlgorithm, signature } (RFC 5280 §4.1, §5.1). */
export function readSigned(whole: Element): Signed {
  const parts = inside(whole)
  const toBeSigned = parts.take(tags.sequence)
  const algorithm = parts.take(tags.sequence).bytes
  const signature = wholeBits(parts.take(tags.bitString))
  parts.end()
  return { toBeSigned, algorithm, signature }
}

/** The algorithm is signed too, and must be the same (RFC 5280 §4.1.1.2, §5.1.1.2). */
export function sameAlgorithm(fields: Elements, { algorithm }: Signed): void {
  const inner = fields.take(tags.sequence).bytes
  if (inner.length !== algorithm.length || inner.some((byte, at) => byte !== algorithm[at]))
    throw new DerError('two algorithms are named')
}

/** What is in the `[n]` around extensions: each once (RFC 5280 §4.2). */
export function readExtensions(explicit: Element): Extensions {
  const around = inside(explicit)
  const list = around.take(tags.sequence)
  around.end()
  return extensionsIn(list)
}

export function extensionsIn(sequence: Element): Extensions {
  const found = new Map<string, Extension>()
  for (const each of listIn(sequence, tags.sequence, maxExtensions)) {
    const fields = inside(each)
    const oid = oidOf(fields.take(tags.oid))
    const critical = trueIfThere(fields)
    const { content: value } = fields.take(tags.octetString)
    fields.end()
    if (found.has(oid)) throw new DerError('an extension is there twice')
    found.set(oid, { critical, value })
  }
  return found
}
