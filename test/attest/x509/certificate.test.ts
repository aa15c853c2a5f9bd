import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Certificate, readCertificate } from '../../../src/attest/x509/certificate.ts'
import { readSvid, verifySvid } from '../../../src/attest/x509/svid.ts'
import { oids } from '../../../src/der/oids.ts'
import { DerError } from '../../../src/der/read.ts'
import { constructed, primitive, tags } from '../../../src/der/tags.ts'
import {
  bitString,
  boolean,
  element,
  integer,
  none,
  octetString,
  oid,
  sequence,
  set,
} from '../../../src/der/write.ts'
import { HallpassError } from '../../../src/errors.ts'
import {
  basicConstraints,
  type CertificateOptions,
  createX509TrustDomain,
  extension,
  extKeyUsage,
  generateKeys,
  keyUsage,
  makeCertificate,
  nameConstraints,
  signings,
  subjectAltName,
  uriName,
} from '../../support/x509.ts'

const keys = generateKeys()
const signer = {
  ...keys,
  name: sequence(set(sequence(oid(oids.commonName), element(tags.printableString, Buffer.from('X'))))),
}
const make = (options: CertificateOptions = {}) => makeCertificate({ keys, ...options }, signer)
const read = (options?: CertificateOptions): Certificate => readCertificate(make(options))
const refused = (options: CertificateOptions) => expect(() => read(options)).toThrow(DerError)

/** With one field of TBSCertificate in the place of what it was. */
const withField = (place: number, field: Buffer): CertificateOptions => ({
  fields: fields => fields.with(place, field),
})
const onlyExtension = (whole: Buffer): CertificateOptions => ({ moreExtensions: [whole] })
const value = (name: keyof typeof oids, bytes: Buffer) => onlyExtension(extension(oids[name], true, bytes))

describe('a certificate', () => {
  it('is read', () => {
    const notBefore = Date.UTC(2026, 0, 2, 3, 4, 5)
    const notAfter = Date.UTC(2051, 0, 1)
    const certificate = read({
      notBefore,
      notAfter,
      serial: Buffer.of(1, 2, 3),
      moreExtensions: [keyUsage([0, 8])],
    })
    expect(certificate).toMatchObject({ notBefore, notAfter, serial: Buffer.of(1, 2, 3) })
    expect(certificate.publicKey?.asymmetricKeyType).toBe('ec')
    expect([...(certificate.extensions.keyUsage ?? [])]).toEqual([0, 8])
    expect(certificate.extensions.critical).toEqual(new Set([oids.keyUsage]))
  })

  it.each<[string, CertificateOptions]>([
    ['of version 1', withField(0, none as Buffer)],
    ['of version 2', withField(0, element(constructed(0), integer(1)))],
    ['of version 4', withField(0, element(constructed(0), integer(3)))],
    ['with two versions', withField(0, element(constructed(0), integer(2), integer(2)))],
    ['with a serial of 22 bytes', { serial: Buffer.alloc(22, 1) }],
    ['with a serial that is longer than it need be', { serial: Buffer.of(0, 1) }],
    ['with an empty serial', { serial: Buffer.of() }],
    ['with two algorithms', { innerAlgorithm: signings.ecdsaSha512.algorithm }],
    ['with an issuer without name', withField(3, sequence())],
    ['with an empty relative name', withField(5, sequence(set()))],
    [
      'with a name of sequences',
      withField(5, sequence(sequence(sequence(oid(oids.commonName), integer(1))))),
    ],
    [
      'with a name that is no UTF-8',
      withField(5, sequence(set(sequence(oid(oids.commonName), element(tags.utf8String, Buffer.of(0xff)))))),
    ],
    [
      'with more in an attribute than type and value',
      withField(5, sequence(set(sequence(oid(oids.commonName), integer(1), integer(1))))),
    ],
    ['with one time', withField(4, sequence(element(tags.utcTime, Buffer.from('260101000000Z'))))],
    [
      'with a time of a local zone',
      withField(
        4,
        sequence(
          element(tags.utcTime, Buffer.from('2601010000+0100')),
          element(tags.utcTime, Buffer.from('270101000000Z')),
        ),
      ),
    ],
    ['with an empty list of extensions', withField(7, element(constructed(3), sequence()))],
    ['with extensions under another tag', withField(7, element(constructed(4), sequence()))],
    ['with more than there should be', { fields: fields => [...fields, integer(1)] }],
    ['with less than there should be', { fields: fields => fields.slice(0, 6) }],
    [
      'with 65 extensions',
      { moreExtensions: Array.from({ length: 63 }, (_, n) => extension(`1.2.3.${n}`, false, octetString())) },
    ],
    ['with an extension twice', { moreExtensions: [keyUsage([0]), keyUsage([1])] }],
    [
      'with an unknown extension twice',
      { moreExtensions: [extension('1.2.3', false, none), extension('1.2.3', true, none)] },
    ],
    [
      'that spells out that an extension is not critical',
      onlyExtension(sequence(oid('1.2.3'), boolean(false), octetString())),
    ],
    [
      'with an extension that is neither critical nor not',
      onlyExtension(sequence(oid('1.2.3'), element(tags.boolean, Buffer.of(1)), octetString())),
    ],
    ['that spells out that it is no authority', value('basicConstraints', sequence(boolean(false)))],
    [
      'with basic constraints and more',
      value('basicConstraints', sequence(boolean(true), integer(1), integer(1))),
    ],
    [
      'with bytes after an extension’s value',
      value('basicConstraints', Buffer.concat([sequence(), Buffer.of(0)])),
    ],
    [
      'with a negative path length',
      value('basicConstraints', sequence(boolean(true), element(tags.integer, Buffer.of(0xff)))),
    ],
    ['whose key is for nothing', value('keyUsage', bitString())],
    ['whose key usage has trailing zeros', value('keyUsage', element(tags.bitString, Buffer.of(0, 0x80)))],
    ['whose extended key usage is empty', value('extKeyUsage', sequence())],
    ['without alternative names in their list', value('subjectAltName', sequence())],
    ['with a name of no known form', value('subjectAltName', sequence(element(primitive(9), Buffer.of(1))))],
    ['with a URI that is no ASCII', value('subjectAltName', sequence(uriName('spiffe://é/a')))],
    ['with a line break in a URI', value('subjectAltName', sequence(uriName('spiffe://a/b\n')))],
    [
      'with an address of five bytes',
      value('subjectAltName', sequence(element(primitive(7), Buffer.alloc(5)))),
    ],
    [
      'with 257 names',
      value('subjectAltName', sequence(...Array.from({ length: 129 }, () => uriName('a:b')))),
    ],
    ['with empty constraints of names', value('nameConstraints', sequence())],
    ['with an empty list of permitted names', value('nameConstraints', sequence(element(constructed(0))))],
    [
      'with the minimum of a constraint',
      value(
        'nameConstraints',
        sequence(element(constructed(0), sequence(uriName('a'), element(primitive(0), Buffer.of(0))))),
      ),
    ],
    [
      'with a constraint on an address without mask',
      value(
        'nameConstraints',
        sequence(element(constructed(0), sequence(element(primitive(7), Buffer.alloc(4))))),
      ),
    ],
    ['with an empty list of policies', value('certificatePolicies', sequence())],
    [
      'with a policy twice',
      value('certificatePolicies', sequence(sequence(oid('1.2.3')), sequence(oid('1.2.3')))),
    ],
    ['with empty mappings', value('policyMappings', sequence())],
    ['with half a mapping', value('policyMappings', sequence(sequence(oid('1.2.3'))))],
    ['with empty constraints of policies', value('policyConstraints', sequence())],
    [
      'that may skip a negative number of certificates',
      value('inhibitAnyPolicy', element(tags.integer, Buffer.of(0x80))),
    ],
  ])('is not read %s', (_, options) => refused(options))

  it('is not read in BER, nor with anything after it', () => {
    const der = make()
    const body = readCertificate(der).tbs
    expect(() => readCertificate(Buffer.concat([der, Buffer.of(0x05, 0x00)]))).toThrow(DerError)
    const content = der.subarray(4)
    expect(() => readCertificate(Buffer.concat([Buffer.of(0x30, 0x80), content, Buffer.of(0, 0)]))).toThrow(
      DerError,
    )
    expect(() =>
      readCertificate(
        Buffer.concat([Buffer.of(0x30, 0x83, 0, content.length >> 8, content.length & 255), content]),
      ),
    ).toThrow(DerError)
    expect(() =>
      readCertificate(
        sequence(body, signings.ecdsaSha256.algorithm, element(tags.bitString, Buffer.of(1, 2))),
      ),
    ).toThrow(DerError)
    expect(() => readCertificate(Buffer.alloc(70_000))).toThrow(DerError)
  })

  it('is read with unique identifiers, which say nothing', () => {
    const id = (n: number) => element(primitive(n), Buffer.of(0, 1))
    expect(read({ fields: fields => [...fields.slice(0, 7), id(1), id(2), ...fields.slice(7)] })).toBeTruthy()
    refused({ fields: fields => [...fields.slice(0, 7), id(2), id(1), ...fields.slice(7)] })
  })

  it('is read without extensions', () => {
    const { extensions } = read({ fields: fields => fields.slice(0, 7) })
    expect(extensions).toMatchObject({
      basicConstraints: null,
      subjectAltName: null,
      hasUnknownCritical: false,
    })
  })

  it.each<[string, Buffer]>([
    [
      'an explicit curve',
      sequence(sequence(oid(oids.ecPublicKey), sequence(integer(1))), bitString(Buffer.alloc(65, 4))),
    ],
    [
      'a point off its curve',
      sequence(
        sequence(oid(oids.ecPublicKey), oid(oids.prime256v1)),
        bitString(Buffer.of(4), Buffer.alloc(64, 1)),
      ),
    ],
    [
      'the curve secp256k1',
      sequence(sequence(oid(oids.ecPublicKey), oid('1.3.132.0.10')), bitString(Buffer.alloc(65, 4))),
    ],
    [
      'RSA without parameters',
      sequence(sequence(oid(oids.rsaEncryption)), bitString(sequence(integer(3), integer(3)))),
    ],
    ['a DSA key', sequence(sequence(oid('1.2.840.10040.4.1')), bitString(integer(3)))],
    ['1,024 bits of RSA', generateKeys('RSA-1024').publicKeyInfo],
    ['the exponent 1', generateKeys('RSA-e1').publicKeyInfo],
    ['an Ed25519 key of 31 bytes', sequence(sequence(oid(oids.ed25519)), bitString(Buffer.alloc(31)))],
  ])('has no key that is accepted, with %s', (_, publicKeyInfo) => {
    expect(read({ keys: { ...keys, publicKeyInfo } }).publicKey).toBeNull()
  })

  it.each<[string, KeyObject]>([
    ['secp256k1', generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).publicKey],
    ['P-224', generateKeyPairSync('ec', { namedCurve: 'P-224' }).publicKey],
    [
      'P-256 by its parameters',
      generateKeyPairSync('ec', { namedCurve: 'P-256', paramEncoding: 'explicit' }).publicKey,
    ],
    ['Ed448', generateKeyPairSync('ed448').publicKey],
    ['X25519', generateKeyPairSync('x25519').publicKey],
    ['DSA', generateKeyPairSync('dsa', { modulusLength: 2048, divisorLength: 256 }).publicKey],
    ['RSA for PSS alone', generateKeyPairSync('rsa-pss', { modulusLength: 2048 }).publicKey],
  ])('has no key that is accepted, good as it may be: %s', (_, key) => {
    const publicKeyInfo = key.export({ format: 'der', type: 'spki' })
    expect(read({ keys: { ...keys, publicKeyInfo } }).publicKey).toBeNull()
  })
})

describe('names', () => {
  const name = (tag: number, text: Buffer, type: string = oids.commonName) =>
    sequence(set(sequence(oid(type), element(tag, text))))
  const rdns = (subject: Buffer) => read({ subject }).subject.rdns

  it.each([
    ['case', tags.utf8String, Buffer.from('ACME corp')],
    ['blanks', tags.utf8String, Buffer.from('  Acme \t Corp ')],
    ['the string type', tags.printableString, Buffer.from('Acme Corp')],
    ['two bytes a character', tags.bmpString, Buffer.from('Acme Corp', 'utf16le').swap16()],
    ['compatible forms', tags.utf8String, Buffer.from('Ａcme Corp')],
  ])('are the same whatever %s', (_, tag, text) => {
    expect(rdns(name(tag, text))).toEqual(rdns(name(tags.utf8String, Buffer.from('Acme Corp'))))
  })

  it('differ in their types, values, order and number', () => {
    const a = sequence(oid(oids.commonName), element(tags.utf8String, Buffer.from('a')))
    const b = sequence(oid(oids.organizationName), element(tags.utf8String, Buffer.from('b')))
    const all = [
      sequence(set(a)),
      sequence(set(a), set(b)),
      sequence(set(b), set(a)),
      sequence(set(a, b)),
      name(tags.utf8String, Buffer.from('a'), oids.organizationName),
      name(tags.utf8String, Buffer.from('a","b')),
      name(tags.integer, Buffer.from('a')),
    ]
    expect(new Set(all.map(subject => JSON.stringify(rdns(subject)))).size).toBe(all.length)
    expect(rdns(sequence(set(a, b)))).toEqual(rdns(sequence(set(b, a))))
  })
})

describe('whatever is presented', () => {
  const domain = createX509TrustDomain('prod.example')
  const intermediate = domain.intermediate({
    extensions: { [oids.nameConstraints]: nameConstraints({ permitted: [uriName('prod.example')] }) },
  })
  const anchors = domain.roots.map(({ certificate }) => readCertificate(certificate))
  const { chain } = domain.svid('/ci', {
    signer: intermediate,
    extensions: {
      [oids.basicConstraints]: basicConstraints(false),
      [oids.extKeyUsage]: extKeyUsage([oids.clientAuth]),
      [oids.subjectAltName]: subjectAltName([uriName('spiffe://prod.example/ci')]),
    },
  })
  const tbs = chain.map(der => readCertificate(der).tbs)

  /** Whether the chain is accepted; fails on anything but a refusal. */
  function isAccepted(presented: Buffer[]): boolean {
    try {
      return verifySvid(readSvid(presented), anchors, Date.now(), 0) !== null
    } catch (error) {
      if (!(error instanceof HallpassError) || error.code !== 'attestation_invalid') throw error
      return false
    }
  }

  it('is accepted when nothing is changed', () => {
    expect(isAccepted(chain)).toBe(true)
  })

  it('is refused, and nothing else, when a byte of what is signed changes', () => {
    const place = fc
      .integer({ min: 0, max: 1 })
      .chain(which =>
        fc.tuple(
          fc.constant(which),
          fc.integer({ min: 0, max: tbs[which]!.length - 1 }),
          fc.integer({ min: 1, max: 255 }),
        ),
      )
    fc.assert(
      fc.property(place, ([which, at, flip]) => {
        const changed = chain.map(der => Buffer.from(der))
        const start = chain[which]!.indexOf(tbs[which]!)
        changed[which]![start + at]! ^= flip
        expect(isAccepted(changed)).toBe(false)
      }),
      { numRuns: 3_000 },
    )
  })

  it('is refused, or still the same that was signed, when bytes anywhere are changed, cut out or put in', () => {
    const edit = fc.record({
      which: fc.integer({ min: 0, max: 1 }),
      at: fc.nat(2_000),
      cut: fc.nat(8),
      put: fc.uint8Array({ maxLength: 8 }),
    })
    fc.assert(
      fc.property(fc.array(edit, { minLength: 1, maxLength: 3 }), edits => {
        const changed = [...chain]
        for (const { which, at, cut, put } of edits) {
          const der = changed[which]!
          const from = at % der.length
          changed[which] = Buffer.concat([der.subarray(0, from), put, der.subarray(from + cut)])
        }
        if (isAccepted(changed)) expect(changed.map(der => readCertificate(der).tbs)).toEqual(tbs)
      }),
      { numRuns: 3_000 },
    )
  })

  it('is refused when it is any bytes', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 400 }), { maxLength: 4 }), presented => {
        expect(isAccepted(presented.map(bytes => Buffer.from(bytes)))).toBe(false)
      }),
    )
  })
})
