import { createHmac } from 'node:crypto'
import { decodeJwt, type JWTHeaderParameters, type JWTPayload, SignJWT, UnsecuredJWT } from 'jose'
import { describe, expect, test } from 'vitest'
import {
  looksLikeOperatorToken,
  mintOperatorToken,
  verifyOperatorToken,
} from '../../src/attest/operator-token.ts'
import { masterKeyFrom } from '../../src/secrets/master-key.ts'

const masterKey = masterKeyFrom(Buffer.alloc(32, 1))
const issuer = 'https://hallpass.example'
const start = Date.UTC(2026, 0, 1)
const at = (milliseconds: number) => ({ masterKey, issuer, clock: () => start + milliseconds })
const verify = (token: string, parts = at(0)) => verifyOperatorToken(parts, token)
const refusal = expect.objectContaining({
  name: 'HallpassError',
  code: 'attestation_invalid',
  message: 'The operator token is not valid',
})

test('a token that was printed is accepted for an hour, to the millisecond', async () => {
  const token = await mintOperatorToken(at(0))
  const { jti, expiresAt } = await verify(token)
  expect(jti).toBe(decodeJwt(token).jti)
  expect(expiresAt).toBe(start + 3_600_000)
  await expect(verify(token, at(3_599_999))).resolves.toBeDefined()
  await expect(verify(token, at(3_600_000))).rejects.toThrow(refusal)
})

test('it says what the contract says, and every one is another', async () => {
  const [one, other] = [await mintOperatorToken(at(0)), await mintOperatorToken(at(0))]
  expect(decodeJwt(one)).toEqual({
    iss: issuer,
    aud: issuer,
    sub: 'hallpass:bootstrap',
    jti: expect.any(String),
    iat: start / 1000,
    exp: start / 1000 + 3600,
  })
  expect(decodeJwt(one).jti).not.toBe(decodeJwt(other).jti)
})

test('it is accepted in the very millisecond in which it was made', async () => {
  const parts = at(999)
  await expect(verify(await mintOperatorToken(parts), parts)).resolves.toBeDefined()
})

describe('refused is', () => {
  const header: JWTHeaderParameters = { alg: 'HS256', typ: 'hallpass-operator+jwt' }
  const now = start / 1000
  const claims = { iss: issuer, aud: issuer, sub: 'hallpass:bootstrap', jti: 'j', iat: now, exp: now + 3600 }
  const sign = (
    payload: JWTPayload,
    more: Partial<JWTHeaderParameters> = {},
    key = masterKey.derive('operator-token'),
  ) => new SignJWT(payload).setProtectedHeader({ ...header, ...more }).sign(key)

  test('nothing, when all is right', async () => {
    await expect(verify(await sign(claims))).resolves.toEqual({ jti: 'j', expiresAt: start + 3_600_000 })
  })

  test.each<[string, Record<string, unknown>]>([
    ['another issuer', { iss: 'https://hallpass.example/' }],
    ['another audience', { aud: 'https://other.example' }],
    ['an audience in a list', { aud: [issuer] }],
    ['a second audience', { aud: [issuer, 'https://other.example'] }],
    ['another subject', { sub: 'hallpass:other' }],
    ['no subject', { sub: undefined }],
    ['no jti', { jti: undefined }],
    ['a jti that is no text', { jti: 5 }],
    ['no beginning', { iat: undefined }],
    ['no end', { exp: undefined }],
    ['a fraction of a second', { iat: now - 0.5 }],
    ['an hour and a second', { exp: now + 3601 }],
    ['a token from the future', { iat: now + 1 }],
    ['one not to be used before later', { nbf: now + 1 }],
    ['an end that has come', { iat: now - 3600, exp: now }],
  ])('%s', async (_, more) => {
    await expect(verify(await sign({ ...claims, ...more } as JWTPayload))).rejects.toThrow(refusal)
  })

  test.each<[string, Partial<JWTHeaderParameters>]>([
    ['an access token', { typ: 'at+jwt' }],
    ['an untyped token', { typ: undefined as never }],
    ['the typ in capitals', { typ: 'HALLPASS-OPERATOR+JWT' }],
    ['the typ as a media type', { typ: 'application/hallpass-operator+jwt' }],
    ['a further header member', { kid: 'x' }],
  ])('%s', async (_, more) => {
    await expect(verify(await sign(claims, more))).rejects.toThrow(refusal)
  })

  test.each([
    ['HS384', 'sha384'],
    ['HS512', 'sha512'],
  ])('a MAC by %s, under the right key', async (alg, hash) => {
    const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
    const input = `${encode({ ...header, alg })}.${encode(claims)}`
    const mac = createHmac(hash, masterKey.derive('operator-token')).update(input).digest('base64url')
    await expect(verify(`${input}.${mac}`)).rejects.toThrow(refusal)
  })

  test('no signature at all', async () => {
    await expect(verify(new UnsecuredJWT(claims).encode())).rejects.toThrow(refusal)
    const [, payload] = (await sign(claims)).split('.')
    const none = Buffer.from(JSON.stringify({ ...header, alg: 'none' })).toString('base64url')
    await expect(verify(`${none}.${payload}.`)).rejects.toThrow(refusal)
  })

  test('the signature of another master key, of another purpose, and of no key', async () => {
    for (const key of [
      masterKeyFrom(Buffer.alloc(32, 2)).derive('operator-token'),
      masterKey.derive('wrap'),
      Buffer.alloc(32),
    ]) {
      await expect(verify(await sign(claims, {}, key))).rejects.toThrow(refusal)
    }
  })

  test('a token minted for another broker', async () => {
    const token = await mintOperatorToken({ ...at(0), issuer: 'https://other.example' })
    await expect(verify(token)).rejects.toThrow(refusal)
  })

  test('any other spelling of a good one', async () => {
    const token = await sign(claims)
    const last = token.at(-1)!
    const sibling = String.fromCharCode(last.charCodeAt(0) + 1)
    for (const other of [
      `${token}=`,
      `${token}\n`,
      ` ${token}`,
      `${token}.`,
      token.slice(0, -1) + sibling,
      token.replace('.', '=.'),
      token.replace('.', '\n.'),
      token.slice(0, -1),
      '',
      '..',
      'x'.repeat(5000),
    ]) {
      await expect(verify(other)).rejects.toThrow(refusal)
    }
  })
})

describe('what looks like one', () => {
  test('has the typ, whoever signed it', async () => {
    const token = await mintOperatorToken({ ...at(0), masterKey: masterKeyFrom(Buffer.alloc(32, 9)) })
    expect(looksLikeOperatorToken(token)).toBe(true)
  })

  test.each(['', '.', 'x.y.z', 'e30.e30.', `${'a'.repeat(5000)}.a.a`, 'bnVsbA.e30.x'])('is not %j', text => {
    expect(looksLikeOperatorToken(text)).toBe(false)
  })

  test('is not a token of another type', async () => {
    const token = await new SignJWT({})
      .setProtectedHeader({ alg: 'HS256', typ: 'at+jwt' })
      .sign(Buffer.alloc(32))
    expect(looksLikeOperatorToken(token)).toBe(false)
  })
})
