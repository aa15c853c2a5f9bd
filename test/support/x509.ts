import {
  constants,
  createHash,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
} from 'node:crypto'
import { oids } from '../../src/der/oids.ts'
import { writePem } from '../../src/der/pem.ts'
import { constructed, primitive, tags } from '../../src/der/tags.ts'
import {
  bitString,
  bits,
  boolean,
  element,
  integer,
  none,
  octetString,
  oid,
  sequence,
  set,
  time,
  utf8String,
} from '../../src/der/write.ts'

export type KeyKind = 'P-256' | 'P-384' | 'P-521' | 'Ed25519' | 'RSA' | 'RSA-1024' | 'RSA-e1'

export interface TestKeyPair {
  privateKey: KeyObject
  /** SubjectPublicKeyInfo, DER: what a certificate says, whether or not it is the private key's. */
  publicKeyInfo: Buffer
}

/** Whoever signs certificates. */
export interface TestAuthority extends TestKeyPair {
  certificate: Buffer
  /** Subject, DER. */
  name: Buffer
}

/** What a certificate says. Whatever is not given is as a well-behaved authority has it. */
export interface CertificateOptions {
  keys?: TestKeyPair
  keyKind?: KeyKind
  /** Common name, '' for none, or DER. */
  subject?: string | Buffer
  /** Common name, or DER. */
  issuer?: string | Buffer
  serial?: Buffer
  /** Milliseconds since the epoch. */
  notBefore?: number
  notAfter?: number
  /** By object identifier: in the place of a default one, or besides them; null leaves it out. */
  extensions?: Record<string, Buffer | null>
  /** Written after all others, as they are. */
  moreExtensions?: Buffer[]
  /** How it is signed; by default as fits the signer's key. */
  signing?: Signing
  /** Written in the place of the algorithm inside of what is signed. */
  innerAlgorithm?: Buffer
  /** Fields of TBSCertificate as they are to be written. */
  fields?: (fields: Buffer[]) => Buffer[]
}

export interface Signing {
  hash: 'sha1' | 'sha256' | 'sha384' | 'sha512' | null
  algorithm: Buffer
  isPss?: boolean
}

export interface X509TrustDomain {
  name: string
  /** What its bundle has; change it freely. The first one signs by default. */
  roots: TestAuthority[]
  /** An authority below another (the first root by default). */
  intermediate(
    options?: CertificateOptions & { signer?: TestAuthority; pathLength?: number | null },
  ): TestAuthority
  /**
   * An X.509-SVID as SPIRE makes them.
   *
   * @param path of the SPIFFE ID, with its slash
   */
  svid(path: string, options?: CertificateOptions & SvidSigners): TestSvid
  /** JWKs of a SPIFFE bundle: use `x509-svid`, one certificate each. */
  jwks(): Record<string, unknown>[]
  /** Replaces the roots by a new one. */
  rotate(): TestAuthority
}

export interface SvidSigners {
  /** Signs it; the first root by default. */
  signer?: TestAuthority
  /** What is presented after the leaf; by default the signer, where it is no root. */
  intermediates?: TestAuthority[]
}

export interface TestSvid {
  id: string
  key: KeyObject
  certificate: Buffer
  /** Leaf first, without the root. */
  chain: Buffer[]
  /** As TLS servers and clients take them. */
  pem: { key: string; cert: string }
}

const minute = 60_000
const hour = 60 * minute

export function createX509TrustDomain(name: string, { now = Date.now() } = {}): X509TrustDomain {
  const uri = `spiffe://${name}`
  const newRoot = () =>
    makeAuthority(
      { subject: `${name} root`, extensions: { [oids.subjectAltName]: subjectAltName([uriName(uri)]) } },
      now,
    )
  const self: X509TrustDomain = {
    name,
    roots: [newRoot()],
    intermediate({ signer = self.roots[0], pathLength = null, ...options } = {}) {
      return makeAuthority(
        {
          subject: `${name} authority ${randomBytes(4).toString('hex')}`,
          ...options,
          extensions: {
            [oids.basicConstraints]: basicConstraints(true, pathLength),
            [oids.subjectAltName]: subjectAltName([uriName(uri)]),
            ...options.extensions,
          },
        },
        now,
        signer,
      )
    },
    svid(path, { signer = self.roots[0], intermediates, ...options } = {}) {
      if (!signer) throw new Error('the trust domain has no authority')
      const id = `${uri}${path}`
      const keys = options.keys ?? generateKeys(options.keyKind)
      const certificate = makeCertificate(
        {
          subject: 'workload',
          notBefore: now - minute,
          notAfter: now + hour,
          ...options,
          keys,
          extensions: {
            [oids.basicConstraints]: basicConstraints(false),
            [oids.keyUsage]: keyUsage([0]),
            [oids.extKeyUsage]: extKeyUsage([oids.serverAuth, oids.clientAuth]),
            [oids.subjectAltName]: subjectAltName([uriName(id)], options.subject === ''),
            ...options.extensions,
          },
        },
        signer,
      )
      const above = intermediates ?? (self.roots.includes(signer) ? [] : [signer])
      const chain = [certificate, ...above.map(authority => authority.certificate)]
      return { id, key: keys.privateKey, certificate, chain, pem: pemOf(keys.privateKey, chain) }
    },
    jwks: () => self.roots.map(jwkOf),
    rotate() {
      const root = newRoot()
      self.roots = [root]
      return root
    },
  }
  return self
}

/** A JWK of a SPIFFE bundle (X509-SVID §6.1). */
export const jwkOf = ({ certificate, publicKeyInfo }: TestAuthority): Record<string, unknown> => ({
  ...createPublicKey({ key: publicKeyInfo, format: 'der', type: 'spki' }).export({ format: 'jwk' }),
  use: 'x509-svid',
  x5c: [certificate.toString('base64')],
})

/** An authority: self-signed, or signed by another. */
export function makeAuthority(
  options: CertificateOptions,
  now = Date.now(),
  signer?: TestAuthority,
): TestAuthority {
  const keys = options.keys ?? generateKeys(options.keyKind)
  const name = nameOf(options.subject ?? 'authority')
  const certificate = makeCertificate(
    {
      notBefore: now - hour,
      notAfter: now + 24 * hour,
      ...options,
      keys,
      subject: name,
      extensions: {
        [oids.basicConstraints]: basicConstraints(true),
        [oids.keyUsage]: keyUsage([5, 6]),
        ...options.extensions,
      },
    },
    signer ?? { ...keys, name },
  )
  return { ...keys, name, certificate }
}

/** A certificate with just what the options say, and key identifiers. */
export function makeCertificate(options: CertificateOptions, signer: TestKeyPair & { name: Buffer }): Buffer {
  const { subject = 'subject', notBefore = Date.now() - minute, notAfter = Date.now() + hour } = options
  const keys = options.keys ?? generateKeys(options.keyKind)
  const signing = options.signing ?? signingOf(signer.privateKey)
  const extensions: Record<string, Buffer | null> = {
    [oids.subjectKeyIdentifier]: extension(oids.subjectKeyIdentifier, false, octetString(keyId(keys))),
    [oids.authorityKeyIdentifier]: extension(
      oids.authorityKeyIdentifier,
      false,
      sequence(element(primitive(0), keyId(signer))),
    ),
    ...options.extensions,
  }
  const list = [...Object.values(extensions).filter(one => one !== null), ...(options.moreExtensions ?? [])]
  const fields = [
    element(constructed(0), integer(2)),
    element(tags.integer, options.serial ?? Buffer.concat([Buffer.of(1), randomBytes(15)])),
    options.innerAlgorithm ?? signing.algorithm,
    nameOf(options.issuer ?? signer.name),
    sequence(time(notBefore), time(notAfter)),
    nameOf(subject),
    keys.publicKeyInfo,
    ...(list.length > 0 ? [element(constructed(3), sequence(...list))] : []),
  ]
  return signCertificate(sequence(...(options.fields?.(fields) ?? fields)), signer.privateKey, signing)
}

export function signCertificate(tbs: Buffer, key: KeyObject, signing = signingOf(key)): Buffer {
  const padded = {
    key,
    padding: constants.RSA_PKCS1_PSS_PADDING,
    saltLength: constants.RSA_PSS_SALTLEN_DIGEST,
  }
  const signature = sign(signing.hash, tbs, signing.isPss ? padded : key)
  return sequence(tbs, signing.algorithm, bitString(signature))
}

export const signings = {
  ecdsaSha1: { hash: 'sha1', algorithm: sequence(oid('1.2.840.10045.4.1')) },
  ecdsaSha256: { hash: 'sha256', algorithm: sequence(oid(oids.ecdsaWithSha256)) },
  ecdsaSha384: { hash: 'sha384', algorithm: sequence(oid(oids.ecdsaWithSha384)) },
  ecdsaSha512: { hash: 'sha512', algorithm: sequence(oid(oids.ecdsaWithSha512)) },
  rsaSha1: { hash: 'sha1', algorithm: sequence(oid('1.2.840.113549.1.1.5'), element(tags.null)) },
  rsaSha256: { hash: 'sha256', algorithm: sequence(oid(oids.sha256WithRSA), element(tags.null)) },
  rsaSha384: { hash: 'sha384', algorithm: sequence(oid(oids.sha384WithRSA), element(tags.null)) },
  rsaSha512: { hash: 'sha512', algorithm: sequence(oid(oids.sha512WithRSA), element(tags.null)) },
  pssSha256: { hash: 'sha256', algorithm: pss(oids.sha256, 32), isPss: true },
  pssSha384: { hash: 'sha384', algorithm: pss(oids.sha384, 48), isPss: true },
  pssSha512: { hash: 'sha512', algorithm: pss(oids.sha512, 64), isPss: true },
  ed25519: { hash: null, algorithm: sequence(oid(oids.ed25519)) },
} satisfies Record<string, Signing>

function pss(hash: string, salt: number): Buffer {
  const digest = sequence(oid(hash), element(tags.null))
  const parameters = sequence(
    element(constructed(0), digest),
    element(constructed(1), sequence(oid(oids.mgf1), digest)),
    element(constructed(2), integer(salt)),
  )
  return sequence(oid(oids.rsaPss), parameters)
}

function signingOf(key: KeyObject): Signing {
  if (key.asymmetricKeyType === 'ed25519') return signings.ed25519
  return key.asymmetricKeyType === 'rsa' ? signings.rsaSha256 : signings.ecdsaSha256
}

export function generateKeys(kind: KeyKind = 'P-256'): TestKeyPair {
  const { privateKey, publicKey } = generatePair(kind)
  if (kind !== 'RSA-e1')
    return { privateKey, publicKeyInfo: publicKey.export({ format: 'der', type: 'spki' }) }
  // No library makes such a key: the exponent is written in the place of another.
  const modulus = Buffer.from(publicKey.export({ format: 'jwk' }).n ?? '', 'base64url')
  const algorithm = sequence(oid(oids.rsaEncryption), element(tags.null))
  return {
    privateKey,
    publicKeyInfo: sequence(algorithm, bitString(sequence(integer(modulus), integer(1)))),
  }
}

function generatePair(kind: KeyKind) {
  if (kind === 'Ed25519') return generateKeyPairSync('ed25519')
  if (kind.startsWith('RSA'))
    return generateKeyPairSync('rsa', { modulusLength: kind === 'RSA-1024' ? 1024 : 2048 })
  return generateKeyPairSync('ec', { namedCurve: kind })
}

/** RFC 5280 §4.2.1.2 (1), near enough. */
const keyId = ({ publicKeyInfo }: TestKeyPair): Buffer => createHash('sha1').update(publicKeyInfo).digest()

const nameOf = (name: string | Buffer): Buffer =>
  typeof name === 'string' ? distinguishedName({ [oids.commonName]: name }) : name

/** A name of attributes by object identifier, one to each relative name; empty ones are left out. */
export const distinguishedName = (attributes: Record<string, string>): Buffer =>
  sequence(
    ...Object.entries(attributes)
      .filter(([, value]) => value !== '')
      .map(([type, value]) => set(sequence(oid(type), utf8String(value)))),
  )

export const extension = (id: string, isCritical: boolean, value: Uint8Array): Buffer =>
  sequence(oid(id), isCritical ? boolean(true) : none, octetString(value))

export const basicConstraints = (ca: boolean, pathLength: number | null = null, isCritical = true): Buffer =>
  extension(
    oids.basicConstraints,
    isCritical,
    sequence(ca ? boolean(true) : none, pathLength === null ? none : integer(pathLength)),
  )

export const keyUsage = (numbers: number[], isCritical = true): Buffer =>
  extension(oids.keyUsage, isCritical, bits(...numbers))

export const extKeyUsage = (purposes: string[], isCritical = false): Buffer =>
  extension(oids.extKeyUsage, isCritical, sequence(...purposes.map(oid)))

export const subjectAltName = (names: Buffer[], isCritical = false): Buffer =>
  extension(oids.subjectAltName, isCritical, sequence(...names))

const ascii = (text: string) => Buffer.from(text, 'latin1')
export const emailName = (text: string): Buffer => element(primitive(1), ascii(text))
export const dnsName = (text: string): Buffer => element(primitive(2), ascii(text))
export const uriName = (text: string): Buffer => element(primitive(6), ascii(text))
/** An address, or address and mask. */
export const ipName = (...bytes: number[]): Buffer => element(primitive(7), Buffer.from(bytes))
export const directoryName = (name: string | Buffer): Buffer => element(constructed(4), nameOf(name))

export const nameConstraints = (
  { permitted = [], excluded = [] }: { permitted?: Buffer[]; excluded?: Buffer[] },
  isCritical = true,
): Buffer => {
  const trees = (n: number, bases: Buffer[]) =>
    bases.length === 0 ? none : element(constructed(n), ...bases.map(base => sequence(base)))
  return extension(oids.nameConstraints, isCritical, sequence(trees(0, permitted), trees(1, excluded)))
}

const pemOf = (key: KeyObject, chain: Buffer[]) => ({
  key: key.export({ format: 'pem', type: 'pkcs8' }).toString(),
  cert: chain.map(der => writePem('CERTIFICATE', der)).join(''),
})
