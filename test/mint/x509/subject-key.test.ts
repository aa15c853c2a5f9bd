import { checkPrimeSync, generateKeyPairSync, randomBytes } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { oids } from '../../../src/der/oids.ts'
import { DerError, readOne } from '../../../src/der/read.ts'
import { tags } from '../../../src/der/tags.ts'
import { bitString, element, integer, octetString, oid, sequence } from '../../../src/der/write.ts'
import type { HallpassError } from '../../../src/errors.ts'
import { readSubjectKey, type SubjectKey } from '../../../src/mint/x509/subject-key.ts'
import { spkiOf } from './csr-of.ts'
import { edwardsPrime, firstPoint, firstPrimes, power, smallOrderPoints, squareRoot } from './numbers.ts'

/** Reads a key, or says by what fault it was refused. */
function outcome(spki: Buffer): SubjectKey['key'] | string {
  try {
    return readSubjectKey(readOne(spki, tags.sequence)).key
  } catch (error) {
    if (error instanceof DerError) return 'encoding'
    expect(error).toMatchObject({ name: 'HallpassError', code: 'malformed' })
    return ((error as HallpassError).cause as Error).message
  }
}

const noParameters = element(tags.null)

describe('P-256 and P-384', () => {
  const curves = {
    'P-256': {
      algorithm: sequence(oid(oids.ecPublicKey), oid(oids.prime256v1)),
      size: 32,
      p: 2n ** 256n - 2n ** 224n + 2n ** 192n + 2n ** 96n - 1n,
      b: 0x5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604bn,
    },
    'P-384': {
      algorithm: sequence(oid(oids.ecPublicKey), oid(oids.secp384r1)),
      size: 48,
      p: 2n ** 384n - 2n ** 128n - 2n ** 96n + 2n ** 32n - 1n,
      b: 0xb3312fa7e23ee7e4988e056be3f82d19181d9c6efe8141120314088f5013875ac656398d8a2ed19d2a85c8edd3ec2aefn,
    },
  }

  describe.each(['P-256', 'P-384'] as const)('%s', name => {
    const { algorithm, size, p, b } = curves[name]
    const good = spkiOf(generateKeyPairSync('ec', { namedCurve: name }).publicKey)
    const point = good.subarray(-2 * size)
    const key = (...bits: Buffer[]) => outcome(sequence(algorithm, bitString(...bits)))
    const coordinate = (n: bigint) => Buffer.from(n.toString(16).padStart(2 * size, '0'), 'hex')

    test('is accepted on its curve', () => {
      expect(outcome(good)).toBe(name)
      expect(key(Buffer.of(4), point)).toBe(name)
    })

    test('is refused off its curve', () => {
      for (const at of [0, size - 1, size, 2 * size - 1]) {
        const off = Buffer.from(point)
        off[at] = (off[at] as number) ^ 1
        expect(key(Buffer.of(4), off)).toBe('key-invalid')
      }
      expect(key(Buffer.of(4), Buffer.alloc(2 * size))).toBe('key-invalid')
    })

    test('is refused with a coordinate that is not below the prime, though it be on the curve', () => {
      const { x, y } = firstPoint(p, b)
      expect(key(Buffer.of(4), coordinate(x), coordinate(y))).toBe(name)
      expect(key(Buffer.of(4), coordinate(x + p), coordinate(y))).toBe('key-invalid')
    })

    test('is refused at infinity, compressed, hybrid, too short and too long', () => {
      const parity = (point.at(-1) as number) & 1
      expect(key(Buffer.of(0))).toBe('key-invalid')
      expect(key()).toBe('key-invalid')
      expect(key(Buffer.of(0), Buffer.alloc(2 * size))).toBe('key-invalid')
      expect(key(Buffer.of(2 + parity), point.subarray(0, size))).toBe('key-invalid')
      expect(key(Buffer.of(6 + parity), point)).toBe('key-invalid')
      expect(key(Buffer.of(4), point.subarray(1))).toBe('key-invalid')
      expect(key(Buffer.of(4), point, Buffer.of(0))).toBe('key-invalid')
      expect(key(Buffer.of(4, 0), point)).toBe('key-invalid')
    })
  })

  test('are refused under the name of the other, or with no name, or with more behind it', () => {
    const point = spkiOf(generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey).subarray(-65)
    const named = (...parameters: Buffer[]) =>
      outcome(sequence(sequence(oid(oids.ecPublicKey), ...parameters), bitString(point)))
    expect(named(oid(oids.prime256v1))).toBe('P-256')
    expect(named(oid(oids.secp384r1))).toBe('key-invalid')
    expect(named()).toBe('key-algorithm')
    expect(named(noParameters)).toBe('key-algorithm')
    expect(named(oid(oids.prime256v1), noParameters)).toBe('key-algorithm')
  })

  test('are refused with their parameters spelled out (CVE-2020-0601)', () => {
    const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256', paramEncoding: 'explicit' })
    expect(outcome(spkiOf(publicKey))).toBe('key-algorithm')
  })

  test.each(['secp521r1', 'secp256k1', 'secp224r1', 'prime192v1', 'brainpoolP256r1'])(
    'and no other curve is accepted: %s',
    namedCurve => {
      expect(outcome(spkiOf(generateKeyPairSync('ec', { namedCurve }).publicKey))).toBe('key-algorithm')
    },
  )
})

describe('Ed25519', () => {
  const good = spkiOf(generateKeyPairSync('ed25519').publicKey).subarray(-32)
  const key = (bits: Buffer) => outcome(sequence(sequence(oid(oids.ed25519)), bitString(bits)))
  const littleEndian = (n: bigint) => Buffer.from(n.toString(16).padStart(64, '0'), 'hex').reverse()

  test('is accepted with 32 bytes and no parameters, and not otherwise', () => {
    expect(key(good)).toBe('Ed25519')
    expect(key(good.subarray(1))).toBe('key-invalid')
    expect(key(Buffer.concat([good, Buffer.of(0)]))).toBe('key-invalid')
    expect(key(Buffer.alloc(0))).toBe('key-invalid')
    expect(outcome(sequence(sequence(oid(oids.ed25519), noParameters), bitString(good)))).toBe(
      'key-algorithm',
    )
  })

  test('is refused as any of the points of small order, in every spelling', () => {
    const ys = new Set(smallOrderPoints().map(({ y }) => y))
    expect(ys.size).toBe(5)
    for (const y of ys)
      for (const spelling of [y, y + edwardsPrime].filter(y => y < 2n ** 255n))
        for (const sign of [0n, 1n])
          expect(key(littleEndian(spelling | (sign << 255n))), `y = ${spelling}`).toBe('key-invalid')
  })

  test('is refused with a y that is not below the prime', () => {
    for (let y = edwardsPrime; y < 2n ** 255n; y++) {
      expect(key(littleEndian(y))).toBe('key-invalid')
      expect(key(littleEndian(y | (1n << 255n)))).toBe('key-invalid')
    }
  })
})

describe('RSA', () => {
  const rsaAlgorithm = sequence(oid(oids.rsaEncryption), noParameters)
  const rsaSpki = (n: bigint, e: bigint) =>
    sequence(rsaAlgorithm, bitString(sequence(integer(n), integer(e))))
  /** Below 752. */
  const smallPrimes = firstPrimes(133)
  const hasSmallFactor = (n: bigint) => smallPrimes.some(prime => n % prime === 0n)
  const random = (bits: number) =>
    BigInt.asUintN(bits, BigInt(`0x${randomBytes(Math.ceil(bits / 8)).toString('hex')}`))
  /** An odd number of so many bits that no small prime divides. Nobody can tell that it is no product of two primes. */
  const modulus = (bits: number): bigint => {
    for (;;) {
      const n = random(bits) | (1n << BigInt(bits - 1)) | 1n
      if (!hasSmallFactor(n)) return n
    }
  }
  const n2048 = modulus(2048)

  test.each([2048, 2056, 3072, 4096, 8192])('is accepted with %i bits', bits => {
    expect(outcome(rsaSpki(modulus(bits), 65537n))).toBe(`RSA-${bits}`)
  })

  test('is accepted as real keys are, of 2048 and 3072 bits', () => {
    for (const modulusLength of [2048, 3072]) {
      const { publicKey } = generateKeyPairSync('rsa', { modulusLength })
      expect(outcome(spkiOf(publicKey))).toBe(`RSA-${modulusLength}`)
    }
  })

  test.each([512, 1024, 2040, 2047, 2049, 2055, 8191, 8200, 16384])('is refused with %i bits', bits => {
    const n = (1n << BigInt(bits - 1)) | BigInt.asUintN(bits - 1, n2048)
    expect(n.toString(2)).toHaveLength(bits)
    expect(outcome(rsaSpki(n, 65537n))).toBe('key-size')
  })

  test('is accepted with an odd exponent from 65537 to 2^256, and with no other', () => {
    for (const e of [65537n, 65539n, 2n ** 32n + 1n, 2n ** 256n - 1n])
      expect(outcome(rsaSpki(n2048, e)), `${e}`).toBe('RSA-2048')
    for (const e of [
      0n,
      1n,
      2n,
      3n,
      17n,
      65535n,
      65536n,
      65538n,
      2n ** 255n,
      2n ** 256n,
      2n ** 256n + 1n,
      n2048,
    ])
      expect(outcome(rsaSpki(n2048, e)), `${e}`).toBe('key-exponent')
  })

  test('is refused with negative numbers', () => {
    const digits = Buffer.from(n2048.toString(16), 'hex')
    const key = (n: Buffer, e: Buffer) => outcome(sequence(rsaAlgorithm, bitString(sequence(n, e))))
    expect(key(element(tags.integer, digits), integer(65537))).toBe('key-invalid')
    expect(key(integer(n2048), element(tags.integer, Buffer.of(0xff, 0, 1)))).toBe('key-invalid')
  })

  test.each([
    ['nothing', bitString()],
    ['no sequence', bitString(octetString(Buffer.of(1)))],
    ['a byte more behind it', bitString(sequence(integer(n2048), integer(65537)), Buffer.of(0))],
    ['a number more in it', bitString(sequence(integer(n2048), integer(65537), integer(1)))],
    ['no exponent', bitString(sequence(integer(n2048)))],
    ['an empty number', bitString(sequence(integer(n2048), element(tags.integer)))],
    [
      'a number longer than it need be',
      bitString(sequence(integer(n2048), element(tags.integer, Buffer.of(0, 1, 0, 1)))),
    ],
    ['bits left over', element(tags.bitString, Buffer.of(1), sequence(integer(n2048), integer(65537)))],
  ])('is refused with %s', (_, bits) => {
    expect(outcome(sequence(rsaAlgorithm, bits))).toBe('encoding')
  })

  test('is refused without its NULL, or with other parameters', () => {
    const bits = bitString(sequence(integer(n2048), integer(65537)))
    expect(outcome(sequence(sequence(oid(oids.rsaEncryption)), bits))).toBe('key-algorithm')
    expect(outcome(sequence(sequence(oid(oids.rsaEncryption), sequence()), bits))).toBe('key-algorithm')
    expect(outcome(sequence(sequence(oid(oids.rsaEncryption), noParameters, noParameters), bits))).toBe(
      'key-algorithm',
    )
    expect(outcome(sequence(rsaAlgorithm, bits, noParameters))).toBe('encoding')
  })

  test('is refused when a small prime divides it', () => {
    for (const prime of smallPrimes) {
      for (;;) {
        const other = (modulus(2048) / prime) | 1n
        if (hasSmallFactor(other)) continue
        expect(outcome(rsaSpki(prime * other, 65537n)), `${prime}`).toBe('key-weak')
        break
      }
    }
  })

  test('is refused with the fingerprint of ROCA (CVE-2017-15361)', () => {
    // Primes as Infineon's library made them: k·M + (65537^a mod M), where M is the product of the first 126 primes.
    const m = firstPrimes(126).reduce((all, prime) => all * prime, 1n)
    const prime = (): bigint => {
      for (;;) {
        const k = ((3n << 1022n) + random(1022)) / m
        const p = k * m + power(65537n, random(128), m)
        if (checkPrimeSync(p)) return p
      }
    }
    const n = prime() * prime()
    expect(hasSmallFactor(n)).toBe(false)
    expect(outcome(rsaSpki(n, 65537n))).toBe('key-weak')
    expect(outcome(rsaSpki(n + 2n * m, 65537n))).toBe('key-weak')
  })

  test.each([
    ['refused', 0n, 'key-weak'],
    ['refused', 1n, 'key-weak'],
    ['refused', 50n, 'key-weak'],
    ['refused', 99n, 'key-weak'],
    ['accepted', 100n, 'RSA-2048'],
    ['accepted', 1_000n, 'RSA-2048'],
  ])(
    'is %s when Fermat finds its factors in round %i: 100 are tried (CVE-2022-26320)',
    (_, round, expected) => {
      // n = (a - d)(a + d) = a² - d², and a is so many steps above √n.
      for (;;) {
        const a = random(1024) | (3n << 1022n)
        const d = squareRoot(2n * a * round + a)
        const n = a * a - d * d
        if (hasSmallFactor(n)) continue
        expect(a - squareRoot(n) - 1n).toBe(round)
        expect(outcome(rsaSpki(n, 65537n))).toBe(expected)
        return
      }
    },
  )

  test('is refused as a square', () => {
    const p = modulus(1024) | (3n << 1022n)
    expect(outcome(rsaSpki(p * p, 65537n))).toBe('key-weak')
  })
})

test.each([
  ['RSA-PSS', () => generateKeyPairSync('rsa-pss', { modulusLength: 2048 }).publicKey],
  ['DSA', () => generateKeyPairSync('dsa', { modulusLength: 1024, divisorLength: 160 }).publicKey],
  ['X25519', () => generateKeyPairSync('x25519').publicKey],
  ['X448', () => generateKeyPairSync('x448').publicKey],
  ['Ed448', () => generateKeyPairSync('ed448').publicKey],
  ['ML-DSA', () => generateKeyPairSync('ml-dsa-44').publicKey],
])('no other kind of key is accepted: %s', (_, key) => {
  expect(outcome(spkiOf(key()))).toBe('key-algorithm')
})

test('nor one of Diffie and Hellman', () => {
  const parameters = sequence(integer(23), integer(5))
  const spki = sequence(sequence(oid('1.2.840.113549.1.3.1'), parameters), bitString(integer(8)))
  expect(outcome(spki)).toBe('key-algorithm')
})
