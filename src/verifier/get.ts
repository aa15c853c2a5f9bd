export type Fetch = typeof globalThis.fetch

/** A document that a server gave. */
export interface Document {
  bytes: Uint8Array<ArrayBuffer>
  /** Milliseconds that a cache on the way had kept it (RFC 9111 §5.1). */
  age: number
}

/** Milliseconds for a whole exchange, body included. */
const timeout = 3000

/**
 * GETs a document from this address and no other, of bounded size and in bounded time.
 *
 * @throws Error with a reason that names neither hosts nor addresses
 */
export async function get(
  fetch: Fetch,
  url: string,
  { accept, maxBytes, signal }: { accept: string; maxBytes: number; signal: AbortSignal },
): Promise<Document> {
  const late = new AbortController()
  const timer = setTimeout(() => late.abort(), timeout)
  const stop = () => late.abort()
  signal.addEventListener('abort', stop)
  if (signal.aborted) stop()
  try {
    const response = await fetch(url, {
      // A redirect would let the answer come from an address that nobody configured.
      redirect: 'manual',
      // What a cache holds may be older than it seems (RFC 9111 §5.2.1.4).
      headers: { accept, 'cache-control': 'no-cache' },
      signal: late.signal,
    })
    if (response.status !== 200) {
      await response.body?.cancel().catch(() => {})
      throw new Error('not answered with 200')
    }
    return { bytes: await readBounded(response.body, maxBytes), age: ageOf(response) }
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', stop)
  }
}

/**
 * Reads a stream to its end.
 *
 * @throws RangeError when it is longer than allowed; then the rest is not read
 */
export async function readBounded(
  body: ReadableStream<Uint8Array> | null,
  maxBytes: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array[] = []
  let size = 0
  const reader = body?.getReader()
  while (reader) {
    const { done, value } = await reader.read()
    if (done) break
    size += value.length
    if (size > maxBytes) {
      reader.cancel().catch(() => {})
      throw new RangeError('too large')
    }
    chunks.push(value)
  }
  const bytes = new Uint8Array(size)
  let at = 0
  for (const chunk of chunks) {
    bytes.set(chunk, at)
    at += chunk.length
  }
  return bytes
}

/** Milliseconds; what cannot be read is as old as can be. */
export function ageOf({ headers }: Response): number {
  const age = headers.get('age')
  if (age === null) return 0
  return /^\d{1,9}$/.test(age) ? Number(age) * 1000 : Number.POSITIVE_INFINITY
}
