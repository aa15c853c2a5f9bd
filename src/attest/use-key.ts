import { createHash } from 'node:crypto'
import type { Jws } from './jws.ts'

/**
 * By what an attestation is known again when it may be used once: SHA-256, hex, of its source with `iss` and `jti`, or
 * without a `jti` of its decoded header and payload. The signature has no part in it: (r, n − s) is as good as (r, s).
 */
export function useKey(jws: Jws, trust: string): string {
  const { iss, jti } = jws.payload
  const parts =
    typeof jti === 'string' && jti !== ''
      ? ['jti', trust, typeof iss === 'string' ? iss : '', jti]
      : ['whole', trust, jws.headerBytes, jws.payloadBytes]
  const hash = createHash('sha256')
  // NUL is in none of the parts (strict JSON refuses it), so that no two lists read alike.
  for (const part of parts) hash.update(part).update('\0')
  return hash.digest('hex')
}
