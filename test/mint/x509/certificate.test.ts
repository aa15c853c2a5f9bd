import { generateKeyPairSync, type webcrypto, X509Certificate } from 'node:crypto'
import fc from 'fast-check'
import { beforeAll, describe, expect, it } from 'vitest'
import { oids } from '../../../src/der/oids.ts'
import { inside, oidOf, readOne, timeOf, wholeBits } from '../../../src/der/read.ts'
import { constructed, tags } from '../../../src/der/tags.ts'
import { type CertificateMaker, certificateMaker } from '../../../src/mint/x509/certificate.ts'
import { spkiOf } from '../../../src/mint/x509/key-id.ts'
import type { CertificateSigner } from '../../../src/mint/x509/signer.ts'
import { fieldsFor } from '../../support/certificate-arbitraries.ts'
import { newAuthority, newKeyPair, someFields, urls } from '../../support/certificates.ts'
import { libraryKey, taskCertificateByLibrary } from '../../support/x509-library.ts'

let authority: CertificateSigner
let key: webcrypto.CryptoKey
let make: CertificateMaker

beforeAll(() => {
  authority = newAuthority().authority
  key = libraryKey(authority.privateKey)
  make = certificateMaker(authority, urls)
})

/** What is signed, what says how, and the signature. */
function partsOf(certificate: Buffer): { toBeSigned: Buffer; algorithm: Buffer; signature: Buffer } {
  const parts = inside(readOne(certificate, tags.sequence))
  const found = {
    toBeSigned: parts.take(tags.sequence).bytes,
    algorithm: parts.take(tags.sequence).bytes,
    signature: wholeBits(parts.take(tags.bitString)),
  }
  parts.end()
  return found
}

/** Each extension's object identifier, and whether it is critical. */
function extensionsOf(certificate: Buffer): [string, boolean][] {
  const fields = inside(readOne(partsOf(certificate).toBeSigned, tags.sequence))
  while (!fields.isAtEnd()) {
    const field = fields.any()
    if (field.tag !== constructed(3)) continue
    const list = inside(readOne(field.content, tags.sequence))
    const found: [string, boolean][] = []
    while (!list.isAtEnd()) {
      const extension = inside(list.any())
      found.push([oidOf(extension.take(tags.oid)), extension.maybe(tags.boolean) !== null])
    }
    return found
  }
  return []
}

describe('a certificate of a task', () => {
  it('is, byte for byte, what @peculiar/x509 makes of the same fields, and is signed by the authority', async () => {
    const spkis = [
      ...['P-256', 'P-384'].map(curve => newKeyPair(curve).publicKey),
      generateKeyPairSync('ed25519').publicKey,
      ...[2048, 3072].map(modulusLength => generateKeyPairSync('rsa', { modulusLength }).publicKey),
    ].map(spkiOf)
    const issuer = new X509Certificate(authority.certificate)
    await fc.assert(
      fc.asyncProperty(fieldsFor(spkis), async fields => {
        const ours = make(fields)
        const theirs = await taskCertificateByLibrary(authority, key, urls, fields)
        expect(partsOf(ours).toBeSigned.toString('hex')).toBe(partsOf(theirs).toBeSigned.toString('hex'))
        expect(partsOf(ours).algorithm).toEqual(partsOf(theirs).algorithm)
        expect(new X509Certificate(ours).verify(issuer.publicKey)).toBe(true)
      }),
      { numRuns: 150 },
    )
  })

  it('says to Node what it was made of', () => {
    const { publicKey } = newKeyPair()
    const dnsNames = ['a.example', 'b.example']
    const fields = someFields({ spki: spkiOf(publicKey), dnsNames, serverAuth: true })
    const certificate = new X509Certificate(make(fields))
    expect(certificate.serialNumber).toBe('0199AABBCCDD7EEE8FFF001122334455')
    expect(certificate.subject).toBeFalsy()
    expect(certificate.subjectAltName).toBe(`URI:${fields.uri}, DNS:a.example, DNS:b.example`)
    expect(certificate.publicKey.equals(publicKey)).toBe(true)
    expect(certificate.ca).toBe(false)
    expect(certificate.keyUsage).toEqual([oids.clientAuth, oids.serverAuth])
    expect(certificate.infoAccess).toBe(`OCSP - URI:${urls.ocsp}`)
    expect(certificate.validFromDate.getTime()).toBe(Math.floor(fields.notBefore / 1000) * 1000)
    expect(certificate.validToDate.getTime()).toBe(Math.floor(fields.notAfter / 1000) * 1000)
    expect(certificate.checkIssued(new X509Certificate(authority.certificate))).toBe(true)
  })

  it('is for what was asked for, and nothing else', () => {
    const purposes = (clientAuth: boolean, serverAuth: boolean) =>
      new X509Certificate(make(someFields({ clientAuth, serverAuth }))).keyUsage
    expect(purposes(true, false)).toEqual([oids.clientAuth])
    expect(purposes(false, true)).toEqual([oids.serverAuth])
    expect(() => purposes(false, false)).toThrow(RangeError)
  })

  it('has its names, its key usage and that it is no authority marked as critical, and its task not', () => {
    expect(extensionsOf(make(someFields()))).toEqual([
      [oids.authorityKeyIdentifier, false],
      [oids.keyUsage, true],
      [oids.basicConstraints, true],
      [oids.crlDistributionPoints, false],
      [oids.authorityInfoAccess, false],
      [oids.subjectKeyIdentifier, false],
      [oids.extKeyUsage, false],
      [oids.subjectAltName, true],
      [oids.hallpassTask, false],
    ])
  })

  it('never ends later than it was told: a part of a second is dropped', () => {
    const certificate = make(someFields({ notAfter: Date.UTC(2049, 11, 31, 23, 59, 59, 999) }))
    expect(new X509Certificate(certificate).validToDate.getTime()).toBe(Date.UTC(2049, 11, 31, 23, 59, 59))
  })

  it('has a positive serial number of sixteen bytes, whatever the time says', () => {
    const serialOf = (serial: string) =>
      new X509Certificate(make(someFields({ serial: Buffer.from(serial, 'hex') }))).serialNumber
    expect(serialOf('ff99aabbccdd7eee8fff001122334455')).toBe('FF99AABBCCDD7EEE8FFF001122334455')
    expect(BigInt(`0x${serialOf('0000aabbccdd7eee8fff001122334455')}`)).toBe(0xaabbccdd7eee8fff001122334455n)
  })

  // U+0161 is "a" in its lower byte: cut to a byte, one name would pass for another.
  it.each(['', 'š.example', 'a.example\0', 'a.example\n', 'a b.example', 'é.example'])(
    'is not made with a name that is no name: %j',
    name => {
      expect(() => make(someFields({ dnsNames: ['a.example', name] }))).toThrow(RangeError)
      expect(() => make(someFields({ uri: name && `spiffe://hallpass.example/${name}` }))).toThrow(RangeError)
    },
  )

  it('is another for each: nothing of one is left in the next', () => {
    const [first, second] = [someFields(), someFields({ dnsNames: ['long.example'.padStart(200, 'x')] })]
    const before = partsOf(make(first)).toBeSigned
    const copy = Buffer.from(before)
    make(second)
    expect(before).toEqual(copy)
    expect(partsOf(make(first)).toBeSigned).toEqual(copy)
  })
})

it('times are read back as they were written', () => {
  const moment = Date.UTC(2050, 0, 1)
  const fields = inside(readOne(partsOf(make(someFields({ notAfter: moment }))).toBeSigned, tags.sequence))
  for (const tag of [constructed(0), tags.integer, tags.sequence, tags.sequence]) fields.take(tag)
  const validity = inside(fields.take(tags.sequence))
  expect(validity.any().tag).toBe(tags.utcTime)
  expect(timeOf(validity.take(tags.generalizedTime))).toBe(moment)
})
