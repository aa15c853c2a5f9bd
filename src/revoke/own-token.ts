import { compactVerify, decodeProtectedHeader } from 'jose'
import type { Keyring } from '../mint/keyring.ts'

/** Claims of a token that we signed, in time or not. */
export interface OwnToken {
  sub: string
  client_id: string
  aud: string | string[]
  iat: number
  exp: number
  jti: string
  scope: string
  task_id: string
  task_ver: number
}

/** Longer than any token of ours can be. */
const longest = 65_536

/**
 * The claims of an access token of this broker, whose signature was made by a key that is still published; null for anything else.
 * Says nothing of whether it is live.
 */
export async function openOwnToken(
  { keyring, issuer }: { keyring: Keyring; issuer: string },
  token: string,
): Promise<OwnToken | null> {
  if (token.length > longest) return null
  try {
    const { kid, alg } = decodeProtectedHeader(token)
    const key = typeof kid === 'string' ? keyring.find(kid) : null
    if (!key || alg !== key.alg) return null
    const { payload, protectedHeader } = await compactVerify(token, key.publicKey, { algorithms: [key.alg] })
    if (protectedHeader.typ !== 'at+jwt') return null
    const claims = JSON.parse(new TextDecoder().decode(payload)) as OwnToken & { iss: string }
    return claims.iss === issuer ? claims : null
  } catch {
    return null
  }
}

/** Whether a token is one of ours by its header, before anything is verified. */
export function looksLikeOwnToken(token: string): boolean {
  try {
    return decodeProtectedHeader(token).typ === 'at+jwt'
  } catch {
    return false
  }
}
