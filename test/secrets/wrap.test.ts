import fc from 'fast-check'
import { expect, test } from 'vitest'
import { masterKeyFrom } from '../../src/secrets/master-key.ts'
import { unwrap, wrap } from '../../src/secrets/wrap.ts'

const masterKey = masterKeyFrom(Buffer.alloc(32, 1))
const label = { purpose: 'signing-key', kid: 'k1' }
const bytes = fc.uint8Array({ maxLength: 300 }).map(array => Buffer.from(array))
const labels = fc.record({ purpose: fc.string(), kid: fc.string() })
const refusal = expect.objectContaining({ name: 'HallpassError', code: 'internal' })

test('what was wrapped comes back under the same key and label', () => {
  fc.assert(
    fc.property(bytes, labels, (plaintext, label) => {
      expect(unwrap(masterKey, label, wrap(masterKey, label, plaintext))).toEqual(plaintext)
    }),
  )
})

test('another purpose or kid is refused', () => {
  fc.assert(
    fc.property(labels, labels, (one, other) => {
      fc.pre(one.purpose !== other.purpose || one.kid !== other.kid)
      const wrapped = wrap(masterKey, one, Buffer.from('secret'))
      expect(() => unwrap(masterKey, other, wrapped)).toThrow(refusal)
    }),
  )
})

test('so is the same text cut elsewhere into purpose and kid', () => {
  const pieces = fc.string({ unit: fc.constantFrom('a', '"', ',', '\\', '\u0000', '\ud800'), minLength: 1 })
  fc.assert(
    fc.property(pieces, fc.nat(), fc.nat(), (text, a, b) => {
      const cut = (at: number) => ({ purpose: text.slice(0, at), kid: text.slice(at) })
      const [one, other] = [a % (text.length + 1), b % (text.length + 1)]
      fc.pre(one !== other)
      const wrapped = wrap(masterKey, cut(one), Buffer.from('secret'))
      expect(() => unwrap(masterKey, cut(other), wrapped)).toThrow(refusal)
    }),
  )
})

test('another master key is refused', () => {
  const wrapped = wrap(masterKey, label, Buffer.from('secret'))
  expect(() => unwrap(masterKeyFrom(Buffer.alloc(32, 2)), label, wrapped)).toThrow(refusal)
})

test('any bit that is changed is refused: of the format, the nonce, the ciphertext, the tag', () => {
  const wrapped = wrap(masterKey, label, Buffer.from('a private key'))
  for (let bit = 0; bit < wrapped.length * 8; bit++) {
    const changed = Buffer.from(wrapped)
    changed[bit >> 3]! ^= 1 << (bit & 7)
    expect(() => unwrap(masterKey, label, changed)).toThrow(refusal)
  }
})

test('anything cut short or made longer is refused', () => {
  const wrapped = wrap(masterKey, label, Buffer.from('a private key'))
  for (let length = 0; length < wrapped.length; length++) {
    expect(() => unwrap(masterKey, label, wrapped.subarray(0, length))).toThrow(refusal)
  }
  expect(() => unwrap(masterKey, label, Buffer.concat([wrapped, Buffer.of(0)]))).toThrow(refusal)
})

test('the same plaintext never looks the same, and is not to be found in it', () => {
  const plaintext = Buffer.from('a private key')
  const [one, other] = [wrap(masterKey, label, plaintext), wrap(masterKey, label, plaintext)]
  expect(one.equals(other)).toBe(false)
  expect(one.subarray(1, 13).equals(other.subarray(1, 13))).toBe(false)
  expect(one.includes(plaintext)).toBe(false)
})

test('what PostgreSQL gives back, a plain byte array, is taken as well', () => {
  const wrapped = new Uint8Array(wrap(masterKey, label, Buffer.from('secret')))
  expect(unwrap(masterKey, label, wrapped).toString()).toBe('secret')
})
