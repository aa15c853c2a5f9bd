import { createHash } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { writePem } from '../../src/der/pem.ts'
import { newLeaf } from './certificate-maker.ts'
import { type Followed, refusal, startFollowed } from './verifiers.ts'

let followed: Followed
let certificate: Buffer
let other: Buffer
beforeAll(async () => {
  followed = await startFollowed()
  const by = await followed.broker.withAuthority()
  certificate = newLeaf({ now: Date.now(), by }).der
  other = newLeaf({ now: Date.now(), by }).der
})
afterAll(() => followed.close())

const thumbprint = (der: Uint8Array) => createHash('sha256').update(der).digest('base64url')
const bound = (cnf: unknown) => followed.broker.token({ cnf })
const boundTo = (der: Uint8Array) => bound({ 'x5t#S256': thumbprint(der) })

test('a token that is bound to a certificate is no bearer token', async () => {
  const token = await boundTo(certificate)
  expect(await refusal(followed.verifier, token)).toBe('binding_missing')
  for (const none of [null, undefined, () => null, () => undefined, async () => null])
    expect(await refusal(followed.verifier, token, { certificate: none })).toBe('binding_missing')
})

test('it is refused with another certificate', async () => {
  expect(await refusal(followed.verifier, await boundTo(certificate), { certificate: other })).toBe(
    'binding_wrong',
  )
})

test('it is taken with its own, in DER or PEM, at once or when it is asked for', async () => {
  const token = await boundTo(certificate)
  const pem = writePem('CERTIFICATE', certificate)
  for (const own of [
    certificate,
    new Uint8Array(certificate),
    pem,
    pem.replaceAll('\n', '\r\n'),
    pem + writePem('CERTIFICATE', other),
    [certificate, other],
    () => certificate,
    async () => pem,
  ])
    expect(await refusal(followed.verifier, token, { certificate: own })).toBeNull()
})

test('of a chain only the first counts', async () => {
  const token = await boundTo(certificate)
  expect(await refusal(followed.verifier, token, { certificate: [other, certificate] })).toBe('binding_wrong')
  const pem = writePem('CERTIFICATE', other) + writePem('CERTIFICATE', certificate)
  expect(await refusal(followed.verifier, token, { certificate: pem })).toBe('binding_wrong')
})

describe('a binding that is not understood is refused, whatever certificate there is', () => {
  test.each([
    null,
    {},
    [],
    'x',
    7,
    true,
    { jkt: 'x' },
    { jwk: {} },
    { kid: 'x' },
    { 'x5t#S256': null },
    { 'x5t#S256': 7 },
    { 'x5t#S256': '' },
    { 'x5t#S256': ['x'] },
    { 'X5T#s256': '$' },
    { 'x5t#S256': '$', jkt: 'x' },
    { 'x5t#S256': '$', other: null },
    { 'x5t#S256': '$=' },
    { 'x5t#S256': ' $' },
    { 'x5t#S256': '$\n' },
    { x5t: '$' },
    { 'x5t#S512': '$' },
  ])('%j', async cnf => {
    const text = JSON.stringify(cnf).replace('$', thumbprint(certificate))
    const token = await bound(JSON.parse(text))
    for (const own of [certificate, undefined])
      expect(await refusal(followed.verifier, token, { certificate: own })).toBe('binding_unproven')
  })
})

test('a thumbprint is compared to the letter', async () => {
  const own = thumbprint(certificate)
  // The last character has four bits that count: another spelling of the same bytes is another text.
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  const last = alphabet.indexOf(own.at(-1) as string)
  for (const spelling of [`${own.slice(0, -1)}${alphabet[last | 1]}`, own.toUpperCase(), own.toLowerCase()])
    expect(await refusal(followed.verifier, await bound({ 'x5t#S256': spelling }), { certificate })).toBe(
      'binding_wrong',
    )
})

test('a certificate that cannot be read is refused', async () => {
  const token = await boundTo(certificate)
  const pem = writePem('CERTIFICATE', certificate)
  for (const wrong of [
    '',
    'x',
    pem.slice(1),
    `${pem}x`,
    pem.replace('CERTIFICATE', 'PUBLIC KEY'),
    new Uint8Array(),
    [],
  ])
    expect(await refusal(followed.verifier, token, { certificate: wrong })).toBe('certificate_malformed')
  for (const wrong of [7, {}, true, [7]] as unknown as string[])
    expect(await refusal(followed.verifier, token, { certificate: wrong })).toBe('certificate_malformed')
})

test('a token that is bound to nothing needs no certificate, and none is asked for', async () => {
  let asked = 0
  const token = await followed.broker.token()
  expect(
    await refusal(followed.verifier, token, {
      certificate: () => {
        asked++
        return certificate
      },
    }),
  ).toBeNull()
  expect(asked).toBe(0)
})

test('what goes wrong where the certificate is to be had is no yes', async () => {
  const token = await boundTo(certificate)
  const fault = new Error('ours')
  await expect(followed.verifier.verify(token, { certificate: () => Promise.reject(fault) })).rejects.toBe(
    fault,
  )
})

test('its own certificate brings no dead token to life, and lends no scope', async () => {
  const { verifier, broker } = followed
  const cnf = { 'x5t#S256': thumbprint(certificate) }
  expect(await refusal(verifier, await broker.token({ cnf, exp: 1 }), { certificate })).toBe('token_expired')
  expect(await refusal(verifier, await broker.token({ cnf }), { certificate, scope: 'admin' })).toBe(
    'scope_insufficient',
  )
})
