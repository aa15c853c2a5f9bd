import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseJws } from '../../src/attest/jws.ts'
import { HallpassError } from '../../src/errors.ts'
import { encode } from '../support/issuer.ts'

const token = `${encode('{"alg":"ES256"}')}.${encode('{"sub":"x"}')}.${encode('signature')}`
const [header = '', payload = '', signature = ''] = token.split('.')

const reasonFor = (text: string): unknown => {
  try {
    parseJws(text)
    return 'accepted'
  } catch (error) {
    return error instanceof HallpassError && error.cause instanceof Error ? error.cause.message : error
  }
}

/** The same bytes, with other last bits in the last character. */
const alterLastBits = (part: string) => {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  return part.slice(0, -1) + alphabet[alphabet.indexOf(part.at(-1) ?? '') + 1]
}

describe('the JWS parser', () => {
  it('reads header, payload, signature and what was signed', () => {
    const jws = parseJws(token)
    expect(jws.header).toEqual({ alg: 'ES256' })
    expect(jws.payload).toEqual({ sub: 'x' })
    expect(jws.signature.toString()).toBe('signature')
    expect(jws.signingInput.toString()).toBe(`${header}.${payload}`)
  })

  it.each([
    ['an empty text', ''],
    ['two parts', `${header}.${payload}`],
    ['four parts', `${token}.${signature}`],
    ['five parts, as an encrypted token has', `${token}..`],
    ['an empty signature', `${header}.${payload}.`],
    ['an empty header', `.${payload}.${signature}`],
    ['a trailing newline', `${token}\n`],
    ['a leading space', ` ${token}`],
    ['a space inside', `${header}. ${payload}.${signature}`],
    ['padding', `${encode('{"a":1}')}==.${payload}.${signature}`],
    ['padding of the signature', `${header}.${payload}.${encode('12')}=`],
    ['the letters of plain base64', `${header}.${payload}.+/+/`],
    ['a length that no bytes have', `${header}.${payload}.AAAAA`],
    ['other last bits in the signature', `${header}.${payload}.${alterLastBits(encode('12'))}`],
    ['other last bits in the header', `${alterLastBits(encode('{"a":1}'))}.${payload}.${signature}`],
    ['letters beyond ASCII', `${header}.${payload}.${signature}é`],
    ['the JSON serialization', JSON.stringify({ payload, protected: header, signature })],
  ])('refuses %s', (_, text) => {
    expect(reasonFor(text)).toBe('encoding')
  })

  it.each([
    ['an array', '[]'],
    ['a string', '"x"'],
    ['a number', '1'],
    ['null', 'null'],
    ['a repeated member', '{"iss":"a","iss":"a"}'],
    ['no JSON', 'x'],
  ])('refuses %s as header or payload', (_, text) => {
    expect(reasonFor(`${encode(text)}.${payload}.${signature}`)).toBe('json')
    expect(reasonFor(`${header}.${encode(text)}.${signature}`)).toBe('json')
  })

  it('refuses more than 32 KiB', () => {
    expect(reasonFor(`${header}.${encode(`{"a":"${'x'.repeat(25_000)}"}`)}.${signature}`)).toBe('size')
    expect(reasonFor('.'.repeat(40_000))).toBe('size')
  })

  it('accepts one spelling only: no other text reads as the same token', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 1, maxLength: 100 }),
        fc.nat(),
        fc.oneof(
          fc.string({ minLength: 1, maxLength: 2 }),
          fc.constantFrom('=', '\n', ' ', '\r\n', '\t', '.', ''),
        ),
        fc.nat({ max: 1 }),
        (bytes, at, inserted, removed) => {
          const text = `${header}.${payload}.${encode(Buffer.from(bytes))}`
          const place = at % (text.length + 1)
          const altered = text.slice(0, place) + inserted + text.slice(place + removed)
          fc.pre(altered !== text)
          try {
            const jws = parseJws(altered)
            expect([jws.headerBytes, jws.payloadBytes, jws.signature]).not.toEqual([
              Buffer.from(header, 'base64url'),
              Buffer.from(payload, 'base64url'),
              Buffer.from(bytes),
            ])
          } catch (error) {
            expect(error).toBeInstanceOf(HallpassError)
          }
        },
      ),
    )
  })

  it('throws nothing but refusals, and says nothing of what it read', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.string({ minLength: 10 }).map(text => `${encode(text)}.${encode(text)}.AAAA`),
        ),
        text => {
          expect(['size', 'encoding', 'json', 'accepted']).toContain(reasonFor(text))
        },
      ),
    )
  })
})
