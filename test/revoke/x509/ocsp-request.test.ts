import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { oids } from '../../../src/der/oids.ts'
import { DerError } from '../../../src/der/read.ts'
import { constructed, primitive, tags } from '../../../src/der/tags.ts'
import {
  boolean,
  element,
  integer,
  none,
  octetString,
  oid,
  sequence,
  utf8String,
} from '../../../src/der/write.ts'
import { newId } from '../../../src/ids.ts'
import { extensionOf } from '../../../src/mint/x509/extensions.ts'
import { serialOf } from '../../../src/revoke/x509/entry.ts'
import { readOcspRequest } from '../../../src/revoke/x509/ocsp-request.ts'
import { certId, nonceOf, ocspRequest } from '../../support/ocsp-client.ts'
import { newAuthority } from '../../support/x509-authority.ts'

const authority = newAuthority(newAuthority())
const serial = serialOf(newId())
const one = certId(authority, serial)
const list = sequence(sequence(one))
const refused = (bytes: Uint8Array) => expect(() => readOcspRequest(bytes)).toThrow(DerError)
const unknown = {
  plain: extensionOf('1.2.3')(none),
  critical: extensionOf('1.2.3', { critical: true })(none),
}

describe('a request is read', () => {
  test('with one question or sixteen, each told by its hashes and serial number', () => {
    const { certIds, nonce } = readOcspRequest(ocspRequest([one]))
    expect(nonce).toBeNull()
    expect(certIds).toHaveLength(1)
    expect(certIds[0]).toMatchObject({ bytes: one, hashAlgorithm: oids.sha1, serial })
    expect([certIds[0]!.issuerNameHash.length, certIds[0]!.issuerKeyHash.length]).toEqual([20, 20])
    expect(readOcspRequest(ocspRequest(Array(16).fill(one))).certIds).toHaveLength(16)
    expect(
      readOcspRequest(ocspRequest([certId(authority, serial, 'sha512', Buffer.alloc(0))])).certIds[0],
    ).toMatchObject({
      hashAlgorithm: oids.sha512,
    })
  })

  test('whoever asks, and with whatever signature: neither matters', () => {
    const name = element(constructed(1), element(primitive(2), Buffer.from('me.example')))
    const signature = element(
      constructed(0),
      sequence(sequence(oid(oids.ecdsaWithSha256)), element(tags.bitString, Buffer.of(0, 1))),
    )
    expect(readOcspRequest(sequence(sequence(name, list), signature)).certIds).toHaveLength(1)
  })

  test('with a nonce of 1 to 32 octets, and past extensions that are not critical', () => {
    for (const length of [1, 16, 32]) {
      const octets = Buffer.alloc(length, 7)
      expect(readOcspRequest(ocspRequest([one], [unknown.plain, nonceOf(octets)])).nonce).toEqual(octets)
    }
    const single = sequence(one, element(constructed(0), sequence(unknown.plain)))
    expect(readOcspRequest(sequence(sequence(sequence(single)))).certIds).toHaveLength(1)
  })
})

describe('a request is refused', () => {
  test('with no question, with seventeen, with a thousand, and over 4 KiB', () => {
    refused(ocspRequest([]))
    refused(ocspRequest(Array(17).fill(one)))
    refused(ocspRequest(Array(1_000).fill(one)))
    refused(ocspRequest([certId(authority, Buffer.alloc(4_096, 1))]))
    refused(Buffer.alloc(1_000_000, 0x30))
  })

  test('with a nonce that is empty, too long, or no octets', () => {
    for (const length of [0, 33, 128, 1_000]) refused(ocspRequest([one], [nonceOf(Buffer.alloc(length))]))
    refused(ocspRequest([one], [extensionOf(oids.ocspNonce)(Buffer.alloc(16, 1))]))
    refused(
      ocspRequest(
        [one],
        [extensionOf(oids.ocspNonce)(Buffer.concat([octetString(Buffer.of(1)), Buffer.of(0)]))],
      ),
    )
    refused(ocspRequest([one], [nonceOf(Buffer.of(1)), nonceOf(Buffer.of(1))]))
  })

  test('with an extension that is critical and not known, of all or of one', () => {
    refused(ocspRequest([one], [unknown.critical]))
    refused(sequence(sequence(sequence(sequence(one, element(constructed(0), sequence(unknown.critical)))))))
    expect(
      readOcspRequest(
        ocspRequest([one], [extensionOf(oids.ocspNonce, { critical: true })(octetString(Buffer.of(1)))]),
      ).nonce,
    ).toEqual(Buffer.of(1))
  })

  test('where it is not DER to the letter', () => {
    const good = ocspRequest([one])
    refused(Buffer.concat([good, Buffer.of(0)]))
    refused(good.subarray(0, -1))
    refused(Buffer.alloc(0))
    // An indefinite length.
    refused(Buffer.concat([Buffer.of(0x30, 0x80), good.subarray(2), Buffer.of(0, 0)]))
    // A length that is longer than it need be.
    refused(Buffer.concat([Buffer.of(0x30, 0x81, good.length - 2), good.subarray(2)]))
    // The version that is the default.
    refused(sequence(sequence(element(constructed(0), integer(0)), list)))
    refused(sequence(sequence(element(constructed(0), integer(1)), list)))
    // A default that is written, a boolean that is none, extensions that are none.
    refused(ocspRequest([one], [sequence(oid('1.2.3'), boolean(false), octetString(none))]))
    refused(
      ocspRequest([one], [sequence(oid('1.2.3'), element(tags.boolean, Buffer.of(1)), octetString(none))]),
    )
    refused(sequence(sequence(list, element(constructed(2), sequence()))))
    // A serial number that is longer than it need be, or none.
    refused(ocspRequest([certId(authority, Buffer.of(0, 1))]))
    refused(ocspRequest([certId(authority, none as Buffer)]))
    refused(ocspRequest([certId(authority, serial, 'sha1', utf8String('x'))]))
    refused(ocspRequest([certId(authority, serial, 'sha1', element(tags.null, Buffer.of(0)))]))
    refused(sequence(sequence(list), sequence()))
    refused(sequence(sequence(list, list)))
  })

  test('and nothing but so, whatever the bytes are', () => {
    const good = ocspRequest([one], [nonceOf(Buffer.alloc(16, 3))])
    const damaged = fc
      .array(fc.tuple(fc.nat({ max: good.length - 1 }), fc.nat({ max: 255 })), { minLength: 1, maxLength: 4 })
      .map(changes => {
        const bytes = Buffer.from(good)
        for (const [at, value] of changes) bytes[at] = value
        return bytes
      })
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ maxLength: 300 }), damaged), bytes => {
        try {
          const { certIds } = readOcspRequest(bytes)
          // What is read is what was written: nothing in it has two readings.
          expect(Buffer.from(bytes).includes(certIds[0]!.bytes)).toBe(true)
        } catch (error) {
          expect(error).toBeInstanceOf(DerError)
        }
      }),
      { numRuns: 5_000 },
    )
  })
})
