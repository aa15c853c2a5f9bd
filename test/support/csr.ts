import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { oids } from '../../src/der/oids.ts'
import { writePem } from '../../src/der/pem.ts'
import { bitString, element, integer, oid, sequence } from '../../src/der/write.ts'

export interface KeyPair {
  privateKey: KeyObject
  publicKey: KeyObject
}

export const newKeyPair = (): KeyPair => generateKeyPairSync('ec', { namedCurve: 'P-256' })

/** The plainest CSR of a P-256 key: an empty subject, no attributes. */
export function csrOf({ privateKey, publicKey }: KeyPair): string {
  const spki = publicKey.export({ type: 'spki', format: 'der' })
  const info = sequence(integer(0), sequence(), spki, element(0xa0))
  const signature = bitString(sign('sha256', info, privateKey))
  return writePem('CERTIFICATE REQUEST', sequence(info, sequence(oid(oids.ecdsaWithSha256)), signature))
}
