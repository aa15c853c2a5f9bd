import { generateKeyPairSync, sign, verify } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { derOf, sideBySide } from '../src/ecdsa.ts'

describe.each([
  ['P-256', 32],
  ['P-384', 48],
  ['P-521', 66],
] as const)('an ECDSA signature of %s', (namedCurve, size) => {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve })
  const dsaEncoding = 'ieee-p1363' as const

  it('that node made in DER is, side by side, what JWS wants', () => {
    fc.assert(
      fc.property(fc.uint8Array(), bytes => {
        const signature = sideBySide(sign('sha256', bytes, privateKey), size)
        expect(signature).toHaveLength(2 * size)
        expect(verify('sha256', bytes, { key: publicKey, dsaEncoding }, signature)).toBe(true)
      }),
      { numRuns: 200 },
    )
  })

  it('that node made side by side is, in DER, what OpenSSL verifies', () => {
    fc.assert(
      fc.property(fc.uint8Array(), bytes => {
        const signature = sign('sha256', bytes, { key: privateKey, dsaEncoding })
        expect(verify('sha256', bytes, publicKey, derOf(signature))).toBe(true)
      }),
      { numRuns: 200 },
    )
  })

  it('goes to DER and back unchanged, whatever its integers', () => {
    const half = fc.uint8Array({ minLength: size, maxLength: size })
    fc.assert(
      fc.property(half, half, fc.nat(size - 1), (r, s, zeros) => {
        r.fill(0, 0, zeros)
        const signature = Buffer.concat([r, s])
        expect(sideBySide(derOf(signature), size)).toEqual(signature)
      }),
    )
  })

  it('of zeros, of all ones, or altered in one bit is verified as node would: not at all', () => {
    const data = Buffer.from('x')
    const genuine = sign('sha256', data, { key: privateKey, dsaEncoding })
    const altered = Buffer.from(genuine)
    altered[size - 1] = (altered[size - 1] as number) ^ 1
    for (const signature of [Buffer.alloc(2 * size), Buffer.alloc(2 * size, 0xff), altered])
      expect(verify('sha256', data, publicKey, derOf(signature))).toBe(false)
  })
})
