import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import { HallpassError } from '../errors.ts'
import type { MasterKey } from './master-key.ts'

/** What the secret is for and which one it is: bound to the ciphertext, so that rows cannot be swapped. */
export interface Label {
  purpose: string
  kid: string
}

const format = 1
const nonceLength = 12
const tagLength = 16

/** AES-256-GCM (NIST SP 800-38D) under a key derived from the master key: format, nonce, ciphertext, tag. */
export const wrap = (masterKey: MasterKey, label: Label, plaintext: Buffer): Buffer => {
  const nonce = randomBytes(nonceLength)
  const cipher = createCipheriv('aes-256-gcm', masterKey.derive('wrap'), nonce, { authTagLength: tagLength })
  cipher.setAAD(associatedData(label))
  return Buffer.concat([
    Buffer.of(format),
    nonce,
    cipher.update(plaintext),
    cipher.final(),
    cipher.getAuthTag(),
  ])
}

/**
 * What was wrapped under the same master key and label.
 * @throws HallpassError `internal` for anything else: another key, another label, a changed or missing byte.
 */
export const unwrap = (masterKey: MasterKey, label: Label, wrapped: Uint8Array): Buffer => {
  const bytes = Buffer.from(wrapped)
  if (bytes.length < 1 + nonceLength + tagLength || bytes[0] !== format) throw refusal()
  const nonce = bytes.subarray(1, 1 + nonceLength)
  const decipher = createDecipheriv('aes-256-gcm', masterKey.derive('wrap'), nonce, {
    authTagLength: tagLength,
  })
  decipher.setAAD(associatedData(label))
  decipher.setAuthTag(bytes.subarray(-tagLength))
  try {
    return Buffer.concat([decipher.update(bytes.subarray(1 + nonceLength, -tagLength)), decipher.final()])
  } catch (cause) {
    throw refusal(cause)
  }
}

/** JSON keeps the two texts apart, whatever characters they hold. */
const associatedData = ({ purpose, kid }: Label): Buffer =>
  Buffer.from(JSON.stringify([format, purpose, kid]))

const refusal = (cause?: unknown) =>
  new HallpassError('internal', 'A stored key was not wrapped under this master key, or was changed', {
    cause,
  })
