import { generateKeyPairSync, sign } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { oids } from '../../../src/der/oids.ts'
import { tags } from '../../../src/der/tags.ts'
import {
  bitString,
  bits,
  boolean,
  element,
  integer,
  octetString,
  oid,
  printableString,
  sequence,
  set,
  utf8String,
} from '../../../src/der/write.ts'
import type { Csr } from '../../../src/mint/x509/csr.ts'
import { readCsr } from '../../../src/mint/x509/csr.ts'
import {
  attribute,
  type CsrParts,
  csrOf,
  derOf,
  extension,
  extensionRequest,
  infoOf,
  nameOf,
  outcome,
  partsOf,
  pemOf,
  spkiOf,
} from './csr-of.ts'
import { nodesOf, treeOf, tricks, written } from './der-tree.ts'

const keys = {
  'P-256': generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  'P-384': generateKeyPairSync('ec', { namedCurve: 'P-384' }),
  Ed25519: generateKeyPairSync('ed25519'),
  'RSA-2048': generateKeyPairSync('rsa', { modulusLength: 2048 }),
}
const { privateKey } = keys['P-256']
const spki = spkiOf(keys['P-256'].publicKey)
const csr = (parts: Partial<CsrParts> = {}): string => csrOf({ privateKey, spki, ...parts })
const asksFor = (parts: Partial<CsrParts>) => (outcome(csr(parts)) as Csr).asksFor
const ecdsa = (name: string) => sequence(oid(name))
const rsa = (name: string, ...parameters: Buffer[]) => sequence(oid(name), ...parameters)
const noParameters = element(tags.null)
const challengePassword = '1.2.840.113549.1.9.7'
/** 2.5.4 and a number of 4,000 digits. */
const longOid = element(tags.oid, Buffer.of(0x55, 4), Buffer.alloc(2_000, 0xff), Buffer.of(1))
const nested = (times: number): Buffer => (times === 0 ? sequence() : sequence(nested(times - 1)))

describe('a CSR gives its key', () => {
  test.each(Object.entries(keys))('of %s, and its SPKI byte for byte', (name, { privateKey, publicKey }) => {
    const read = readCsr(csrOf({ privateKey, spki: spkiOf(publicKey) }))
    expect(read.key).toBe(name)
    expect(read.spki).toEqual(spkiOf(publicKey))
    expect(read.publicKey.equals(publicKey)).toBe(true)
    expect(read.asksFor).toEqual([])
  })

  test.each([
    ['P-256', ecdsa(oids.ecdsaWithSha384), 'sha384'],
    ['P-256', ecdsa(oids.ecdsaWithSha512), 'sha512'],
    ['P-384', ecdsa(oids.ecdsaWithSha256), 'sha256'],
    ['RSA-2048', rsa(oids.sha256WithRSA), 'sha256'],
    ['RSA-2048', rsa(oids.sha384WithRSA, noParameters), 'sha384'],
    ['RSA-2048', rsa(oids.sha384WithRSA), 'sha384'],
    ['RSA-2048', rsa(oids.sha512WithRSA, noParameters), 'sha512'],
    ['RSA-2048', rsa(oids.sha512WithRSA), 'sha512'],
  ] as const)('of %s, signed in each way that is accepted', (name, algorithm, hash) => {
    const { privateKey, publicKey } = keys[name]
    expect(outcome(csrOf({ privateKey, spki: spkiOf(publicKey), algorithm, hash }))).toMatchObject({
      key: name,
    })
  })

  test('whichever of its two labels the PEM has, and however its lines end', () => {
    expect(outcome(csr({ label: 'NEW CERTIFICATE REQUEST' }))).toMatchObject({ key: 'P-256' })
    expect(outcome(csr().replaceAll('\n', '\r\n'))).toMatchObject({ key: 'P-256' })
    expect(outcome(csr().trim())).toMatchObject({ key: 'P-256' })
  })

  test('and keeps nothing of the request', () => {
    const read = readCsr(csr({ subject: nameOf('whoever') }))
    expect(read.spki.buffer.byteLength === read.spki.length || !read.spki.includes('whoever')).toBe(true)
    expect(Object.keys(read).sort()).toEqual(['asksFor', 'key', 'publicKey', 'spki'])
  })
})

describe('what it asks for beyond its key is named for the log, and ignored', () => {
  test('nothing', () => {
    expect(asksFor({})).toEqual([])
  })

  test('a subject', () => {
    expect(asksFor({ subject: nameOf('x') })).toEqual(['subject'])
  })

  test('extensions, by name where that matters, else by number', () => {
    expect(
      asksFor({
        attributes: [
          extensionRequest(
            extension(oids.basicConstraints, sequence(boolean(true), integer(3)), true),
            extension(oids.subjectAltName, sequence(element(0x82, Buffer.from('bank.example')))),
            extension(oids.keyUsage, bits(0, 5), true),
            extension(oids.extKeyUsage, sequence(oid(oids.serverAuth))),
            extension('1.3.6.1.4.1.32473.4201.1', Buffer.from('no DER at all')),
          ),
        ],
      }),
    ).toEqual([
      'basicConstraints CA:TRUE',
      'subjectAltName',
      'keyUsage',
      'extKeyUsage',
      '1.3.6.1.4.1.32473.4201.1',
    ])
  })

  test('to be no authority', () => {
    expect(asksFor({ attributes: [extensionRequest(extension(oids.basicConstraints, sequence()))] })).toEqual(
      ['basicConstraints'],
    )
  })

  test('other attributes, in whatever order the set of them came', () => {
    const password = attribute(challengePassword, utf8String('secret'))
    const request = extensionRequest(extension(oids.keyUsage, bits(0)))
    expect(asksFor({ attributes: [password, request] })).toEqual([challengePassword, 'keyUsage'])
    expect(asksFor({ attributes: [request, password] })).toEqual(['keyUsage', challengePassword])
  })

  test('once each', () => {
    const same = extension(oids.keyUsage, bits(0))
    expect(asksFor({ attributes: [extensionRequest(same, same)] })).toEqual(['keyUsage'])
  })

  test('by numbers that cannot be long', () => {
    const longest = `2.47${'.127'.repeat(39)}`
    expect(asksFor({ attributes: [attribute(longest, integer(1))] })).toEqual([longest])
    expect(longest.length).toBeLessThanOrEqual(170)
    expect(outcome(csr({ attributes: [attribute(`${longest}.1`, integer(1))] }))).toBe('encoding')
  })

  test('up to 8 attributes and 32 extensions', () => {
    const extensions = Array.from({ length: 32 }, (_, n) => extension(`1.2.3.${n}`, Buffer.of(n)))
    const others = Array.from({ length: 8 }, (_, n) => attribute(`1.2.4.${n}`, integer(n)))
    const most = [extensionRequest(...extensions), ...others.slice(1)]
    expect(asksFor({ subject: nameOf('x'), attributes: most })).toHaveLength(40)
    const more = [...extensions, extension('1.2.5', Buffer.of(1))]
    expect(outcome(csr({ attributes: [extensionRequest(...more)] }))).toBe('too-many-extensions')
    expect(outcome(csr({ attributes: [...others, attribute('1.2.5', integer(1))] }))).toBe(
      'too-many-attributes',
    )
  })
})

describe('a CSR is refused', () => {
  test('when it is signed by another key', () => {
    const other = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    expect(outcome(csr({ privateKey: other.privateKey }))).toBe('signature-invalid')
  })

  test('when it is signed in another way than it says', () => {
    expect(outcome(csr({ hash: 'sha384' }))).toBe('signature-invalid')
    expect(outcome(csr({ algorithm: ecdsa(oids.ecdsaWithSha512) }))).toBe('signature-invalid')
  })

  test.each([
    ['of another kind of key', 'P-256', rsa(oids.sha256WithRSA, noParameters), 'sha256'],
    ['of another kind of key', 'P-256', sequence(oid(oids.ed25519)), 'sha256'],
    ['of another kind of key', 'RSA-2048', ecdsa(oids.ecdsaWithSha256), 'sha256'],
    ['of another kind of key', 'Ed25519', ecdsa(oids.ecdsaWithSha256), null],
    ['ECDSA with SHA-1', 'P-256', ecdsa('1.2.840.10045.4.1'), 'sha1'],
    ['RSA with SHA-1', 'RSA-2048', rsa('1.2.840.113549.1.1.5', noParameters), 'sha1'],
    ['RSA with MD5', 'RSA-2048', rsa('1.2.840.113549.1.1.4', noParameters), 'md5'],
    ['RSASSA-PSS', 'RSA-2048', rsa('1.2.840.113549.1.1.10', sequence()), 'sha256'],
    ['only a digest', 'P-256', sequence(oid(oids.sha256)), 'sha256'],
    ['ECDSA with parameters', 'P-256', rsa(oids.ecdsaWithSha256, noParameters), 'sha256'],
    ['Ed25519 with parameters', 'Ed25519', rsa(oids.ed25519, noParameters), null],
    ['RSA with other parameters', 'RSA-2048', rsa(oids.sha256WithRSA, sequence()), 'sha256'],
    ['RSA with parameters twice', 'RSA-2048', rsa(oids.sha256WithRSA, noParameters, noParameters), 'sha256'],
    ['nothing', 'P-256', sequence(), 'sha256'],
  ] as const)('when its signature algorithm is %s (%s)', (_, name, algorithm, hash) => {
    const { privateKey, publicKey } = keys[name]
    expect(outcome(csrOf({ privateKey, spki: spkiOf(publicKey), algorithm, hash }))).toBe(
      'signature-algorithm',
    )
  })

  test('when its signature has a byte more, inside or outside', () => {
    const { info, algorithm, signature } = partsOf(derOf(csr()))
    const ecdsaSignature = signature.subarray(3)
    for (const tampered of [
      bitString(ecdsaSignature, Buffer.of(0)),
      bitString(element(tags.sequence, ecdsaSignature.subarray(2), Buffer.of(0))),
      bitString(element(tags.sequence, ecdsaSignature.subarray(2), integer(0))),
      bitString(),
      bitString(ecdsaSignature.subarray(0, -1)),
      bitString(sequence(integer(0), integer(0))),
      bitString(sequence(integer(1), integer(1))),
    ])
      expect(outcome(pemOf(sequence(info, algorithm, tampered)))).toBe('signature-invalid')
  })

  test('when the signature is not in whole bytes', () => {
    const { info, algorithm, signature } = partsOf(derOf(csr()))
    const uneven = element(tags.bitString, Buffer.of(1), signature.subarray(3))
    expect(outcome(pemOf(sequence(info, algorithm, uneven)))).toBe('encoding')
  })

  test('when its version is not 0', () => {
    expect(outcome(csr({ version: integer(1) }))).toBe('version')
    expect(outcome(csr({ version: integer(128) }))).toBe('version')
    expect(outcome(csr({ version: integer(256) }))).toBe('version')
    expect(outcome(csr({ version: element(tags.integer, Buffer.of(0xff)) }))).toBe('version')
    expect(outcome(csr({ version: element(tags.integer, Buffer.of(0, 0)) }))).toBe('encoding')
    expect(outcome(csr({ version: element(tags.integer) }))).toBe('encoding')
    expect(outcome(csr({ version: element(0xa0, integer(0)) }))).toBe('encoding')
  })

  test('when an attribute is there twice', () => {
    const twice = [
      extensionRequest(extension('1.2.3', Buffer.of(1))),
      extensionRequest(extension('1.2.4', Buffer.of(1))),
    ]
    expect(outcome(csr({ attributes: twice }))).toBe('encoding')
    expect(outcome(csr({ attributes: twice.slice(1) }))).toMatchObject({ asksFor: ['1.2.4'] })
  })

  test('without attributes: an empty set of them is something else', () => {
    const info = sequence(integer(0), sequence(), spki)
    const { algorithm } = partsOf(derOf(csr()))
    expect(outcome(pemOf(sequence(info, algorithm, bitString(sign('sha256', info, privateKey)))))).toBe(
      'encoding',
    )
  })

  test.each([
    ['a set', set()],
    ['a string', utf8String('CN=x')],
    ['a sequence of sequences', sequence(sequence(sequence(oid(oids.commonName), utf8String('x'))))],
    ['an empty set', sequence(set())],
    ['a type without a value', sequence(set(sequence(oid(oids.commonName))))],
    ['two values', sequence(set(sequence(oid(oids.commonName), utf8String('x'), utf8String('y'))))],
    ['a value in pieces', sequence(set(sequence(oid(oids.commonName), element(0x2c, utf8String('x')))))],
    ['a type that is a string', sequence(set(sequence(printableString('CN'), utf8String('x'))))],
    ['a type of an endless number', sequence(set(sequence(longOid, utf8String('x'))))],
  ])('when its subject is no Name: %s', (_, subject) => {
    expect(outcome(csr({ subject }))).toBe('encoding')
  })

  test.each([
    ['no sequence', set(oid(challengePassword))],
    ['without values', attribute(challengePassword)],
    ['with a value cut off', attribute(challengePassword, Buffer.of(0x0c, 2, 0x61))],
    ['with a value of indefinite length', attribute(challengePassword, Buffer.of(0x30, 0x80, 0, 0))],
    ['with one deep inside', attribute(challengePassword, sequence(sequence(Buffer.of(0x30, 0x80, 0, 0))))],
    ['with a string in pieces', attribute(challengePassword, element(0x2c, utf8String('x')))],
    ['with an integer too long', attribute(challengePassword, element(tags.integer, Buffer.of(0, 1)))],
    ['with a boolean of 1', attribute(challengePassword, element(tags.boolean, Buffer.of(1)))],
    ['nested a thousand times', attribute(challengePassword, nested(1_000))],
    ['with more behind the values', sequence(oid(challengePassword), set(integer(1)), integer(1))],
    ['of an endless number', sequence(longOid, set(integer(1)))],
    ['an extensionRequest without one', attribute(oids.extensionRequest)],
    ['an extensionRequest with two', attribute(oids.extensionRequest, sequence(), sequence())],
    ['an extensionRequest of a string', attribute(oids.extensionRequest, octetString(Buffer.of(1)))],
  ])('when an attribute is %s', (_, wrong) => {
    expect(outcome(csr({ attributes: [wrong] }))).toBe('encoding')
  })

  test.each([
    ['a default written out', sequence(oid(oids.keyUsage), boolean(false), octetString(bits(0)))],
    [
      'a boolean of 1',
      sequence(oid(oids.keyUsage), element(tags.boolean, Buffer.of(1)), octetString(bits(0))),
    ],
    ['no value', sequence(oid(oids.keyUsage))],
    ['more behind the value', sequence(oid(oids.keyUsage), octetString(bits(0)), octetString(bits(0)))],
    ['a value in pieces', sequence(oid(oids.keyUsage), element(0x24, octetString(bits(0))))],
    ['a type of an endless number', sequence(longOid, octetString(bits(0)))],
    ['no sequence', set(oid(oids.keyUsage), octetString(bits(0)))],
    ['a CA that is neither true nor false', extension(oids.basicConstraints, sequence(Buffer.of(1, 1, 1)))],
    [
      'a path length longer than it need be',
      extension(oids.basicConstraints, sequence(boolean(true), element(tags.integer, Buffer.of(0, 1)))),
    ],
    ['basicConstraints with more behind', extension(oids.basicConstraints, Buffer.of(0x30, 0, 0))],
  ])('when an extension has %s', (_, wrong) => {
    expect(outcome(csr({ attributes: [extensionRequest(wrong)] }))).toBe('encoding')
  })

  test.each([
    ['nothing', ''],
    ['no PEM', 'hello'],
    ['DER', derOf(csr()).toString('latin1')],
    ['base64 alone', derOf(csr()).toString('base64')],
    ['two requests', csr() + csr()],
    ['text before it', `Certificate Request:\n${csr()}`],
    ['text behind it', `${csr()}hello`],
    ['base64 of something more', csr().replace(/=*\n-----END/, '====\n-----END')],
    ['a line that is none of base64', csr().replace('\n-----END', '\n!!!!\n-----END')],
  ])('when it is %s', (_, text) => {
    expect(outcome(text)).toBe('encoding')
  })

  test.each([
    ['CERTIFICATE'],
    ['PUBLIC KEY'],
    ['PRIVATE KEY'],
    ['X509 CRL'],
    ['TRUSTED CERTIFICATE REQUEST'],
  ])('when its label is %s', label => {
    expect(outcome(csr({ label }))).toBe('no-pem')
  })

  test('when it is larger than 16 KiB, with 10,000 extensions or of a megabyte, and at once', () => {
    const extensions = Array.from({ length: 10_000 }, (_, n) => extension(`1.2.3.${n}`, Buffer.of(1)))
    const many = csr({ attributes: [extensionRequest(...extensions)] })
    const large = csr({ attributes: [attribute(challengePassword, octetString(Buffer.alloc(2 ** 20)))] })
    const started = performance.now()
    expect(outcome(many)).toBe('too-large')
    expect(outcome(large)).toBe('too-large')
    expect(outcome('-----BEGIN '.repeat(100_000))).toBe('too-large')
    expect(performance.now() - started).toBeLessThan(100)
    const largest = csr().padEnd(16 * 1024, '\n')
    expect(outcome(largest)).toMatchObject({ key: 'P-256' })
    expect(outcome(`${largest}\n`)).toBe('too-large')
  })

  test('when bytes follow it inside the PEM', () => {
    expect(outcome(pemOf(Buffer.concat([derOf(csr()), Buffer.of(0)])))).toBe('encoding')
  })

  test('when its key is no key', () => {
    expect(outcome(csr({ spki: sequence() }))).toBe('encoding')
    expect(outcome(csr({ spki: sequence(integer(1), bitString()) }))).toBe('encoding')
  })

  test('with a reason that is safe to show, and one for the log', () => {
    const spki = Buffer.from(infoOf({ spki: sequence() }))
    expect(() => readCsr(csr({ spki }))).toThrow(
      expect.objectContaining({
        code: 'malformed',
        message: 'The CSR is refused: an element is missing, or another one is in its place.',
        cause: new Error('encoding'),
      }),
    )
  })
})

describe('everything but DER is refused, at every place, though it be signed', () => {
  const good = {
    subject: nameOf('x'),
    attributes: [
      extensionRequest(extension(oids.basicConstraints, sequence(boolean(true), integer(1)), true)),
    ],
  }
  const tree = treeOf(derOf(csr(good)))
  const [info, algorithm, signature] = tree.children ?? []
  if (!info || !algorithm || !signature) throw new Error('it has three parts')

  test.each(Object.entries(tricks))('%s', (_, trick) => {
    let tried = 0
    for (const target of nodesOf(tree)) {
      let wasTried = false
      const write = (part: typeof tree) =>
        written(part, target, (tag, content) => {
          const tricked = trick(tag, content)
          wasTried ||= tricked !== null
          return tricked ?? element(tag, content)
        })
      const toBeSigned = write(info)
      const signed = target === signature ? signature.content : sign('sha256', toBeSigned, privateKey)
      const last = written({ ...signature, content: Buffer.concat([Buffer.of(0), signed]) }, null, () =>
        Buffer.alloc(0),
      )
      const der =
        target === tree || target === signature ? write(tree) : sequence(toBeSigned, write(algorithm), last)
      if (!wasTried) {
        expect(outcome(pemOf(der))).toMatchObject({ key: 'P-256' })
        continue
      }
      tried += 1
      expect(outcome(pemOf(der)), der.toString('hex')).toBeTypeOf('string')
    }
    expect(tried).toBeGreaterThan(0)
  })
})
