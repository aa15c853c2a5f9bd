import { constructed } from '../../der/tags.ts'
import { element, integer, sequence, time } from '../../der/write.ts'
import { signatureAlgorithm } from './signer.ts'

/** Fields of a certificate (RFC 5280 §4.1.2); all bytes are DER but the serial number, which is its digits. */
export interface ToBeSigned {
  /** Positive, 20 bytes at most. */
  serial: Uint8Array
  issuer: Uint8Array
  /** Milliseconds since the epoch, both; a part of a second is dropped. */
  notBefore: number
  notAfter: number
  subject: Uint8Array
  spki: Uint8Array
  extensions: Uint8Array[]
}

const version3 = element(constructed(0), integer(2))
/** The subject of a certificate whose names are all in its subjectAltName. */
export const noName = sequence()

/** TBSCertificate (RFC 5280 §4.1), version 3, to be signed by ecdsa-with-SHA256. */
export const toBeSigned = (fields: ToBeSigned): Buffer =>
  sequence(
    version3,
    integer(fields.serial),
    signatureAlgorithm,
    fields.issuer,
    sequence(time(fields.notBefore), time(fields.notAfter)),
    fields.subject,
    fields.spki,
    element(constructed(3), sequence(...fields.extensions)),
  )
