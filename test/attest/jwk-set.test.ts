import { createPublicKey } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type KeyUse, readJwkSet, selectKey } from '../../src/attest/jwk-set.ts'
import { readStrictJson } from '../../src/attest/strict-json.ts'
import { HallpassError } from '../../src/errors.ts'
import { generateKey } from '../support/issuer.ts'

const es256 = generateKey('ES256', { kid: 'ec' })
const rsa = generateKey('RS256', { kid: 'rsa' })
const weak = generateKey('RS256', { kid: 'weak', bits: 1024 })
const svid = generateKey('ES256', { kid: 'svid', use: 'jwt-svid' })

const read = (document: unknown, use: KeyUse = 'sig') =>
  readJwkSet(readStrictJson(Buffer.from(JSON.stringify(document))), use)
const count = (jwk: object, use?: KeyUse) => read({ keys: [jwk] }, use).length
const select = (jwks: object[], alg: string, kid: string | null) => selectKey(read({ keys: jwks }), alg, kid)

describe('a JWK Set', () => {
  it.each([
    ['null', null],
    ['a list', []],
    ['an object without keys', {}],
    ['keys that are no list', { keys: {} }],
  ])('is not %s', (_, document) => {
    expect(() => read(document)).toThrow(HallpassError)
  })

  it('has at most 100 keys', () => {
    expect(() => read({ keys: Array.from({ length: 101 }, () => ({ kty: 'oct' })) })).toThrow(HallpassError)
  })

  it.each<[string, object]>([
    ['a secret', { kty: 'oct', k: 'AAAA', kid: 'x' }],
    ['an unknown type', { ...es256.jwk, kty: 'XYZ' }],
    ['a name of Object as type', { ...es256.jwk, kty: 'constructor' }],
    ['a key with a part missing', { ...es256.jwk, y: undefined }],
    ['a point that is not on the curve', { ...es256.jwk, x: es256.jwk.y }],
    ['an unknown curve', { ...es256.jwk, crv: 'P-192' }],
    ['a key for encryption', { ...es256.jwk, use: 'enc' }],
    ['a key that may only sign', { ...es256.jwk, key_ops: ['sign'] }],
    ['operations that are no list', { ...es256.jwk, key_ops: 'verify' }],
    ['a key that shows its private half', es256.privateKey.export({ format: 'jwk' })],
    ['a name that is no string', { ...es256.jwk, kid: 1 }],
    ['an algorithm that is no string', { ...es256.jwk, alg: null }],
    ['a use that is no string', { ...es256.jwk, use: ['sig'] }],
    ['a key of a SPIFFE bundle', svid.jwk],
  ])('is read without %s', (_, jwk) => {
    expect(count(jwk)).toBe(0)
  })

  it('is read with the good keys beside the bad ones', () => {
    expect(
      read({ keys: [{ kty: 'oct', k: 'AAAA' }, 7, null, es256.jwk, { ...rsa.jwk, use: undefined }] }),
    ).toHaveLength(2)
  })

  it('throws nothing but refusals, whatever it holds', () => {
    const jwk = fc.record(
      {
        kty: fc.constantFrom('RSA', 'EC', 'OKP', 'oct'),
        crv: fc.constantFrom('P-256', 'Ed25519', 'x'),
        n: fc.string(),
        e: fc.string(),
        x: fc.base64String(),
        y: fc.base64String(),
        kid: fc.jsonValue(),
      },
      { requiredKeys: [] },
    )
    fc.assert(
      fc.property(
        fc.oneof(fc.jsonValue(), fc.record({ keys: fc.array(fc.oneof(jwk, fc.jsonValue())) })),
        document => {
          try {
            read(document)
          } catch (error) {
            expect(error).toBeInstanceOf(HallpassError)
          }
        },
      ),
    )
  })
})

describe('a SPIFFE bundle', () => {
  it.each<[string, object]>([
    ['keys of another use', { ...svid.jwk, use: 'x509-svid' }],
    ['keys of an OIDC issuer', es256.jwk],
    ['keys without use', { ...svid.jwk, use: undefined }],
    ['keys without a name', { ...svid.jwk, kid: undefined }],
    ['keys whose use is in capitals', { ...svid.jwk, use: 'JWT-SVID' }],
  ])('is read without %s', (_, jwk) => {
    expect(count(jwk, 'jwt-svid')).toBe(0)
  })

  it('is read with its JWT-SVID keys', () => {
    expect(count(svid.jwk, 'jwt-svid')).toBe(1)
  })
})

describe('the key of a token', () => {
  it('is the one that it names', () => {
    expect(select([rsa.jwk, es256.jwk], 'ES256', 'ec')).toMatchObject({ asymmetricKeyType: 'ec' })
    expect(select([rsa.jwk, es256.jwk], 'ES256', 'nobody')).toBe('kid_unknown')
  })

  it('without a name is the only one that fits, or none', () => {
    const other = generateKey('ES256')
    expect(select([rsa.jwk, es256.jwk], 'ES256', null)).toMatchObject({ asymmetricKeyType: 'ec' })
    expect(select([other.jwk, es256.jwk], 'ES256', null)).toBe('key_ambiguous')
    expect(select([rsa.jwk], 'ES256', null)).toBe('key_mismatch')
    expect(select([], 'ES256', null)).toBe('kid_unknown')
  })

  it('is none when two different keys have its name and fit', () => {
    const other = generateKey('ES256', { kid: 'ec' })
    expect(select([es256.jwk, other.jwk], 'ES256', 'ec')).toBe('key_ambiguous')
    expect(select([other.jwk, es256.jwk], 'ES256', 'ec')).toBe('key_ambiguous')
  })

  it('may be listed twice, and may share its name with a key of another type', () => {
    expect(select([es256.jwk, { ...es256.jwk, alg: undefined }], 'ES256', 'ec')).toMatchObject({
      type: 'public',
    })
    expect(select([es256.jwk, { ...rsa.jwk, kid: 'ec' }], 'RS256', 'ec')).toMatchObject({
      asymmetricKeyType: 'rsa',
    })
  })

  it.each([
    ['RSA for ECDSA', rsa.jwk, 'ES256'],
    ['ECDSA for RSA', es256.jwk, 'RS256'],
    ['another curve', es256.jwk, 'ES384'],
    ['ECDSA for EdDSA', es256.jwk, 'EdDSA'],
    ['RSA of 1,024 bits', { ...weak.jwk, alg: undefined }, 'RS256'],
    ['the exponent 1', { ...rsa.jwk, e: 'AQ' }, 'RS256'],
    ['another algorithm than its own', rsa.jwk, 'RS512'],
    ['an algorithm that does not exist', { ...rsa.jwk, alg: undefined }, 'none'],
    ['an HMAC', { ...rsa.jwk, alg: undefined }, 'HS256'],
  ])('does not fit: %s', (_, jwk, alg) => {
    expect(select([jwk], alg, null)).toBe('key_mismatch')
  })

  it('is the public one that was published', () => {
    const key = select([rsa.jwk], 'RS256', 'rsa')
    expect(typeof key !== 'string' && key.equals(createPublicKey(rsa.privateKey))).toBe(true)
  })
})
