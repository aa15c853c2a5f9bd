import { readFile, stat } from 'node:fs/promises'
import type { SpiffeSource } from '../config.ts'
import { type Fetch, fetchDocument } from './fetch-document.ts'
import { readJwkSet } from './jwk-set.ts'
import type { LoadedKeys, LoadKeys } from './key-cache.ts'
import { absent, refuse } from './refusal.ts'
import { isJsonObject, type JsonValue, numberText, readStrictJson } from './strict-json.ts'
import { readAuthorities } from './x509/authorities.ts'

const timeout = 5_000
/** What the standard recommends where no hint is given (SPIFFE Federation §4.1). */
const refreshDefault = 5 * 60_000
const refreshMin = 10_000
/** A hint is but a hint (SPIFFE bundle §4.1.2): a redacted key is gone from here within the hour. */
const refreshMax = 60 * 60_000
const fileRefresh = 5_000
const maxFileBytes = 512 * 1024

/**
 * Loads one trust domain's bundle: its JWT-SVID keys and its X.509 authorities. Which domain that is, the configuration says, never the bundle (SPIFFE Federation §5.1).
 * An empty `keys` is a good bundle: it revokes everything.
 */
export function bundleLoader(source: SpiffeSource, fetch: Fetch): LoadKeys {
  const { bundle } = source
  return 'file' in bundle ? () => readBundleFile(bundle.file) : held => fetchBundle(bundle.url, fetch, held)
}

/** Whatever the operator puts there is the latest bundle (SPIFFE Federation §4.2), an earlier sequence number included. */
async function readBundleFile(file: string): Promise<LoadedKeys> {
  const bytes = await readBoundedFile(file)
  return { ...readBundle(readStrictJson(bytes)), refreshAfter: fileRefresh }
}

/**
 * The `https_web` profile (SPIFFE Federation §5.2.1), redirects not followed. A bundle with an earlier sequence number than
 * the one held is an old copy (§4.2): it counts as a failed refresh. Should the endpoint truly have started over, the
 * bundle held grows too old, is dropped, and its number with it.
 */
async function fetchBundle(url: string, fetch: Fetch, held: LoadedKeys | null): Promise<LoadedKeys> {
  const { bytes } = await fetchDocument(url, fetch, AbortSignal.timeout(timeout))
  const loaded = readBundle(readStrictJson(bytes))
  if (held?.sequence !== undefined && loaded.sequence !== undefined && loaded.sequence < held.sequence) {
    throw refuse('keys_older')
  }
  return loaded
}

function readBundle(document: JsonValue | undefined): LoadedKeys {
  const keys = readJwkSet(document, 'jwt-svid')
  if (!isJsonObject(document)) throw refuse('keys_malformed')
  const hint = readInteger(document.spiffe_refresh_hint)
  const refreshAfter = hint === undefined ? refreshDefault : Number(hint) * 1000
  return {
    keys,
    authorities: readAuthorities(document),
    refreshAfter: Math.min(Math.max(refreshAfter, refreshMin), refreshMax),
    sequence: readInteger(document.spiffe_sequence),
  }
}

/** Of any width: sequence numbers need at least 64 bits (SPIFFE bundle §4.1.1). */
function readInteger(value: JsonValue | undefined): bigint | undefined {
  const text = numberText(value)
  return text !== null && /^\d{1,30}$/.test(text) ? BigInt(text) : undefined
}

async function readBoundedFile(file: string): Promise<Buffer> {
  try {
    const { size } = await stat(file)
    if (size <= maxFileBytes) return await readFile(file)
  } catch {
    throw absent('keys_unreachable')
  }
  throw refuse('keys_too_large')
}
