import { type KeyObject, sign } from 'node:crypto'
import { expect } from 'vitest'
import { oids } from '../../../src/der/oids.ts'
import { readPem, writePem } from '../../../src/der/pem.ts'
import { inside, readOne } from '../../../src/der/read.ts'
import { constructed, tags } from '../../../src/der/tags.ts'
import {
  bitString,
  boolean,
  element,
  integer,
  octetString,
  oid,
  sequence,
  set,
  utf8String,
} from '../../../src/der/write.ts'
import { HallpassError } from '../../../src/errors.ts'
import { type Csr, readCsr } from '../../../src/mint/x509/csr.ts'

/** What a CSR is made of. Everything that is left out is as it should be. */
export interface CsrParts {
  /** Who signs; its public key is the one in the request unless `spki` says otherwise. */
  privateKey: KeyObject
  spki: Buffer
  version?: Buffer
  subject?: Buffer
  attributes?: Buffer[]
  algorithm?: Buffer
  hash?: string | null
  label?: string
}

export const nameOf = (commonName: string): Buffer =>
  sequence(set(sequence(oid(oids.commonName), utf8String(commonName))))
export const attribute = (type: string, ...values: Buffer[]): Buffer => sequence(oid(type), set(...values))
export const extensionRequest = (...extensions: Buffer[]): Buffer =>
  attribute(oids.extensionRequest, sequence(...extensions))
export const extension = (type: string, value: Buffer, critical = false): Buffer =>
  sequence(oid(type), ...(critical ? [boolean(true)] : []), octetString(value))

export const spkiOf = (key: KeyObject): Buffer => key.export({ type: 'spki', format: 'der' })

export function infoOf({ version, subject, spki, attributes }: Omit<CsrParts, 'privateKey'>): Buffer {
  return sequence(
    version ?? integer(0),
    subject ?? sequence(),
    spki,
    element(constructed(0), ...(attributes ?? [])),
  )
}

const usual = {
  ec: [sequence(oid(oids.ecdsaWithSha256)), 'sha256'],
  rsa: [sequence(oid(oids.sha256WithRSA), element(tags.null)), 'sha256'],
  ed25519: [sequence(oid(oids.ed25519)), null],
} as const

export function csrOf(parts: CsrParts): string {
  const info = infoOf(parts)
  const [algorithm, hash] = usual[parts.privateKey.asymmetricKeyType as keyof typeof usual]
  const signature = sign(parts.hash === undefined ? hash : parts.hash, info, parts.privateKey)
  return pemOf(sequence(info, parts.algorithm ?? algorithm, bitString(signature)), parts.label)
}

export const pemOf = (der: Buffer, label = 'CERTIFICATE REQUEST'): string => writePem(label, der)

export function derOf(pem: string): Buffer {
  const [block] = readPem(pem, 1)
  if (!block) throw new Error('there is no PEM')
  return block.der
}

/** Reads a CSR, or says by what fault it was refused. Anything but the one refusal fails the test. */
export function outcome(pem: string): Csr | string {
  try {
    return readCsr(pem)
  } catch (error) {
    expect(error).toBeInstanceOf(HallpassError)
    const { code, message, cause } = error as HallpassError
    expect(code).toBe('malformed')
    expect(message).toMatch(/^The CSR is refused: [\w ,.'#^-]+\.$/)
    return (cause as Error).message
  }
}

/** The parts of a CSR's DER: info, algorithm, signature. */
export function partsOf(der: Buffer): { info: Buffer; algorithm: Buffer; signature: Buffer } {
  const parts = inside(readOne(der, tags.sequence))
  const [info, algorithm, signature] = [parts.any().bytes, parts.any().bytes, parts.any().bytes]
  return { info, algorithm, signature }
}
