import { createHash, X509Certificate } from 'node:crypto'
import { BasicOCSPResponse, OCSPResponse } from 'pkijs'
import { oids } from '../../src/der/oids.ts'
import { constructed, tags } from '../../src/der/tags.ts'
import { element, octetString, oid, sequence } from '../../src/der/write.ts'
import { extensionOf } from '../../src/mint/x509/extensions.ts'
import type { CertificateSigner } from '../../src/mint/x509/signer.ts'

type Hash = 'sha1' | 'sha256' | 'sha384' | 'sha512'

/** A CertID of a serial number, as the content of its INTEGER. */
export function certId(
  { name, certificate }: Pick<CertificateSigner, 'name' | 'certificate'>,
  serial: Buffer,
  hash: Hash = 'sha1',
  parameters: Buffer = element(tags.null),
): Buffer {
  const digest = (bytes: Uint8Array) => octetString(createHash(hash).update(bytes).digest())
  // The point of a P-256 key is the last 65 octets of its SubjectPublicKeyInfo.
  const spki = new X509Certificate(certificate).publicKey.export({ type: 'spki', format: 'der' })
  return sequence(
    sequence(oid(oids[hash]), parameters),
    digest(name),
    digest(spki.subarray(-65)),
    element(tags.integer, serial),
  )
}

/** An OCSPRequest about these, with DER of extensions. */
export const ocspRequest = (certIds: Buffer[], extensions: Buffer[] = []): Buffer =>
  sequence(
    sequence(
      sequence(...certIds.map(one => sequence(one))),
      ...(extensions.length > 0 ? [element(constructed(2), sequence(...extensions))] : []),
    ),
  )

const ofNonce = extensionOf(oids.ocspNonce)
export const nonceOf = (octets: Uint8Array): Buffer => ofNonce(octetString(octets))

/** A response as somebody else's library reads it. */
export interface ReadOcsp {
  /** OCSPResponseStatus: 0 is successful, and nothing else has answers. */
  status: number
  answers: { is: 'good' | 'revoked' | 'unknown'; at: number | null; reason: number; certId: Buffer }[]
  nonce: Buffer | null
  thisUpdate: number
  nextUpdate: number
  producedAt: number
  /** DER of the certificates in it. */
  certificates: Buffer[]
  basic: BasicOCSPResponse
}

export function readOcsp(der: Uint8Array): ReadOcsp {
  const response = OCSPResponse.fromBER(der)
  const status = response.responseStatus.valueBlock.valueDec
  const bytes = response.responseBytes?.response.valueBlock.valueHexView
  if (!bytes) return { status, answers: [] } as unknown as ReadOcsp
  const basic = BasicOCSPResponse.fromBER(bytes)
  const { responses, responseExtensions, producedAt } = basic.tbsResponseData
  const nonce = responseExtensions?.find(({ extnID }) => extnID === oids.ocspNonce)
  return {
    status,
    answers: responses.map(({ certID, certStatus }) => {
      // pkijs leaves the CHOICE as it is.
      const { idBlock, valueBlock } = certStatus as {
        idBlock: { tagNumber: number }
        valueBlock: {
          value?: { toDate?: () => Date; valueBlock: { value: { valueBlock: { valueDec: number } }[] } }[]
        }
      }
      const [time, reason] = valueBlock.value ?? []
      return {
        is: (['good', 'revoked', 'unknown'] as const)[idBlock.tagNumber]!,
        at: time?.toDate?.().getTime() ?? null,
        reason: reason?.valueBlock.value[0]?.valueBlock.valueDec ?? 0,
        certId: Buffer.from(certID.toSchema().toBER()),
      }
    }),
    nonce: nonce ? Buffer.from(nonce.extnValue.valueBlock.valueHexView.subarray(2)) : null,
    thisUpdate: responses[0]?.thisUpdate.getTime() ?? Number.NaN,
    nextUpdate: responses[0]?.nextUpdate?.getTime() ?? Number.NaN,
    producedAt: producedAt.getTime(),
    certificates: (basic.certs ?? []).map(one => Buffer.from(one.toSchema().toBER())),
    basic,
  }
}
