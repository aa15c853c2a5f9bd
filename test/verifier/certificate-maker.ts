import { createHash, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto'
import { calculateJwkThumbprint } from 'jose'
import { oids } from '../../src/der/oids.ts'
import { writePem } from '../../src/der/pem.ts'
import { inside, readOne } from '../../src/der/read.ts'
import { constructed, primitive, tags } from '../../src/der/tags.ts'
import {
  bitString,
  bits,
  boolean,
  element,
  enumerated,
  integer,
  octetString,
  oid,
  sequence,
  set,
  time,
  utf8String,
} from '../../src/der/write.ts'

/** Whoever signs: with whatever key, whether it may or not. */
export interface Signer {
  kid: string
  privateKey: KeyObject
  publicKey: KeyObject
  /** DER. */
  certificate: Buffer
  name: Buffer
  keyId: Buffer
}

const minute = 60_000
export const day = 86_400_000

export const extension = (id: string, value: Uint8Array, critical = false): Buffer =>
  sequence(oid(id), ...(critical ? [boolean(true)] : []), octetString(value))

export const uri = (text: string): Buffer => element(primitive(6), Buffer.from(text))
export const dns = (text: string): Buffer => element(primitive(2), Buffer.from(text))
export const nameOf = (text: string): Buffer =>
  sequence(set(sequence(oid(oids.commonName), utf8String(text))))

export const ecdsaWithSha256 = sequence(oid(oids.ecdsaWithSha256))

/** Algorithms by the keys that sign in them. */
const algorithms: Record<string, { id: Buffer; hash: string | null }> = {
  'P-256': { id: ecdsaWithSha256, hash: 'sha256' },
  'P-384': { id: sequence(oid(oids.ecdsaWithSha384)), hash: 'sha384' },
  RSA: { id: sequence(oid(oids.sha256WithRSA), element(tags.null)), hash: 'sha256' },
  Ed25519: { id: sequence(oid(oids.ed25519)), hash: null },
}

export type KeyKind = 'P-256' | 'P-384' | 'RSA' | 'RSA-1024' | 'Ed25519'

export function newKeyPair(kind: KeyKind = 'P-256'): { privateKey: KeyObject; publicKey: KeyObject } {
  if (kind === 'RSA' || kind === 'RSA-1024')
    return generateKeyPairSync('rsa', { modulusLength: kind === 'RSA' ? 2048 : 1024 })
  if (kind === 'Ed25519') return generateKeyPairSync('ed25519')
  return generateKeyPairSync('ec', { namedCurve: kind })
}

const kindOf = (key: KeyObject): string =>
  key.asymmetricKeyType === 'rsa'
    ? 'RSA'
    : key.asymmetricKeyType === 'ed25519'
      ? 'Ed25519'
      : key.asymmetricKeyDetails?.namedCurve === 'secp384r1'
        ? 'P-384'
        : 'P-256'

const spkiOf = (key: KeyObject): Buffer => key.export({ type: 'spki', format: 'der' })

/** SHA-1 of the public key's bits (RFC 5280 §4.2.1.2). */
function keyIdOf(key: KeyObject): Buffer {
  const parts = inside(readOne(spkiOf(key), tags.sequence))
  parts.any()
  return createHash('sha1').update(parts.take(tags.bitString).content.subarray(1)).digest()
}

export function algorithmOf(key: KeyObject): Buffer {
  return (algorithms[kindOf(key)] as { id: Buffer }).id
}

export function signatureOf(key: KeyObject, toBeSigned: Uint8Array): Buffer {
  return sign((algorithms[kindOf(key)] as { hash: string | null }).hash, toBeSigned, key)
}

export const signedBy = (
  key: KeyObject,
  toBeSigned: Buffer,
  algorithm: Uint8Array = algorithmOf(key),
): Buffer => sequence(toBeSigned, algorithm, bitString(signatureOf(key, toBeSigned)))

export interface AuthorityOptions {
  now: number
  /** Itself, unless given. */
  by?: Signer
  name?: string
  keys?: { privateKey: KeyObject; publicKey: KeyObject }
  notBefore?: number
  notAfter?: number
  pathLength?: number | null
  isAuthority?: boolean
  usages?: number[] | null
  keyId?: Buffer | null
  more?: Buffer[]
}

export async function newAuthority({ now, by, ...options }: AuthorityOptions): Promise<Signer> {
  const keys = options.keys ?? newKeyPair()
  const name = nameOf(options.name ?? `authority ${randomBytes(8).toString('hex')}`)
  const keyId = options.keyId === undefined ? keyIdOf(keys.publicKey) : options.keyId
  const { pathLength = null, isAuthority = true, usages = [5, 6], more = [] } = options
  const signer = by ?? { ...keys, name, keyId: keyId ?? Buffer.alloc(0) }
  const constraints = isAuthority
    ? sequence(boolean(true), ...(pathLength === null ? [] : [integer(pathLength)]))
    : sequence()
  const toBeSigned = sequence(
    element(constructed(0), integer(2)),
    integer(Uint8Array.of(1, ...randomBytes(15))),
    algorithmOf(signer.privateKey),
    signer.name,
    sequence(time(options.notBefore ?? now - day), time(options.notAfter ?? now + 30 * day)),
    name,
    spkiOf(keys.publicKey),
    element(
      constructed(3),
      sequence(
        ...(keyId === null ? [] : [extension(oids.subjectKeyIdentifier, octetString(keyId))]),
        ...(by ? [extension(oids.authorityKeyIdentifier, sequence(element(primitive(0), by.keyId)))] : []),
        extension(oids.basicConstraints, constraints, true),
        ...(usages === null ? [] : [extension(oids.keyUsage, bits(...usages), true)]),
        ...more,
      ),
    ),
  )
  return {
    ...keys,
    kid: await calculateJwkThumbprint(keys.publicKey.export({ format: 'jwk' }) as object),
    certificate: signedBy(signer.privateKey, toBeSigned),
    name,
    keyId: keyId ?? Buffer.alloc(0),
  }
}

/** UUIDv7 as bytes. */
export function uuid7(now: number): Buffer {
  const bytes = randomBytes(16)
  bytes.writeUIntBE(now, 0, 6)
  bytes[6] = 0x70 | ((bytes[6] as number) & 0x0f)
  bytes[8] = 0x80 | ((bytes[8] as number) & 0x3f)
  return bytes
}

export const uuidText = (bytes: Uint8Array): string =>
  Buffer.from(bytes)
    .toString('hex')
    .replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')

export const uuidBytes = (text: string): Buffer => Buffer.from(text.replaceAll('-', ''), 'hex')

export interface TaskParts {
  version?: number
  taskId?: string
  taskVer?: number
  path?: { id: string; ver: number }[]
  scopes?: string[]
  audience?: string[]
}

const anyTask = '01890a5d-ac96-774b-bcce-b302099a8057'

export const taskValue = ({
  version = 1,
  taskId = anyTask,
  taskVer = 1,
  path = [],
  scopes = ['deploy:prod', 'read'],
  audience = ['https://deploy.example'],
}: TaskParts = {}): Buffer =>
  sequence(
    integer(version),
    octetString(uuidBytes(taskId)),
    integer(taskVer),
    sequence(...path.map(({ id, ver }) => sequence(octetString(uuidBytes(id)), integer(ver)))),
    sequence(...scopes.map(utf8String)),
    sequence(...audience.map(utf8String)),
  )

export interface LeafOptions {
  now: number
  by: Signer
  keys?: { privateKey: KeyObject; publicKey: KeyObject }
  serial?: Uint8Array
  notBefore?: number
  notAfter?: number
  issuer?: Buffer
  version?: Buffer
  innerAlgorithm?: Buffer
  outerAlgorithm?: Buffer
  names?: Buffer[]
  purposes?: string[]
  task?: TaskParts
  /** In place of single extensions by their object identifiers; null leaves one out. */
  instead?: Record<string, Buffer | null>
  /** After the usual ones. */
  more?: Buffer[]
  /** After the extensions, in what is signed. */
  after?: Buffer[]
}

export interface Leaf {
  der: Buffer
  pem: string
  jti: string
  serial: Buffer
  privateKey: KeyObject
}

/** The certificate of a task as the broker makes it, and as it never would. */
export function newLeaf({ now, by, ...options }: LeafOptions): Leaf {
  const keys = options.keys ?? newKeyPair()
  const serial = Buffer.from(options.serial ?? uuid7(now))
  const { names = [uri('spiffe://hallpass.example/task/x')], purposes = [oids.clientAuth] } = options
  const usual: Record<string, Buffer> = {
    [oids.authorityKeyIdentifier]: extension(
      oids.authorityKeyIdentifier,
      sequence(element(primitive(0), by.keyId)),
    ),
    [oids.keyUsage]: extension(oids.keyUsage, bits(0), true),
    [oids.basicConstraints]: extension(oids.basicConstraints, sequence(), true),
    [oids.extKeyUsage]: extension(oids.extKeyUsage, sequence(...purposes.map(oid))),
    [oids.subjectAltName]: extension(oids.subjectAltName, sequence(...names), true),
    [oids.hallpassTask]: extension(oids.hallpassTask, taskValue(options.task)),
  }
  const extensions = Object.entries(usual).flatMap(
    ([id, value]) => options.instead?.[id] ?? (options.instead?.[id] === null ? [] : [value]),
  )
  const toBeSigned = sequence(
    options.version ?? element(constructed(0), integer(2)),
    integer(serial),
    options.innerAlgorithm ?? algorithmOf(by.privateKey),
    options.issuer ?? by.name,
    sequence(time(options.notBefore ?? now - minute / 2), time(options.notAfter ?? now + 5 * minute)),
    sequence(),
    spkiOf(keys.publicKey),
    element(constructed(3), sequence(...extensions, ...(options.more ?? []))),
    ...(options.after ?? []),
  )
  const der = signedBy(by.privateKey, toBeSigned, options.outerAlgorithm)
  return {
    der,
    pem: writePem('CERTIFICATE', der),
    jti: uuidText(serial),
    serial,
    privateKey: keys.privateKey,
  }
}

export interface CrlEntry {
  serial: Uint8Array
  reason?: number
  more?: Buffer[]
}

export interface CrlOptions {
  by: Signer
  thisUpdate: number
  nextUpdate?: number | null
  entries?: CrlEntry[]
  /** Further entries, in DER. */
  more?: Buffer
  version?: number | null
  issuer?: Buffer
  /** Signs in place of the authority. */
  key?: KeyObject
  extensions?: Buffer[] | null
  /** What it says of its signature, which is ecdsa-with-SHA256 whatever it says. */
  algorithm?: Buffer
  keyId?: Buffer
}

export function newCrl({ by, thisUpdate, entries = [], ...options }: CrlOptions): Buffer {
  const {
    nextUpdate = thisUpdate + minute,
    version = 1,
    key = by.privateKey,
    extensions = [],
    more = Buffer.alloc(0),
    algorithm = ecdsaWithSha256,
  } = options
  return signedBy(
    key,
    sequence(
      ...(version === null ? [] : [integer(version)]),
      algorithm,
      options.issuer ?? by.name,
      time(thisUpdate),
      ...(nextUpdate === null ? [] : [time(nextUpdate)]),
      ...(entries.length === 0 && more.length === 0
        ? []
        : [sequence(more, ...entries.map(each => entryOf(each, thisUpdate)))]),
      ...(extensions === null
        ? []
        : [
            element(
              constructed(0),
              sequence(
                extension(
                  oids.authorityKeyIdentifier,
                  sequence(element(primitive(0), options.keyId ?? by.keyId)),
                ),
                extension(oids.crlNumber, integer(7)),
                ...extensions,
              ),
            ),
          ]),
    ),
    algorithm,
  )
}

/** One entry of a list. */
export function entryOf({ serial, reason, more = [] }: CrlEntry, moment: number): Buffer {
  const extensions = [
    ...(reason === undefined ? [] : [extension(oids.reasonCode, enumerated(reason))]),
    ...more,
  ]
  return sequence(
    integer(serial),
    time(moment),
    ...(extensions.length === 0 ? [] : [sequence(...extensions)]),
  )
}

/** issuingDistributionPoint (RFC 5280 §5.2.5). */
export const distributionPoint = (url: string | null, ...marks: Buffer[]): Buffer =>
  extension(
    oids.issuingDistributionPoint,
    sequence(...(url === null ? [] : [element(constructed(0), element(constructed(0), uri(url)))]), ...marks),
    true,
  )
