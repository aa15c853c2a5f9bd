import { createHash, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { oids } from '../../src/der/oids.ts'
import { inside, readOne, wholeBits } from '../../src/der/read.ts'
import { constructed, primitive, tags } from '../../src/der/tags.ts'
import {
  bits,
  boolean,
  element,
  integer,
  none,
  oid,
  sequence,
  set,
  time,
  utf8String,
} from '../../src/der/write.ts'
import { type CertificateSigner, signatureAlgorithm, signed } from '../../src/mint/x509/signer.ts'
import { serialOf } from '../../src/revoke/x509/entry.ts'
import { extension } from '../../src/revoke/x509/extension.ts'

const day = 86_400_000

interface Subject {
  issuer: Pick<CertificateSigner, 'privateKey' | 'name' | 'keyId'>
  serial: Uint8Array
  name: Buffer
  publicKey: KeyObject
  notBefore: number
  notAfter: number
  extensions: Buffer[]
}

const certificate = ({ issuer, serial, name, publicKey, notBefore, notAfter, extensions }: Subject): Buffer =>
  signed(
    issuer.privateKey,
    sequence(
      element(constructed(0), integer(2)),
      integer(serial),
      signatureAlgorithm,
      issuer.name,
      sequence(time(notBefore), time(notAfter)),
      name,
      publicKey.export({ type: 'spki', format: 'der' }),
      element(
        constructed(3),
        sequence(
          extension(oids.authorityKeyIdentifier, sequence(element(primitive(0), issuer.keyId))),
          ...extensions,
        ),
      ),
    ),
  )

const nameOf = (text: string): Buffer => sequence(set(sequence(oid(oids.commonName), utf8String(text))))

function keyIdOf(publicKey: KeyObject): Buffer {
  const spki = inside(readOne(publicKey.export({ type: 'spki', format: 'der' }), tags.sequence))
  spki.any()
  return createHash('sha1').update(wholeBits(spki.any())).digest()
}

/** A root, or an authority below one, of a key of its own. */
export function newAuthority(text: string, above?: CertificateSigner, now = Date.now()): CertificateSigner {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const name = nameOf(text)
  const keyId = keyIdOf(publicKey)
  const notAfter = now + 30 * day
  return {
    kid: createHash('sha256').update(keyId).digest('base64url'),
    privateKey,
    name,
    keyId,
    notAfter,
    certificate: certificate({
      issuer: above ?? { privateKey, name, keyId },
      serial: Buffer.concat([Uint8Array.of(1), keyId.subarray(0, 8)]),
      name,
      publicKey,
      notBefore: now - day,
      notAfter,
      extensions: [
        extension(oids.subjectKeyIdentifier, element(tags.octetString, keyId)),
        extension(oids.basicConstraints, sequence(boolean(true)), { critical: true }),
        // keyCertSign, cRLSign and digitalSignature.
        extension(oids.keyUsage, bits(0, 5, 6), { critical: true }),
      ],
    }),
  }
}

/** A certificate of a key that nobody has any more, with this credential's serial number. */
export const leafOf = (
  issuer: CertificateSigner,
  jti: string,
  more: { extensions?: Buffer[]; now?: number } = {},
): Buffer =>
  certificate({
    issuer,
    serial: serialOf(jti),
    name: nameOf(jti),
    publicKey: generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey,
    notBefore: (more.now ?? Date.now()) - 60_000,
    notAfter: (more.now ?? Date.now()) + 3_600_000,
    extensions: [
      extension(oids.basicConstraints, sequence(none), { critical: true }),
      extension(oids.keyUsage, bits(0), { critical: true }),
      ...(more.extensions ?? []),
    ],
  })

/** That of an OCSP responder (RFC 6960 §4.2.2.2). */
export const responderOf = ({
  issuer,
  publicKey,
  notBefore,
  notAfter,
}: {
  issuer: CertificateSigner
  publicKey: KeyObject
  notBefore: number
  notAfter: number
}): Buffer =>
  certificate({
    issuer,
    serial: Buffer.from('01020304', 'hex'),
    name: nameOf('OCSP'),
    publicKey,
    notBefore,
    notAfter,
    extensions: [
      extension(oids.keyUsage, bits(0), { critical: true }),
      extension(oids.extKeyUsage, sequence(oid(oids.ocspSigning))),
      extension(oids.ocspNoCheck, element(tags.null)),
    ],
  })
