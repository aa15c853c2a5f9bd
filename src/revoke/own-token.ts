import { createHash } from 'node:crypto'
import { type Jws, parseJws } from '../attest/jws.ts'
import type { AccessTokenClaims } from '../mint/jwt.ts'
import type { Keyring } from '../mint/keyring.ts'
import { rememberingVerifier } from './verified.ts'

/**
 * The claims of an access token of this broker, whose signature was made by a key that is still published; null for anything else.
 * Says nothing of whether it is live.
 */
export type OwnTokens = (token: string) => AccessTokenClaims | null

export function ownTokens({ keyring, issuer }: { keyring: Keyring; issuer: string }): OwnTokens {
  const verify = rememberingVerifier()
  return token => {
    const jws = parsed(token)
    const { typ, kid, alg } = jws?.header ?? {}
    const key = typeof kid === 'string' ? keyring.find(kid) : null
    if (!jws || !key || typ !== 'at+jwt' || alg !== key.alg) return null
    const sha256 = createHash('sha256').update(token).digest('hex')
    if (!verify(key.alg, key.publicKey, jws, sha256)) return null
    // Our signature vouches for the shape: nothing else is signed with these keys under this type.
    const claims = jws.payload as unknown as AccessTokenClaims
    return claims.iss === issuer ? claims : null
  }
}

/** Whether a token says that it is one of ours. Proves nothing: it chooses which check the token has to pass. */
export const looksLikeOwnToken = (token: string): boolean => parsed(token)?.header.typ === 'at+jwt'

function parsed(token: string): Jws | null {
  try {
    return parseJws(token)
  } catch {
    return null
  }
}
