import { describe, expect, it } from 'vitest'
import { readStrictJson } from '../../../src/attest/strict-json.ts'
import { readAuthorities } from '../../../src/attest/x509/authorities.ts'
import { oids } from '../../../src/der/oids.ts'
import { HallpassError } from '../../../src/errors.ts'
import {
  basicConstraints,
  createX509TrustDomain,
  extension,
  generateKeys,
  jwkOf,
  keyUsage,
  makeAuthority,
} from '../../support/x509.ts'

const domain = createX509TrustDomain('prod.example')
const good = jwkOf(domain.roots[0]!)
const other = jwkOf(makeAuthority({ subject: 'other' }))
const base64 = domain.roots[0]!.certificate.toString('base64')
const read = (document: unknown) => readAuthorities(readStrictJson(Buffer.from(JSON.stringify(document))))
const count = (...keys: unknown[]) => read({ keys }).length
const withCertificate = (bytes: Buffer) => ({ ...good, x5c: [bytes.toString('base64')] })

describe('a SPIFFE bundle', () => {
  it('has its X.509 authorities among its other keys', () => {
    const { privateKey } = generateKeys()
    expect(
      count(good, other, { ...privateKey.export({ format: 'jwk' }), use: 'jwt-svid', kid: 'x' }, 7, null),
    ).toBe(2)
    expect(read({ keys: [good] })[0]?.der).toEqual(domain.roots[0]?.certificate)
  })

  it('may have none', () => {
    expect(count()).toBe(0)
  })

  it.each<[string, object]>([
    ['whose list goes on: the first one counts', { ...good, x5c: [base64, 'nonsense'] }],
    ['with a name, which X509-SVID does not want', { ...good, kid: 'x' }],
    ['that says nothing of its key beside the certificate', { kty: 'EC', use: 'x509-svid', x5c: [base64] }],
    ['with an RSA key', jwkOf(makeAuthority({ keyKind: 'RSA' }))],
    ['with an Ed25519 key', jwkOf(makeAuthority({ keyKind: 'Ed25519' }))],
    [
      'that does not say what its key is for',
      jwkOf(makeAuthority({ extensions: { [oids.keyUsage]: null } })),
    ],
  ])('is read with an entry %s', (_, jwk) => {
    expect(count(jwk)).toBe(1)
  })

  it.each<[string, object]>([
    ['of no use', { ...good, use: undefined }],
    ['of another use', { ...good, use: 'jwt-svid' }],
    ['whose use is in capitals', { ...good, use: 'X509-SVID' }],
    ['of an unknown type', { ...good, kty: 'XYZ' }],
    ['of no type', { ...good, kty: undefined }],
    ['that shows a private half', { ...good, d: 'AAAA' }],
    ['without certificates', { ...good, x5c: undefined }],
    ['with an empty list', { ...good, x5c: [] }],
    ['with no list', { ...good, x5c: base64 }],
    ['with a list of something else', { ...good, x5c: [7] }],
    ['in base64url', { ...good, x5c: [Buffer.from(base64, 'base64').toString('base64url')] }],
    ['with a line break', { ...good, x5c: [`${base64.slice(0, 64)}\n${base64.slice(64)}`] }],
    ['in PEM', { ...good, x5c: [`-----BEGIN CERTIFICATE-----${base64}`] }],
    [
      'with bytes after the certificate',
      withCertificate(Buffer.concat([Buffer.from(base64, 'base64'), Buffer.of(0)])),
    ],
    ['with half a certificate', withCertificate(Buffer.from(base64, 'base64').subarray(0, 100))],
    ['with another one’s key beside the certificate', { ...good, x: other.x, y: other.y }],
    ['with half a key beside the certificate', { ...good, y: undefined }],
    [
      'of a workload',
      jwkOf(makeAuthority({ extensions: { [oids.basicConstraints]: basicConstraints(false) } })),
    ],
    [
      'that may not sign certificates',
      jwkOf(makeAuthority({ extensions: { [oids.keyUsage]: keyUsage([0]) } })),
    ],
    [
      'with a weak key of which it says nothing',
      { ...jwkOf(makeAuthority({ keyKind: 'RSA-1024' })), n: undefined, e: undefined },
    ],
    ['with a weak key', jwkOf(makeAuthority({ keyKind: 'RSA-1024' }))],
  ])('is read without an entry %s, and with the others', (_, jwk) => {
    expect(count(jwk)).toBe(0)
    expect(count(jwk, other)).toBe(1)
  })

  it('is read with an authority that has a critical extension, for paths to be refused by it', () => {
    const odd = makeAuthority({ moreExtensions: [extension('1.2.3', true, Buffer.of(5, 0))] })
    expect(count(jwkOf(odd))).toBe(1)
  })

  it.each([[null], [[]], [{}], [{ keys: {} }], [{ keys: Array(101).fill(7) }]])('is not %j', document => {
    expect(() => read(document)).toThrow(HallpassError)
  })
})
