import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { HallpassError } from '../../src/errors.ts'
import { strictJson } from '../../src/http/strict-json.ts'

const refusal = (body: string | Uint8Array): HallpassError => {
  try {
    strictJson(body)
  } catch (error) {
    if (error instanceof HallpassError) return error
    throw error
  }
  throw new Error('was accepted')
}

describe('strictJson refuses, as malformed,', () => {
  it.each([
    ['a member that repeats with another value', '{"a":1,"a":2}', 'repeats a member'],
    ['a member that repeats with the same value', '{"a":1,"a":1}', 'repeats a member'],
    ['a member that repeats in another spelling', '{"a":1,"\\u0061":1}', 'repeats a member'],
    ['a member that repeats further down', '{"x":[{"b":{},"c":[],"b":{}}]}', 'repeats a member'],
    ['a repeated empty name', '{"":1,"":1}', 'repeats a member'],
    ['U+0000 in a value', '{"a":"x\\u0000y"}', 'U+0000'],
    ['U+0000 in a name', '{"\\u0000":1}', 'U+0000'],
    ['U+0000 as a whole body', '"\\u0000"', 'U+0000'],
    ['a lone high surrogate, escaped', '["\\ud800"]', 'lone surrogate'],
    ['a lone low surrogate, escaped, in a name', '{"\\udc00":1}', 'lone surrogate'],
    ['surrogates in the wrong order', '["\\udc00\\ud800"]', 'lone surrogate'],
    ['a lone surrogate, raw', '["\ud800"]', 'lone surrogate'],
    ['a member named __proto__', '{"__proto__":{"admin":true}}', 'nothing may have'],
    ['__proto__ in another spelling', '{"a":{"__pr\\u006fto__":1}}', 'nothing may have'],
    ['17 levels', '['.repeat(17) + ']'.repeat(17), '16 levels'],
    ['a quarter of a million levels', '['.repeat(131072) + ']'.repeat(131072), '16 levels'],
    ['too many values', `[${'0,'.repeat(5000)}0]`, '2048 values'],
    ['too many members', `{${Array.from({ length: 3000 }, (_, n) => `"${n}":[]`).join()}}`, '2048 values'],
    ['too many empty strings', `[${'"",'.repeat(5000)}""]`, '2048 values'],
    ['an empty body', '', 'not JSON'],
    ['two documents', '{}{}', 'not JSON'],
    ['a comment', '{/* */}', 'not JSON'],
    ['a trailing comma', '[1,]', 'not JSON'],
    ['a byte order mark', '\ufeff{}', 'not JSON'],
    ['NaN', '[NaN]', 'not JSON'],
  ])('%s', (_, body, reason) => {
    const error = refusal(body)
    expect(error.code).toBe('malformed')
    expect(error.message).toContain(reason)
  })

  it.each([
    ['bytes that are no UTF-8', [0x22, 0xff, 0x22], 'not UTF-8'],
    ['an overlong encoding', [0x22, 0xc0, 0x80, 0x22], 'not UTF-8'],
    ['an encoded surrogate', [0x22, 0xed, 0xa0, 0x80, 0x22], 'not UTF-8'],
    ['a byte order mark in bytes', [0xef, 0xbb, 0xbf, 0x7b, 0x7d], 'not JSON'],
  ])('%s', (_, bytes, reason) => {
    const error = refusal(Uint8Array.from(bytes))
    expect(error.code).toBe('malformed')
    expect(error.message).toContain(reason)
  })

  it('whatever it refuses without repeating it', () => {
    const error = refusal('{"token":"s3cret" s3cret}')
    expect(`${error.message} ${String(error.cause)}`).not.toContain('s3cret')
  })
})

describe('strictJson accepts', () => {
  it.each([
    ['16 levels', '['.repeat(16) + ']'.repeat(16)],
    ['the same name in different objects', '{"a":{"a":1},"b":[{"a":1},{"a":1}]}'],
    ['a value that equals a name', '{"a":"a","b":"a"}'],
    ['a pair of surrogates', '["\\ud83d\\ude00"]'],
    ['brackets, commas, quotes and backslashes within strings', '{"{\\"[,":"}\\\\","]":"\\\\\\""}'],
    ['names of Object.prototype but __proto__', '{"constructor":"c","toString":"t","hasOwnProperty":"h"}'],
    ['a bare number', '-1.5e+3'],
    ['white space anywhere', ' \t\n{ "a" : [ true , false , null ] } \r\n'],
  ])('%s', (_, body) => {
    expect(strictJson(body)).toEqual(JSON.parse(body))
    expect(strictJson(Buffer.from(body))).toEqual(JSON.parse(body))
  })
})

/** JSON values with no `__proto__`, no U+0000, no lone surrogates, and few enough levels and values. */
const clean = fc
  .jsonValue({ maxDepth: 6, stringUnit: 'binary' })
  .filter(value => !/\\u0000|\\ud[89a-f]|"__proto__"/i.test(JSON.stringify(value)))

describe('property: strictJson', () => {
  it('agrees with JSON.parse on every I-JSON text', () => {
    fc.assert(
      fc.property(clean, fc.constantFrom(undefined, 2), (value, indent) => {
        const text = JSON.stringify(value, null, indent)
        expect(strictJson(text)).toEqual(JSON.parse(text))
      }),
    )
  })

  it('answers any text with a value or a HallpassError, and never with what JSON.parse would refuse', () => {
    const soup = fc
      .array(fc.constantFrom('{', '}', '[', ']', ',', ':', '"', '\\', 'a', '\\u0061', '1', '-', 'true', ' '))
      .map(parts => parts.join(''))
    fc.assert(
      fc.property(fc.oneof(soup, fc.string({ unit: 'binary' })), text => {
        let value: unknown
        try {
          value = strictJson(text)
        } catch (error) {
          expect(error).toBeInstanceOf(HallpassError)
          return
        }
        expect(value).toEqual(JSON.parse(text))
      }),
      { numRuns: 2000 },
    )
  })

  it('finds a repeated member wherever and however it is spelled', () => {
    const name = fc.string({ minLength: 1, maxLength: 4 }).filter(text => text !== '__proto__')
    const spell = (text: string, escaped: boolean) =>
      escaped
        ? `"${[...text].map(letter => `\\u${letter.charCodeAt(0).toString(16).padStart(4, '0')}`).join('')}"`
        : JSON.stringify(text)
    fc.assert(
      fc.property(
        name,
        fc.uniqueArray(name, { maxLength: 4 }),
        clean,
        fc.boolean(),
        fc.boolean(),
        (twice, others, value, ...as) => {
          const json = JSON.stringify(value)
          const between = others
            .filter(other => other !== twice)
            .map(other => `${JSON.stringify(other)}:${json}`)
          const members = [`${spell(twice, as[0])}:${json}`, ...between, `${spell(twice, as[1])}:${json}`]
          expect(refusal(`[{"x":{${members.join()}}}]`).message).toContain('repeats a member')
        },
      ),
    )
  })
})
