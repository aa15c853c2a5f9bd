import { randomUUID } from 'node:crypto'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { oids } from '../../src/der/oids.ts'
import * as other from '../../src/der/read.ts'
import { tags } from '../../src/der/tags.ts'
import { boolean, element, integer, oid, sequence } from '../../src/der/write.ts'
import { findAuthorities } from '../../src/verifier/authority-paths.ts'
import { readCertificate } from '../../src/verifier/certificate.ts'
import { readCrl } from '../../src/verifier/crl.ts'
import * as der from '../../src/verifier/der.ts'
import { bytesOf, readPem } from '../../src/verifier/pem.ts'
import { VerifierRefusal } from '../../src/verifier/refusal.ts'
import { readRevoked } from '../../src/verifier/revoked-certificates.ts'
import { readTaskFields } from '../../src/verifier/task-extension.ts'
import { entryOf, extension, newCrl, type Signer, taskValue } from './certificate-maker.ts'
import { type Followed, startFollowed } from './verifiers.ts'

let followed: Followed
let authority: Signer
beforeAll(async () => {
  followed = await startFollowed()
  authority = await followed.broker.withAuthority()
})
afterAll(() => followed.close())

interface Change {
  at: number
  byte: number
  how: string
}

/** Changes of some bytes: set, removed, put in, or the rest cut off. */
const change = fc.record({
  at: fc.nat(0xffff),
  byte: fc.oneof(fc.nat(255), fc.constantFrom(0, 0x02, 0x30, 0x7f, 0x80, 0x81, 0x84, 0xa0, 0xa3, 0xff)),
  how: fc.constantFrom('set', 'set', 'set', 'remove', 'insert', 'cut'),
})
const changes = fc.array(change, { minLength: 1, maxLength: 4 })
function changed(original: Buffer, list: Change[]): Buffer {
  let bytes = Buffer.from(original)
  for (const { at, byte, how } of list) {
    const place = at % (bytes.length || 1)
    if (how === 'set') bytes[place] = byte
    else if (how === 'cut') bytes = bytes.subarray(0, place)
    else
      bytes = Buffer.concat([
        bytes.subarray(0, place),
        ...(how === 'insert' ? [Buffer.of(byte)] : []),
        bytes.subarray(how === 'insert' ? place : place + 1),
      ])
  }
  return bytes
}

/** What it gives, or null where it throws what it may. */
function outcome<T>(read: () => T, fault: new (...of: never[]) => Error): T | null {
  try {
    return read()
  } catch (error) {
    if (error instanceof fault) return null
    throw error
  }
}

async function code(certificate: Uint8Array): Promise<string | null> {
  const error = await followed.verifier.verifyCertificate(certificate).then(
    () => null,
    error => error,
  )
  if (error === null) return null
  expect(error).toBeInstanceOf(VerifierRefusal)
  return error.code
}

describe('whatever the bytes are', () => {
  test('a certificate is read, or refused, and never taken unless nothing was changed', async () => {
    const leaf = followed.broker.certificate({ task: { path: [{ id: randomUUID(), ver: 3 }] } })
    await fc.assert(
      fc.asyncProperty(changes, async list => {
        const bytes = changed(leaf.der, list)
        expect((await code(bytes)) === null).toBe(bytes.equals(leaf.der))
      }),
      { numRuns: 3000 },
    )
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), async bytes => {
        expect(await code(bytes)).toBe('certificate_malformed')
      }),
      { numRuns: 500 },
    )
  })

  test('not one bit of it can be another', async () => {
    const { der } = followed.broker.certificate()
    for (let bit = 0; bit < der.length * 8; bit++) {
      const bytes = Buffer.from(der)
      bytes[bit >> 3] = (bytes[bit >> 3] as number) ^ (1 << (bit & 7))
      expect(await code(bytes), `bit ${bit}`).not.toBeNull()
    }
  })

  test('a task’s fields are read, or refused', () => {
    const value = taskValue({ path: [{ id: randomUUID(), ver: 300 }] })
    fc.assert(
      fc.property(changes, list => void outcome(() => readTaskFields(changed(value, list)), der.DerError)),
      { numRuns: 5000 },
    )
  })

  test('published authorities are found, or not, and none is that was changed', async () => {
    const certificates = followed.broker.published.map(({ certificate }) => certificate)
    await fc.assert(
      fc.asyncProperty(fc.nat(1), changes, async (which, list) => {
        const spoilt = certificates.map((one, at) => (at === which ? changed(one, list) : one))
        const read = spoilt.flatMap(one => outcome(() => readCertificate(one), der.DerError) ?? [])
        const found = await findAuthorities(read)
        expect(found.length).toBe(spoilt.every((one, at) => one.equals(certificates[at] as Buffer)) ? 1 : 0)
      }),
      { numRuns: 1500 },
    )
  })

  test('a revocation list is read, or refused, and never taken unless nothing was changed', async () => {
    const certificates = followed.broker.published.map(({ certificate }) => readCertificate(certificate))
    const [by] = await findAuthorities(certificates)
    if (!by) throw new Error('there is no authority')
    const entries = [{ serial: Buffer.alloc(16, 7), reason: 6 }, { serial: Buffer.alloc(20, 9) }]
    const crl = newCrl({ by: authority, thisUpdate: Date.now(), entries })
    await fc.assert(
      fc.asyncProperty(changes, async list => {
        const bytes = changed(crl, list)
        const read = await readCrl(bytes, by, 'x').catch(error => error)
        if (!bytes.equals(crl)) expect(read).toBeInstanceOf(VerifierRefusal)
      }),
      { numRuns: 2000 },
    )
  })

  test('an entry is read as the slow and thorough would read it', async () => {
    const serial = fc.uint8Array({ minLength: 1, maxLength: 22 }).map(bytes => Buffer.from(bytes))
    const reason = fc.option(fc.constantFrom(0, 1, 6, 8, 127), { nil: undefined })
    const one = fc
      .tuple(serial, reason)
      .map(([serial, reason]) =>
        entryOf({ serial, ...(reason !== undefined && { reason }) }, 1_700_000_000_000),
      )
    const list = fc.array(one, { minLength: 1, maxLength: 4 }).map(all => Buffer.concat(all))
    await fc.assert(
      fc.asyncProperty(list, fc.array(change, { maxLength: 2 }), async (bytes, some) => {
        const content = changed(bytes, some)
        const expected = outcome(() => thorough(content), Error)
        const read = await readRevoked({ tag: tags.sequence, content, bytes: content }).catch(error => {
          expect(error).toBeInstanceOf(der.DerError)
          return null
        })
        // Of a usual entry's time only the length is looked at: it says nothing of whether the certificate lives.
        if (read === null) expect(expected).toBeNull()
        else if (expected !== null) {
          expect(read.size).toBe(expected.size)
          for (const [digits, state] of expected) expect(read.find(Buffer.from(digits, 'hex'))).toBe(state)
        } else expect(thoroughButForTimes(content)).toBe(true)
      }),
      { numRuns: 5000 },
    )
  })
})

/** By the other reader. */
function thorough(
  content: Buffer,
  timeOf: (time: other.Element) => void = other.timeOf,
): Map<string, string> {
  const found = new Map<string, string>()
  if (content.length === 0) throw new Error('empty')
  const all = other.inside({ tag: tags.sequence, content, bytes: content })
  while (!all.isAtEnd()) {
    const fields = other.inside(all.take(tags.sequence))
    const value = other.integerOf(fields.take(tags.integer))
    const digits = value.toString(16)
    const even = digits.length % 2 ? `0${digits}` : digits
    if (value <= 0n || even.length > 40 || found.has(even)) throw new Error('serial')
    timeOf(fields.any())
    let state = 'revoked'
    if (!fields.isAtEnd()) {
      const seen = new Set<string>()
      const list = other.listIn(fields.take(tags.sequence), 64)
      if (list.length === 0) throw new Error('empty')
      for (const each of list) {
        if (each.tag !== tags.sequence) throw new Error('extension')
        const parts = other.inside(each)
        const id = other.oidOf(parts.take(tags.oid))
        const flag = parts.maybe(tags.boolean)
        if (flag && !other.booleanOf(flag)) throw new Error('default')
        const { content: inner } = parts.take(tags.octetString)
        parts.end()
        if (seen.has(id) || (flag && id !== oids.reasonCode)) throw new Error('extension')
        seen.add(id)
        if (id !== oids.reasonCode) continue
        const reason = other.smallOf(other.readOne(inner, tags.enumerated))
        if (reason === 8) throw new Error('delta')
        if (reason === 6) state = 'held'
      }
    }
    fields.end()
    found.set(even, state)
  }
  return found
}

const thoroughButForTimes = (content: Buffer): boolean =>
  outcome(
    () =>
      thorough(content, ({ tag, content: { length } }) => {
        if (tag !== tags.utcTime || length !== 13) throw new Error('time')
      }),
    Error,
  ) !== null

describe('the two readers of this project agree', () => {
  const both: [string, (one: der.Element) => unknown, (one: other.Element) => unknown][] = [
    ['object identifiers', der.oidOf, other.oidOf],
    ['booleans', der.booleanOf, other.booleanOf],
    ['named bits', der.namedBits, other.namedBits],
    ['whole bits', one => Buffer.from(der.wholeBits(one)), other.wholeBits],
    ['times', der.timeOf, other.timeOf],
    ['small numbers', der.smallOf, other.smallOf],
  ]
  const known: Buffer[] = [
    oid(oids.hallpassTask),
    oid('2.999.1'),
    boolean(true),
    integer(70_000),
    integer(0),
    element(tags.enumerated, Buffer.of(6)),
    element(tags.bitString, Buffer.of(5, 0xa0)),
    element(tags.bitString, Buffer.of(0, 1, 2)),
    element(tags.utcTime, Buffer.from('261128041215Z')),
    element(tags.generalizedTime, Buffer.from('20510228235959Z')),
    sequence(integer(1)),
  ]

  test.each(both)('on %s', (_, ours, theirs) => {
    fc.assert(
      fc.property(fc.constantFrom(...known), fc.array(change, { maxLength: 2 }), (one, list) => {
        const bytes = changed(one, list)
        const tag = bytes[0] ?? 0
        const mine = outcome(() => ours(der.readOne(bytes, tag)), der.DerError)
        const his = outcome(() => theirs(other.readOne(bytes, tag)), other.DerError)
        // Numbers and arcs that are larger than anything that is read here are refused here alone.
        if (mine === null && his !== null) expect(Number(bytes.length)).toBeGreaterThan(5)
        else expect(mine).toEqual(his)
      }),
      { numRuns: 5000 },
    )
  })
})

describe('DER that is none is refused', () => {
  test.each<[string, number[]]>([
    ['nothing', []],
    ['a tag alone', [0x30]],
    ['content that is cut off', [0x30, 2, 1]],
    ['something after it', [0x30, 0, 0]],
    ['an indefinite length', [0x30, 0x80, 0, 0]],
    ['a length longer than it need be', [0x30, 0x81, 1, 5]],
    ['a length with zeros', [0x30, 0x82, 0, 0x80, ...Array(128).fill(0)]],
    ['a length of 5 bytes', [0x30, 0x85, 0, 0, 0, 0, 1, 5]],
    ['a length that is cut off', [0x30, 0x82, 1]],
    ['a length beyond all bounds', [0x30, 0x84, 0xff, 0xff, 0xff, 0xff]],
    ['a tag in its long form', [0x3f, 0x30, 0]],
  ])('%s', (_, bytes) => {
    expect(() => der.readOne(Uint8Array.from(bytes), tags.sequence)).toThrow(der.DerError)
  })

  test('a list that is empty, too long, or of other things', () => {
    const listIn = (list: Buffer, most: number) =>
      der.listIn(der.readOne(list, tags.sequence), tags.integer, most)
    expect(listIn(sequence(integer(1), integer(2)), 2)).toHaveLength(2)
    for (const [list, most] of [
      [sequence(), 2],
      [sequence(integer(1), integer(2), integer(3)), 2],
      [sequence(integer(1), boolean(true)), 2],
    ] as const)
      expect(() => listIn(list, most)).toThrow(der.DerError)
  })

  test('an extension whose criticality is spelt out though it is the default', () => {
    const spelt = sequence(oid('1.2.3'), boolean(false), element(tags.octetString))
    const plain = sequence(oid('1.2.3'), element(tags.octetString))
    const { published } = followed.broker
    expect(published).not.toHaveLength(0)
    for (const [one, isRight] of [
      [spelt, false],
      [plain, true],
      [extension('1.2.3', Buffer.alloc(0), true), true],
    ] as const) {
      const leaf = followed.broker.certificate({ more: [one] })
      expect(outcome(() => readCertificate(leaf.der), der.DerError) !== null).toBe(isRight)
    }
  })
})

describe('PEM', () => {
  const block = (body: string, label = 'CERTIFICATE') =>
    `-----BEGIN ${label}-----\n${body}\n-----END ${label}-----\n`

  test('is read with blank lines between its blocks, and lines of whatever length', () => {
    const texts = [
      block('YWJj'),
      `\n${block('YW\nJj')}\r\n\r\n${block('YWJj  ')}`,
      block('YWJj').replaceAll('\n', '\r\n').trim(),
    ]
    for (const text of texts)
      for (const der of readPem(text, 2)) expect(Buffer.from(der).toString()).toBe('abc')
  })

  test.each([
    ['', 'nothing'],
    ['YWJj', 'base64 alone'],
    [block(''), 'nothing in it'],
    [block('YWJ'), 'half a byte'],
    [block('YWJj='), 'padding where none belongs'],
    [block('YWJ='), 'padding that is missing'],
    [block('YWK='), 'bits that do not count'],
    [block('YW-j'), 'base64url'],
    [block('YWJj', 'X509 CRL'), 'another label'],
    [`x${block('YWJj')}`, 'text before it'],
    [`${block('YWJj')}x`, 'text after it'],
    [block('YWJj').replace('END CERTIFICATE', 'END X'), 'another end'],
    [block('YWJj') + block('YWJj') + block('YWJj'), 'more than there should be'],
    [block('Proc-Type: 4,ENCRYPTED\n\nYWJj'), 'headers'],
  ])('%j is refused: %s', text => {
    expect(() => readPem(text, 2)).toThrow(der.DerError)
  })

  test('base64 is read in its one spelling alone: property', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 1, maxLength: 40 }),
        fc.array(change, { maxLength: 2 }),
        (bytes, list) => {
          const text = changed(Buffer.from(Buffer.from(bytes).toString('base64')), list).toString('latin1')
          const read = outcome(() => bytesOf(text), der.DerError)
          if (read !== null) expect(Buffer.from(read).toString('base64')).toBe(text)
          else expect(Buffer.from(text, 'base64').toString('base64') === text && text !== '').toBe(false)
        },
      ),
      { numRuns: 3000 },
    )
  })
})
