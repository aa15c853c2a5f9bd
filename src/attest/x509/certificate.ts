import type { KeyObject } from 'node:crypto'
import {
  DerError,
  type Element,
  inside,
  integerBytes,
  readOne,
  smallOf,
  timeOf,
  wholeBits,
} from '../../der/read.ts'
import { constructed, primitive, tags } from '../../der/tags.ts'
import { type Extensions, readExtensions } from './extensions.ts'
import { type Name, readName, sameName } from './names.ts'
import { readPublicKey } from './public-key.ts'

/** A certificate as it was read (RFC 5280 §4.1): nothing in it is proven. */
export interface Certificate {
  der: Buffer
  /** TBSCertificate, which the signature is over. */
  tbs: Buffer
  /** Two's complement; may be negative, as some authorities' are. Nothing here goes by it. */
  serial: Buffer
  /** DER of the AlgorithmIdentifier. */
  signatureAlgorithm: Buffer
  signature: Buffer
  issuer: Name
  subject: Name
  /** Milliseconds since the epoch, both inclusive. */
  notBefore: number
  notAfter: number
  /** DER of SubjectPublicKeyInfo. */
  publicKeyInfo: Buffer
  /** null where its kind, its parameters or its strength is not accepted. */
  publicKey: KeyObject | null
  extensions: Extensions
}

const maxBytes = 64 * 1024
/** RFC 5280 §4.1.2.2, and a leading zero. */
const maxSerial = 21

/**
 * Reads one certificate of version 3, and nothing after it.
 *
 * DER to the letter: defaults that are spelled out are refused too (X.690 §11.5). None of the PKITS's certificates and of the roots that
 * Mozilla trusts has one, nor does Go (and so SPIRE), OpenSSL, GnuTLS or Java write them. Unique identifiers are read over (RFC 5280
 * §4.1.2.8).
 *
 * @throws DerError
 */
export function readCertificate(der: Uint8Array): Certificate {
  if (der.length > maxBytes) throw new DerError('a certificate is too large')
  const certificate = readOne(der, tags.sequence)
  const parts = inside(certificate)
  const tbs = parts.take(tags.sequence)
  const signatureAlgorithm = parts.take(tags.sequence).bytes
  const signature = wholeBits(parts.take(tags.bitString))
  parts.end()

  const fields = inside(tbs)
  if (explicitly(fields.take(constructed(0)), smallOf) !== 2)
    throw new DerError('a certificate is not of version 3')
  const serial = integerBytes(fields.take(tags.integer))
  if (serial.length > maxSerial) throw new DerError('a serial number is too long')
  // RFC 5280 §4.1.1.2: the algorithm that is signed is the one that signed.
  if (!fields.take(tags.sequence).bytes.equals(signatureAlgorithm))
    throw new DerError('a certificate names two signature algorithms')
  const issuer = readName(fields.take(tags.sequence))
  if (issuer.rdns.length === 0) throw new DerError('an issuer has no name')
  const validity = inside(fields.take(tags.sequence))
  const notBefore = timeOf(validity.any())
  const notAfter = timeOf(validity.any())
  validity.end()
  const subject = readName(fields.take(tags.sequence))
  const publicKeyInfo = fields.take(tags.sequence).bytes
  fields.maybe(primitive(1))
  fields.maybe(primitive(2))
  const extensions = fields.maybe(constructed(3))
  fields.end()

  return {
    der: certificate.bytes,
    tbs: tbs.bytes,
    serial,
    signatureAlgorithm,
    signature,
    issuer,
    subject,
    notBefore,
    notAfter,
    publicKeyInfo,
    publicKey: readPublicKey(publicKeyInfo),
    extensions: readExtensions(
      extensions && explicitly(extensions, whole => readOne(whole.bytes, tags.sequence)),
    ),
  }
}

/** What `[n]` is around. */
function explicitly<T>(element: Element, read: (inner: Element) => T): T {
  const parts = inside(element)
  const inner = parts.any()
  parts.end()
  return read(inner)
}

/** RFC 5280 §6.1: self-issued, which is not the same as self-signed. */
export const isSelfIssued = ({ issuer, subject }: Certificate): boolean => sameName(issuer, subject)
