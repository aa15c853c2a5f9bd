import { generateKeyPairSync } from 'node:crypto'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { oids } from '../../../src/der/oids.ts'
import { boolean, element, sequence, utf8String } from '../../../src/der/write.ts'
import {
  attribute,
  csrOf,
  derOf,
  extension,
  extensionRequest,
  nameOf,
  outcome,
  pemOf,
  spkiOf,
} from './csr-of.ts'

const request = (type: 'ec' | 'rsa' | 'ed25519'): string => {
  const { privateKey, publicKey } =
    type === 'ec'
      ? generateKeyPairSync('ec', { namedCurve: 'P-256' })
      : type === 'rsa'
        ? generateKeyPairSync('rsa', { modulusLength: 2048 })
        : generateKeyPairSync('ed25519')
  return csrOf({
    privateKey,
    spki: spkiOf(publicKey),
    subject: nameOf('x'),
    attributes: [
      extensionRequest(extension(oids.basicConstraints, sequence(boolean(true)), true)),
      attribute('1.2.840.113549.1.9.7', utf8String('secret')),
    ],
  })
}
const good = { ec: request('ec'), rsa: request('rsa'), ed25519: request('ed25519') }
const ders = { ec: derOf(good.ec), rsa: derOf(good.rsa), ed25519: derOf(good.ed25519) }
const kind = fc.constantFrom('ec' as const, 'rsa' as const, 'ed25519' as const)

/** Every one of these must be refused, and as a CSR is refused (`outcome` fails at anything else that is thrown). */
function refused(pem: string): void {
  if (typeof outcome(pem) !== 'string') throw new Error(`it was accepted: ${JSON.stringify(pem)}`)
}

test.each(['ec', 'ed25519', 'rsa'] as const)('no bit of a signed CSR can be another (%s)', kind => {
  const der = ders[kind]
  expect(outcome(pemOf(der))).toBeTypeOf('object')
  for (let bit = 0; bit < 8 * der.length; bit++) {
    const other = Buffer.from(der)
    other[bit >> 3] = (other[bit >> 3] as number) ^ (1 << (bit & 7))
    refused(pemOf(other))
  }
})

test.each(['ec', 'ed25519', 'rsa'] as const)('no byte can be cut off or put behind (%s)', kind => {
  const der = ders[kind]
  for (let length = 1; length < der.length; length++) refused(pemOf(der.subarray(0, length)))
  for (let byte = 0; byte < 256; byte++) refused(pemOf(Buffer.concat([der, Buffer.of(byte)])))
})

test('no part of a signed CSR can be left out, repeated or replaced', () => {
  fc.assert(
    fc.property(kind, fc.nat(700), fc.nat(20), fc.uint8Array({ maxLength: 20 }), (kind, at, count, bytes) => {
      const der = ders[kind]
      const other = Buffer.concat([der.subarray(0, at), bytes, der.subarray(at + count)])
      fc.pre(other.length > 0 && !other.equals(der))
      refused(pemOf(other))
    }),
    { numRuns: 400 },
  )
})

test('random bytes are refused', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 300 }), bytes => refused(pemOf(Buffer.from(bytes)))),
    { numRuns: 250 },
  )
})

test('random text is refused, and so is text that was changed', () => {
  fc.assert(fc.property(fc.string({ unit: 'binary', maxLength: 400 }), refused), { numRuns: 250 })
  fc.assert(
    fc.property(
      kind,
      fc.nat(1_200),
      fc.string({ unit: 'binary', minLength: 1, maxLength: 3 }),
      (kind, at, text) => {
        const pem = good[kind]
        const other = pem.slice(0, at) + text + pem.slice(at + text.length)
        // Blanks at the ends of lines and around the block say nothing.
        fc.pre(other.replace(/\s/g, '') !== pem.replace(/\s/g, ''))
        refused(other)
      },
    ),
    { numRuns: 400 },
  )
})

test('random DER is refused', () => {
  const part: fc.Arbitrary<Buffer> = fc.letrec<{ element: Buffer }>(tie => ({
    element: fc.oneof(
      { depthSize: 'small' },
      fc
        .tuple(
          fc.constantFrom(0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x0c, 0x13, 0x30, 0x31, 0xa0),
          fc.uint8Array({ maxLength: 40 }),
        )
        .map(([tag, content]) => element(tag, content)),
      fc
        .tuple(fc.constantFrom(0x30, 0x31, 0xa0), fc.array(tie('element'), { maxLength: 3 }))
        .map(([tag, parts]) => element(tag, ...parts)),
    ),
  })).element
  fc.assert(
    fc.property(fc.array(part, { maxLength: 4 }), parts => refused(pemOf(sequence(...parts)))),
    { numRuns: 250 },
  )
})
