import { createPrivateKey, createPublicKey, generateKeyPair, type KeyObject } from 'node:crypto'
import { promisify } from 'node:util'
import type { JWK } from 'jose'
import { calculateJwkThumbprint } from 'jose'
import type { SigningAlg } from '../config.ts'
import type { MasterKey } from '../secrets/master-key.ts'
import { unwrap, wrap } from '../secrets/wrap.ts'
import type { KeyRow } from '../store/signing-keys.ts'

/** A key that decrypted: what is published of it is derived from the private key (invariant 9). */
export interface SigningKey {
  use: 'jwt'
  kid: string
  alg: SigningAlg
  privateKey: KeyObject
  publicKey: KeyObject
  /** As in the JWK Set (RFC 7517). */
  jwk: JWK
  publishedAt: Date
  activeAt: Date
  retiredAt: Date | null
  lastDay: Date | null
  withdrawnAt: Date | null
}

const purpose = 'signing-key'
const generate = promisify(generateKeyPair)

/** Each algorithm's key (RFC 7518 §3.1, RFC 8037 §3.1). */
const keyPair: Record<SigningAlg, () => Promise<{ privateKey: KeyObject }>> = {
  ES256: () => generate('ec', { namedCurve: 'P-256' }),
  ES384: () => generate('ec', { namedCurve: 'P-384' }),
  RS256: () => generate('rsa', { modulusLength: 3072 }),
  PS256: () => generate('rsa', { modulusLength: 3072 }),
  EdDSA: () => generate('ed25519'),
}

/** Makes a key and wraps it under the master key. The `kid` is the public key's thumbprint (RFC 7638). */
export async function newKeyRow(
  masterKey: MasterKey,
  alg: SigningAlg,
  dates: Pick<KeyRow, 'publishedAt' | 'activeAt' | 'ttlMax'>,
): Promise<KeyRow> {
  const { privateKey } = await keyPair[alg]()
  const kid = await kidOf(createPublicKey(privateKey))
  return {
    kid,
    alg,
    ...dates,
    retiredAt: null,
    lastDay: null,
    privateKey: wrap(masterKey, { purpose, kid: bound(kid, alg) }, pkcs8Of(privateKey)),
    wrappedBy: masterKey.id,
    withdrawnAt: null,
    use: 'jwt',
    authority: null,
  }
}

/** Throws when the row was not written by a broker that holds this master key, or was altered since. */
export async function openKeyRow(masterKey: MasterKey, row: KeyRow): Promise<SigningKey> {
  const alg = row.alg as SigningAlg
  const pkcs8 = unwrap(masterKey, { purpose, kid: bound(row.kid, alg) }, row.privateKey)
  const privateKey = createPrivateKey({ key: pkcs8, type: 'pkcs8', format: 'der' })
  const publicKey = createPublicKey(privateKey)
  if ((await kidOf(publicKey)) !== row.kid) throw new Error('the key is not the one that its kid names')
  return {
    use: 'jwt',
    kid: row.kid,
    alg,
    privateKey,
    publicKey,
    jwk: { ...(publicKey.export({ format: 'jwk' }) as JWK), kid: row.kid, alg, use: 'sig' },
    publishedAt: row.publishedAt,
    activeAt: row.activeAt,
    retiredAt: row.retiredAt,
    lastDay: row.lastDay,
    withdrawnAt: row.withdrawnAt,
  }
}

/** The algorithm is bound too: a key is for one only, whatever the row says. */
const bound = (kid: string, alg: SigningAlg): string => `${alg}.${kid}`

export const pkcs8Of = (privateKey: KeyObject): Buffer => privateKey.export({ type: 'pkcs8', format: 'der' })

/** The public key's thumbprint (RFC 7638). */
export const kidOf = (publicKey: KeyObject): Promise<string> =>
  calculateJwkThumbprint(publicKey.export({ format: 'jwk' }) as JWK)
