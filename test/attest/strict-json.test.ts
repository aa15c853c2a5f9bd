import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type JsonValue, numberText, readStrictJson } from '../../src/attest/strict-json.ts'
import { NumberText } from '../../src/strict-json.ts'

const parse = (text: string) => readStrictJson(Buffer.from(text))

const plain = (value: JsonValue): unknown => {
  if (value instanceof NumberText) return Number(value.text)
  if (Array.isArray(value)) return value.map(plain)
  if (typeof value === 'object' && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, plain(member)]))
  }
  return value
}

describe('strict JSON', () => {
  it.each([
    ['a repeated member', '{"a":1,"a":2}'],
    ['a repeated member with an equal value', '{"a":"x","a":"x"}'],
    ['a repeated member with an equal object', '{"a":{"b":1},"a":{"b":1}}'],
    ['a repeated member deep inside', '{"a":[{"b":true,"b":true}]}'],
    ['a repeated member that is spelled in another way', '{"a":1,"\\u0061":1}'],
    ['a member named __proto__', '{"__proto__":1}'],
    ['a member named __proto__ in another spelling', '{"\\u005f_proto__":1}'],
    ['an escaped U+0000', '{"a":"\\u0000"}'],
    ['an escaped U+0000 in a name', '{"\\u0000":1}'],
    ['a raw U+0000', '{"a":"\0"}'],
    ['a lone surrogate', '{"a":"\\ud800"}'],
    ['a lone surrogate in a name', '{"\\udc00":1}'],
    ['a byte order mark', '\ufeff{}'],
    ['two values', '{} {}'],
    ['a trailing comma', '{"a":1,}'],
    ['a leading zero', '{"a":01}'],
    ['NaN', '{"a":NaN}'],
    ['a raw line break in a string', '{"a":"\n"}'],
    ['nothing', ''],
    ['17 levels', `${'['.repeat(17)}${']'.repeat(17)}`],
    ['ten thousand levels', '['.repeat(10_000)],
    ['ten thousand quotes', '\\"'.repeat(10_000)],
  ])('refuses %s', (_, text) => {
    expect(parse(text)).toBeUndefined()
  })

  it('refuses bytes that are not UTF-8', () => {
    expect(readStrictJson(Buffer.from([0x22, 0xff, 0x22]))).toBeUndefined()
    // An overlong slash, and a surrogate encoded by itself.
    expect(readStrictJson(Buffer.from([0x22, 0xc0, 0xaf, 0x22]))).toBeUndefined()
    expect(readStrictJson(Buffer.from([0x22, 0xed, 0xa0, 0x80, 0x22]))).toBeUndefined()
  })

  it('accepts 16 levels, colons and brackets in strings, and members named as those of Object', () => {
    expect(parse(`${'['.repeat(16)}${']'.repeat(16)}`)).toBeDefined()
    expect(parse('{"a:{[\\"":"}]:\\\\","constructor":true}')).toEqual({ 'a:{["': '}]:\\', constructor: true })
  })

  it('keeps numbers as they are written', () => {
    const value = parse('[1.50, 12345678901234567890, 1e2]')
    expect(Array.isArray(value) && value.map(numberText)).toEqual(['1.50', '12345678901234567890', '1e2'])
  })

  it('reads whatever JSON.stringify writes', () => {
    fc.assert(
      fc.property(fc.json({ maxDepth: 4 }), text => {
        const expected: unknown = JSON.parse(text)
        const value = parse(text)
        fc.pre(!text.includes('\\u0000') && !/\\ud[89a-f]/i.test(text) && !text.includes('__proto__'))
        expect(value === undefined ? undefined : plain(value)).toEqual(expected)
      }),
    )
  })

  it('never throws, whatever the bytes', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.uint8Array(),
          fc.string().map(text => Buffer.from(text)),
        ),
        bytes => {
          readStrictJson(bytes)
        },
      ),
    )
  })

  it('refuses every object in which some member is repeated', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue(), { minKeys: 1 }), fc.nat(), (object, pick) => {
        const members = Object.entries(object).map(
          ([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`,
        )
        const again = members[pick % members.length]
        expect(parse(`{${[...members, again].join(',')}}`)).toBeUndefined()
      }),
    )
  })
})
