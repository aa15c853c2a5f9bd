import { type KeyObject, verify } from 'node:crypto'
import { oids } from '../../der/oids.ts'
import { readPem } from '../../der/pem.ts'
import { DerError, type Element, inside, integerBytes, readOne, wholeBits } from '../../der/read.ts'
import { constructed, tags } from '../../der/tags.ts'
import { element, oid, sequence } from '../../der/write.ts'
import { asksOf } from './csr-asks.ts'
import { csrRefused } from './csr-refused.ts'
import { readSubjectKey, type SubjectKey } from './subject-key.ts'

/** What is taken from a CSR: its key, whose owner signed it. */
export interface Csr extends SubjectKey {
  /** What it asks for beyond its key and does not get, for the log: at most 40 names, of at most 170 characters. */
  asksFor: string[]
}

/** Characters of PEM. A request with a key of 8,192 bits has 3,000. */
const mostText = 16 * 1024
const labels = ['CERTIFICATE REQUEST', 'NEW CERTIFICATE REQUEST']

/**
 * Reads a certificate signing request (PKCS #10, RFC 2986) in PEM (RFC 7468 §7): DER to the last bit, but for the order of its sets, which
 * several writers leave as it came. Takes nothing but the key, once it proved (§4.2) that who has its private half wrote the request.
 * Throws `malformed` for everything else that a string can be.
 */
export function readCsr(pem: string): Csr {
  try {
    return read(pem)
  } catch (error) {
    if (error instanceof DerError) throw csrRefused('encoding', error.message)
    throw error
  }
}

function read(pem: string): Csr {
  const request = inside(readOne(derIn(pem), tags.sequence))
  const info = request.take(tags.sequence)
  const algorithm = request.take(tags.sequence)
  const signature = wholeBits(request.take(tags.bitString))
  request.end()

  const parts = inside(info)
  const [version, ...digits] = integerBytes(parts.take(tags.integer))
  if (version !== 0 || digits.length > 0) throw csrRefused('version', 'its version is not 0')
  const subject = parts.take(tags.sequence)
  const spki = parts.take(tags.sequence)
  const attributes = parts.take(constructed(0))
  parts.end()

  const asksFor = asksOf(subject, attributes)
  const subjectKey = readSubjectKey(spki)
  mustBeSignedBy(subjectKey, info, algorithm, signature)
  return { ...subjectKey, asksFor }
}

function derIn(pem: string): Buffer {
  if (pem.length > mostText) throw csrRefused('too-large', 'it is larger than 16 KiB')
  const [block] = readPem(pem, 1)
  if (!block || !labels.includes(block.label))
    throw csrRefused('no-pem', 'it is no PEM of a CERTIFICATE REQUEST')
  return block.der
}

/** How a kind of key signs: RSA as in RFC 4055 §5, ECDSA as in RFC 5758 §3.2, Ed25519 as in RFC 8410 §3. */
interface SignatureAlgorithm {
  family: 'rsa' | 'ec' | 'ed25519'
  hash: 'sha256' | 'sha384' | 'sha512' | null
}

const none = Buffer.alloc(0)
const noParameters = element(tags.null)
const signatureAlgorithms = new Map<string, SignatureAlgorithm>(
  (
    [
      [oids.ecdsaWithSha256, none, 'ec', 'sha256'],
      [oids.ecdsaWithSha384, none, 'ec', 'sha384'],
      [oids.ecdsaWithSha512, none, 'ec', 'sha512'],
      // RFC 4055 §5 wants NULL here, and wants what has nothing here to be read as well.
      [oids.sha256WithRSA, noParameters, 'rsa', 'sha256'],
      [oids.sha384WithRSA, noParameters, 'rsa', 'sha384'],
      [oids.sha512WithRSA, noParameters, 'rsa', 'sha512'],
      [oids.sha256WithRSA, none, 'rsa', 'sha256'],
      [oids.sha384WithRSA, none, 'rsa', 'sha384'],
      [oids.sha512WithRSA, none, 'rsa', 'sha512'],
      [oids.ed25519, none, 'ed25519', null],
    ] as const
  ).map(([name, parameters, family, hash]) => [
    sequence(oid(name), parameters).toString('latin1'),
    { family, hash },
  ]),
)

function mustBeSignedBy(
  { publicKey }: { publicKey: KeyObject },
  info: Element,
  algorithm: Element,
  signature: Buffer,
): void {
  const known = signatureAlgorithms.get(algorithm.bytes.toString('latin1'))
  if (!known || known.family !== publicKey.asymmetricKeyType)
    throw csrRefused(
      'signature-algorithm',
      'its signature is of a kind that is not accepted, or does not fit its key',
    )
  if (!isSigned(known.hash, info.bytes, publicKey, signature))
    throw csrRefused('signature-invalid', 'its signature is not by its key')
}

/** OpenSSL throws at some keys and signatures that it cannot use: they signed nothing. */
function isSigned(hash: string | null, bytes: Buffer, key: KeyObject, signature: Buffer): boolean {
  try {
    return verify(hash, bytes, key, signature)
  } catch {
    return false
  }
}
