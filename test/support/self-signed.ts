import { generateKeyPairSync, randomBytes, X509Certificate } from 'node:crypto'
import { oids } from '../../src/der/oids.ts'
import { writePem } from '../../src/der/pem.ts'
import {
  boolean,
  element,
  integer,
  octetString,
  oid,
  sequence,
  set,
  time,
  utf8String,
} from '../../src/der/write.ts'
import { signatureAlgorithm, signed } from '../../src/mint/x509/signer.ts'

/** A certificate that vouches for itself, and its key. */
export interface SelfSigned {
  /** PEM. */
  cert: string
  /** PEM. */
  key: string
  /** DER. */
  der: Buffer
}

/** Of whoever answers on 127.0.0.1, or says so. */
export function selfSigned(commonName = 'somebody'): SelfSigned {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const name = sequence(set(sequence(oid(oids.commonName), utf8String(commonName))))
  const loopback = element(0x87, Buffer.from([127, 0, 0, 1]))
  const der = signed(
    privateKey,
    sequence(
      element(0xa0, integer(2)),
      integer(randomBytes(8)),
      signatureAlgorithm,
      name,
      sequence(time(Date.now() - 60_000), time(Date.now() + 86_400_000)),
      name,
      publicKey.export({ type: 'spki', format: 'der' }),
      element(
        0xa3,
        sequence(
          sequence(oid(oids.basicConstraints), boolean(true), octetString(sequence(boolean(true)))),
          sequence(oid(oids.subjectAltName), octetString(sequence(loopback))),
        ),
      ),
    ),
  )
  // Read again, so that what is no certificate shows here.
  new X509Certificate(der)
  const key = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
  return { cert: writePem('CERTIFICATE', der), key, der }
}
