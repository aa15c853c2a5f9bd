import type { KeyObject } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { verifySignature } from '../attest/algorithms.ts'
import type { Jws } from '../attest/jws.ts'

/** Tokens that are remembered at the most. */
const most = 10_000

/**
 * Verifies signatures, and does not repeat the arithmetic for a token that verified before under the same key: a service asks about
 * one token as long as it is used. Only that is remembered: everything else about a token is checked each time, and a key that
 * was loaded again is another key.
 *
 * `sha256` is the digest of the token as presented, signature included.
 */
export function rememberingVerifier(): (alg: string, key: KeyObject, jws: Jws, sha256: string) => boolean {
  const verified = new LRUCache<string, { alg: string; key: KeyObject }>({ max: most })
  return (alg, key, jws, sha256) => {
    const known = verified.get(sha256)
    if (known?.key === key && known.alg === alg) return true
    if (!verifySignature(alg, key, jws)) return false
    verified.set(sha256, { alg, key })
    return true
  }
}
