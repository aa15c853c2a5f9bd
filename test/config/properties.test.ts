import fc from 'fast-check'
import { expect, test } from 'vitest'
import { stringify } from 'yaml'
import { nearest } from '../../src/config/near.ts'
import { refFault, templateParts } from '../../src/config/task-template.ts'
import { issuerFault, nearForm, ownIssuerFault, urlFault } from '../../src/config/url.ts'
import { networkFault } from '../../src/config/values.ts'
import { parseYaml } from '../../src/config/yaml-file.ts'
import { parseMasterKey } from '../../src/secrets/master-key-text.ts'
import { faults } from './load.ts'

const urlish = fc.oneof(
  fc.webUrl({ withFragments: true, withQueryParameters: true }),
  fc.string({
    unit: fc.constantFrom(
      'h',
      't',
      'p',
      's',
      ':',
      '/',
      '@',
      '#',
      '?',
      '\\',
      '.',
      '1',
      '2',
      '7',
      '0',
      '\n',
      ' ',
      'é',
    ),
    maxLength: 24,
  }),
  fc
    .string({ unit: fc.constantFrom('a', '/', '@', '#', '?', '\\', '.', '1', '\t', ':', '['), maxLength: 12 })
    .map(rest => `https://${rest}`),
  fc.constantFrom(
    'http://127.1',
    'http://0x7f.1',
    'http://[::ffff:127.0.0.1]',
    'http://localhost.',
    'http://127.0.0.1@evil.example',
  ),
)

test('an address that is accepted is https or loopback to the parser that will fetch it, without user, password or fragment', () => {
  fc.assert(
    fc.property(urlish, text => {
      if (urlFault(text) !== null) return
      const url = new URL(text)
      expect(url.protocol === 'https:' || /^(127\.\d+\.\d+\.\d+|localhost|\[::1\])$/.test(url.hostname)).toBe(
        true,
      )
      expect([url.username, url.password, url.hash]).toEqual(['', '', ''])
    }),
    { numRuns: 2000 },
  )
})

test('an issuer that is accepted has no query, and its near form is stable', () => {
  fc.assert(
    fc.property(urlish, text => {
      if (issuerFault(text) !== null) return
      expect(new URL(text).search).toBe('')
      expect(nearForm(nearForm(text))).toBe(nearForm(text))
      expect(nearForm(`${text}/`)).toBe(nearForm(text))
    }),
  )
})

test("the broker's own issuer is what every URL parser would write, but for the slash of an empty path", () => {
  fc.assert(
    fc.property(urlish, text => {
      if (ownIssuerFault(text) === null) expect([text, `${text}/`]).toContain(new URL(text).href)
    }),
  )
})

test('two jobs never share a name under a template that is accepted', () => {
  const claims = fc.constantFrom('{a}', '{b}', '/', '-', ':', 'x', '%2F', '.')
  const value = fc.string({
    unit: fc.constantFrom('x', '-', '/', '%', '.', 'é', ':'),
    minLength: 1,
    maxLength: 4,
  })
  const job = fc.record({ a: value, b: value })
  fc.assert(
    fc.property(fc.array(claims, { maxLength: 6 }), job, job, (pieces, one, other) => {
      const ref = pieces.join('')
      if (refFault(ref) !== null) return
      const render = (claims: Record<string, string>) =>
        templateParts(ref)!
          .map(part => ('claim' in part ? encodeURIComponent(claims[part.claim]!) : part.literal))
          .join('')
      const named = templateParts(ref)!.flatMap(part => ('claim' in part ? [part.claim as 'a' | 'b'] : []))
      expect(render(one) === render(other)).toBe(named.every(claim => one[claim] === other[claim]))
    }),
    { numRuns: 5000 },
  )
})

test('a template comes apart into what it was made of, or is refused', () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom('{', '}', 'a', '/', ' ', '.') }), ref => {
      const parts = templateParts(ref)
      if (parts === null) return
      expect(parts.map(part => ('claim' in part ? `{${part.claim}}` : part.literal)).join('')).toBe(ref)
    }),
  )
})

test('a master key has one spelling', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), bytes => {
      expect(parseMasterKey(Buffer.from(bytes).toString('base64'))).toEqual(Buffer.from(bytes))
    }),
  )
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.stringMatching(/^[A-Za-z0-9+/=_-]{42,46}$/)), text => {
      const key = parseMasterKey(text)
      if (key !== null) expect([key.length, key.toString('base64')]).toEqual([32, text])
    }),
  )
})

test('networks are addresses, with at most as many bits as they have', () => {
  fc.assert(
    fc.property(fc.ipV4(), fc.integer({ min: -5, max: 200 }), (address, bits) => {
      expect(networkFault(address)).toBeNull()
      expect(networkFault(`${address}/${bits}`) === null).toBe(bits >= 0 && bits <= 32)
    }),
  )
  fc.assert(
    fc.property(fc.ipV6(), fc.integer({ min: -5, max: 200 }), (address, bits) => {
      expect(networkFault(`${address}/${bits}`) === null).toBe(bits >= 0 && bits <= 128)
    }),
  )
})

test('what JSON can say comes through YAML unchanged, and a doubled key never goes unseen', () => {
  const value = fc.dictionary(
    fc.stringMatching(/^[a-z]{1,3}$/),
    fc.oneof(fc.string(), fc.integer(), fc.boolean()),
    { minKeys: 1 },
  )
  fc.assert(
    fc.property(value, object => {
      const found: string[] = []
      expect(parseYaml(stringify(object), path => found.push(path))).toEqual({ ...object })
      parseYaml(`${stringify(object)}${stringify(object)}`, path => found.push(path))
      expect(found).toEqual(Object.keys(object))
    }),
  )
})

test('no text whatever makes the reader throw anything but a list of faults', () => {
  fc.assert(
    fc.property(
      fc.string({
        unit: fc.constantFrom(
          'trust',
          'issuer',
          ':',
          ' ',
          '\n',
          '-',
          '[',
          ']',
          '{',
          '}',
          '&a',
          '*a',
          '"',
          '!',
          '|',
          '%',
          '?',
        ),
        maxLength: 24,
      }),
      text => {
        for (const fault of faults(text)) expect(fault.message).not.toBe('')
      },
    ),
    { numRuns: 300 },
  )
})

test('one slip of the finger is forgiven with a suggestion, and a word out of the blue is not', () => {
  expect(nearest('isuer', ['issuer', 'listen'])).toBe('issuer')
  expect(nearest('clock-skew', ['clock_skew'])).toBe('clock_skew')
  expect(nearest('colour', ['issuer', 'listen'])).toBeNull()
})
