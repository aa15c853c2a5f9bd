import { absent, refuse } from './refusal.ts'

export type Fetch = typeof globalThis.fetch

export interface Document {
  bytes: Uint8Array
  /** `Cache-Control: max-age` in ms, 0 where it forbids keeping; null where nothing is said. */
  maxAge: number | null
}

const maxBytes = 512 * 1024

/**
 * GETs a document of keys: one answer, from this address and no other, of bounded size.
 *
 * @param signal ends the whole exchange, body included
 * @throws HallpassError `unavailable` (keys_timeout, keys_unreachable) when the server is slow, away or busy;
 *   `attestation_invalid` (keys_refused, keys_too_large) when it answers with what cannot be used.
 */
export async function fetchDocument(url: string, fetch: Fetch, signal: AbortSignal): Promise<Document> {
  const response = await fetch(url, {
    // A redirect would let the answer come from an address that nobody configured.
    redirect: 'manual',
    headers: { accept: 'application/json' },
    signal,
  }).catch(() => {
    throw away(signal)
  })
  if (response.status !== 200) {
    await response.body?.cancel().catch(() => {})
    throw response.status >= 500 || response.status === 429
      ? absent('keys_unreachable')
      : refuse('keys_refused')
  }
  return { bytes: await readBounded(response, signal), maxAge: readMaxAge(response) }
}

async function readBounded(response: Response, signal: AbortSignal): Promise<Uint8Array> {
  const chunks: Uint8Array[] = []
  let size = 0
  const reader = response.body?.getReader()
  while (reader) {
    const { done, value } = await reader.read().catch(() => {
      throw away(signal)
    })
    if (done) break
    size += value.length
    if (size > maxBytes) {
      await reader.cancel().catch(() => {})
      throw refuse('keys_too_large')
    }
    chunks.push(value)
  }
  return Buffer.concat(chunks)
}

/** RFC 9111 §5.2.2. */
function readMaxAge(response: Response): number | null {
  const directives = (response.headers.get('cache-control') ?? '').toLowerCase()
  if (/\bno-(store|cache)\b/.test(directives)) return 0
  const seconds = /\bmax-age="?(\d{1,9})\b/.exec(directives)?.[1]
  return seconds === undefined ? null : Number(seconds) * 1000
}

/** The failure's own text may name hosts and addresses: it is left behind. */
function away(signal: AbortSignal) {
  return absent(signal.aborted ? 'keys_timeout' : 'keys_unreachable')
}
