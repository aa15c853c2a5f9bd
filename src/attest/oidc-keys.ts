import { urlFault } from '../config/url.ts'
import type { OidcSource } from '../config.ts'
import { type Fetch, fetchDocument } from './fetch-document.ts'
import { readJwkSet } from './jwk-set.ts'
import type { LoadKeys } from './key-cache.ts'
import { refuse } from './refusal.ts'
import { isJsonObject, readStrictJson } from './strict-json.ts'

const timeout = 5_000
const refreshDefault = 10 * 60_000
const refreshMin = 60_000
const refreshMax = 60 * 60_000

/** Loads an OIDC issuer's keys from its configured `jwks_uri`, or from the one that its discovery document names. */
export function oidcKeyLoader(source: OidcSource, fetch: Fetch): LoadKeys {
  return async () => {
    // One limit for both requests: a caller waits for both.
    const signal = AbortSignal.timeout(timeout)
    const uri = source.jwksUri ?? (await discover(source.issuer, fetch, signal))
    const { bytes, maxAge } = await fetchDocument(uri, fetch, signal)
    const keys = readJwkSet(readStrictJson(bytes), 'sig')
    const refreshAfter = Math.min(Math.max(maxAge ?? refreshDefault, refreshMin), refreshMax)
    return { keys, authorities: [], refreshAfter }
  }
}

/** OpenID Connect Discovery 1.0 §§4.1, 4.3: the document is of this very issuer, byte for byte. */
async function discover(issuer: string, fetch: Fetch, signal: AbortSignal): Promise<string> {
  const address = `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`
  const metadata = readStrictJson((await fetchDocument(address, fetch, signal)).bytes)
  if (!isJsonObject(metadata) || metadata.issuer !== issuer) throw refuse('keys_malformed')
  const uri = metadata.jwks_uri
  if (typeof uri !== 'string' || urlFault(uri) !== null) throw refuse('keys_refused')
  // Plain HTTP is this machine's loopback: an issuer elsewhere has no say in what is asked of it.
  if (URL.parse(uri)?.protocol !== 'https:' && URL.parse(issuer)?.protocol === 'https:')
    throw refuse('keys_refused')
  return uri
}
