import { sign } from 'node:crypto'
import { oids } from '../../der/oids.ts'
import { constructed, primitive } from '../../der/tags.ts'
import {
  bitString,
  element,
  enumerated,
  generalizedTime,
  octetString,
  oid,
  sequence,
} from '../../der/write.ts'
import { extensionOf } from '../../mint/x509/extensions.ts'
import { signatureAlgorithm } from '../../mint/x509/signer.ts'
import { type CrlReason, crlReasons } from './reasons.ts'
import type { Responder } from './responder.ts'

/** CertStatus (RFC 6960 §4.2.1). Times are in milliseconds since the epoch. */
export type OcspStatus = { is: 'good' } | { is: 'unknown' } | { is: 'revoked'; at: number; reason: CrlReason }

export interface OcspAnswers {
  /** Each with the DER of its CertID. */
  answers: { certId: Buffer; status: OcspStatus }[]
  /** When what it says was so. */
  thisUpdate: number
  nextUpdate: number
  nonce: Buffer | null
}

/** OCSPResponseStatus (RFC 6960 §4.2.1): responses that say why there is none, and are not signed. */
const refusal = (status: number): Buffer => sequence(enumerated(status))
export const ocspRefusals = {
  malformedRequest: refusal(1),
  internalError: refusal(2),
  tryLater: refusal(3),
  unauthorized: refusal(6),
}

const ofNonce = extensionOf(oids.ocspNonce)

/** A BasicOCSPResponse (RFC 6960 §4.2.1) with the responder's own certificate, in its OCSPResponse: DER. */
export function signedOcspResponse(responder: Responder, content: OcspAnswers): Buffer {
  const { answers, thisUpdate, nextUpdate, nonce } = content
  const toBeSigned = sequence(
    // byKey.
    element(constructed(2), octetString(responder.keyHash)),
    // Everything is asked of the record anew: what is so is so when it is said.
    generalizedTime(thisUpdate),
    sequence(...answers.map(answer => singleResponse(answer, thisUpdate, nextUpdate))),
    ...(nonce ? [element(constructed(1), sequence(ofNonce(octetString(nonce))))] : []),
  )
  const basic = sequence(
    toBeSigned,
    signatureAlgorithm,
    bitString(sign('sha256', toBeSigned, responder.privateKey)),
    element(constructed(0), sequence(responder.certificate)),
  )
  return sequence(enumerated(0), element(constructed(0), sequence(oid(oids.ocspBasic), octetString(basic))))
}

function singleResponse(
  { certId, status }: OcspAnswers['answers'][number],
  thisUpdate: number,
  nextUpdate: number,
): Buffer {
  return sequence(
    certId,
    statusOf(status),
    generalizedTime(thisUpdate),
    element(constructed(0), generalizedTime(nextUpdate)),
  )
}

function statusOf(status: OcspStatus): Buffer {
  if (status.is === 'good') return element(primitive(0))
  if (status.is === 'unknown') return element(primitive(2))
  const reason =
    status.reason === crlReasons.unspecified ? [] : [element(constructed(0), enumerated(status.reason))]
  return element(constructed(1), generalizedTime(status.at), ...reason)
}
