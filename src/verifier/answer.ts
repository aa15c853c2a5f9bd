import type { VerifierRefusal } from './refusal.ts'

/** How a refusal is answered (RFC 6750 §3): nothing of it may be kept by a cache. */
export const refusalHeaders = ({ challenge }: VerifierRefusal): Record<string, string> => ({
  'WWW-Authenticate': challenge,
  'Cache-Control': 'no-store',
  'Content-Type': 'application/json',
})

export const refusalBody = ({ error, code }: VerifierRefusal): string =>
  JSON.stringify({ ...(error !== null && { error }), reason: code })
