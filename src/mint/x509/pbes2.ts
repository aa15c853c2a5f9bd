import { createCipheriv, pbkdf2, randomBytes } from 'node:crypto'
import { promisify } from 'node:util'
import { oids } from '../../der/oids.ts'
import { tags } from '../../der/tags.ts'
import { element, integer, octetString, oid, sequence } from '../../der/write.ts'

const derive = promisify(pbkdf2)

export interface Encrypted {
  /** AlgorithmIdentifier: all that is needed beside the password. */
  algorithm: Buffer
  encrypted: Buffer
}

/** Encrypts under a password, whose bytes are its UTF-8: PBES2 (RFC 8018 §6.2) with PBKDF2, HMAC-SHA-256 and AES-256-CBC. */
export async function encrypt(bytes: Buffer, password: string, iterations: number): Promise<Encrypted> {
  const salt = randomBytes(16)
  const iv = randomBytes(16)
  const key = await derive(password, salt, iterations, 32, 'sha256')
  const cipher = createCipheriv('aes-256-cbc', key, iv)
  const encrypted = Buffer.concat([cipher.update(bytes), cipher.final()])
  const prf = sequence(oid(oids.hmacWithSha256), element(tags.null))
  const keyDerivation = sequence(oid(oids.pbkdf2), sequence(octetString(salt), integer(iterations), prf))
  const scheme = sequence(oid(oids.aes256Cbc), octetString(iv))
  return { algorithm: sequence(oid(oids.pbes2), sequence(keyDerivation, scheme)), encrypted }
}
