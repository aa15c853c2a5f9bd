import { createHash, createHmac, generateKeyPair, type KeyObject, randomBytes } from 'node:crypto'
import { promisify } from 'node:util'
import { oids } from '../../der/oids.ts'
import { constructed, primitive, tags } from '../../der/tags.ts'
import { element, integer, octetString, oid, sequence, set } from '../../der/write.ts'
import { HallpassError } from '../../errors.ts'
import { encrypt } from './pbes2.ts'
import { macKey } from './pkcs12-mac-key.ts'
import type { SubjectKey } from './subject-key.ts'

const generate = promisify(generateKeyPair)

/** A key pair for software that cannot make its own, and may know nothing but RSA. It is in no other place than what is returned. */
export async function newLegacyKey(): Promise<SubjectKey & { privateKey: KeyObject }> {
  const { privateKey, publicKey } = await generate('rsa', { modulusLength: 2048 })
  const spki = publicKey.export({ type: 'spki', format: 'der' })
  return { privateKey, publicKey, spki, key: 'RSA-2048' }
}

export interface Pkcs12Parts {
  privateKey: KeyObject
  /** DER. */
  certificate: Buffer
  /** DER of the authorities above it. */
  chain: Buffer[]
  password: string
  /** By what name a key store lists the key: characters of the Basic Multilingual Plane. */
  friendlyName: string
}

/** As many as Java takes. A password has to hold for as long as the certificate is valid, which is minutes. */
const iterations = 10_000

/**
 * A PKCS #12 file (RFC 7292) of a key and its certificates, as today's software makes them: PBES2 with PBKDF2, HMAC-SHA-256 and AES-256-CBC,
 * integrity by HMAC-SHA-256. Written here and not by pkijs: that writes BER (encrypted keys in pieces of 1,024 bytes), and holds up everything
 * else for the 40 ms in which it derives the MAC's key. Throws `malformed` for a password that cannot be one.
 */
export async function makePkcs12(parts: Pkcs12Parts): Promise<Buffer> {
  const { privateKey, certificate, chain, password, friendlyName } = parts
  mustBePassword(password)
  const attributes = linkOf(certificate, friendlyName)
  const [key, certificates] = await Promise.all([
    encryptedKey(privateKey, password),
    encrypt(
      sequence(certBag(certificate, attributes), ...chain.map(above => certBag(above))),
      password,
      iterations,
    ),
  ])
  const authenticatedSafe = sequence(
    data(sequence(safeBag(oids.pkcs8ShroudedKeyBag, key, attributes))),
    encryptedData(certificates),
  )
  return sequence(integer(3), data(authenticatedSafe), await macData(authenticatedSafe, password))
}

/**
 * RFC 7292 §B.1: the MAC's key is derived from a BMPString. Control characters cannot be typed, and end other software's strings. Throws
 * `malformed`. (Java 17 opens nothing whose password is not ASCII, OpenSSL does.)
 */
export function mustBePassword(password: string): void {
  if (!/^[^\p{Cc}\p{Cs}\p{Noncharacter_Code_Point}\u{10000}-\u{10ffff}]{1,256}$/u.test(password))
    throw new HallpassError(
      'malformed',
      'The password must be 1 to 256 characters of the Basic Multilingual Plane, none of them a control character.',
    )
}

/** EncryptedPrivateKeyInfo (RFC 5958 §3). */
async function encryptedKey(privateKey: KeyObject, password: string): Promise<Buffer> {
  const pkcs8 = privateKey.export({ type: 'pkcs8', format: 'der' })
  const { algorithm, encrypted } = await encrypt(pkcs8, password, iterations)
  pkcs8.fill(0)
  return sequence(algorithm, octetString(encrypted))
}

/** Attributes that say which certificate is the key's: the same on both (RFC 7292 §4.2). DER sorts a set (X.690 §11.6). */
function linkOf(certificate: Buffer, friendlyName: string): Buffer {
  const name = Buffer.from(friendlyName, 'utf16le').swap16()
  const attributes = [
    sequence(oid(oids.friendlyName), set(element(tags.bmpString, name))),
    sequence(oid(oids.localKeyId), set(octetString(createHash('sha256').update(certificate).digest()))),
  ]
  return set(...attributes.sort(Buffer.compare))
}

const explicit = (content: Buffer): Buffer => element(constructed(0), content)

const safeBag = (type: string, value: Buffer, attributes: Buffer): Buffer =>
  sequence(oid(type), explicit(value), attributes)

function certBag(certificate: Buffer, attributes?: Buffer): Buffer {
  const bag = sequence(oid(oids.x509Certificate), explicit(octetString(certificate)))
  return attributes ? safeBag(oids.certBag, bag, attributes) : sequence(oid(oids.certBag), explicit(bag))
}

/** ContentInfo of Data (RFC 5652 §4). */
const data = (content: Buffer): Buffer => sequence(oid(oids.data), explicit(octetString(content)))

/** ContentInfo of EncryptedData (RFC 5652 §8). */
const encryptedData = ({ algorithm, encrypted }: { algorithm: Buffer; encrypted: Buffer }): Buffer =>
  sequence(
    oid(oids.encryptedData),
    explicit(sequence(integer(0), sequence(oid(oids.data), algorithm, element(primitive(0), encrypted)))),
  )

async function macData(authenticatedSafe: Buffer, password: string): Promise<Buffer> {
  const salt = randomBytes(16)
  const key = await macKey(password, salt, iterations)
  const digest = createHmac('sha256', key).update(authenticatedSafe).digest()
  const algorithm = sequence(oid(oids.sha256), element(tags.null))
  return sequence(sequence(algorithm, octetString(digest)), octetString(salt), integer(iterations))
}
