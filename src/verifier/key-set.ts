import { createRemoteJWKSet, customFetch, type RemoteJWKSet } from 'jose'
import { type Fetch, get } from './get.ts'

/** The broker's published signing keys. */
export interface KeySet {
  /** jose's key resolver. It loads the keys when there are none yet, and never again by itself. */
  resolve: RemoteJWKSet
  /**
   * Loads the keys again if they are older than that by now.
   *
   * @param age milliseconds
   * @throws when they cannot be had
   */
  noOlderThan(age: number): Promise<void>
  /**
   * Loads the keys again, unless that was done less than so long ago: however old the answer was, a cache on the way would give the same.
   *
   * @param pause milliseconds
   * @throws when they cannot be had
   */
  anew(pause: number): Promise<void>
}

const maxBytes = 1024 * 1024

/**
 * When keys are loaded again is decided here and not by jose, which goes by the wall clock: set back, it would keep withdrawn keys and
 * ignore new ones for as long.
 */
export function createKeySet(options: {
  url: string
  fetch: Fetch
  signal: AbortSignal
  /** Milliseconds that are never understated. */
  elapsed: () => number
}): KeySet {
  const { url, fetch, signal, elapsed } = options
  let loadedAt = Number.NEGATIVE_INFINITY
  let asOf = loadedAt
  let askedAt = loadedAt

  const resolve = createRemoteJWKSet(new URL(url), {
    cacheMaxAge: Number.POSITIVE_INFINITY,
    cooldownDuration: Number.POSITIVE_INFINITY,
    async [customFetch](address) {
      const sentAt = elapsed()
      const { bytes, age } = await get(fetch, address, { accept: 'application/json', maxBytes, signal })
      // As old as the request, not as the answer.
      asOf = sentAt - age
      askedAt = sentAt
      return new Response(bytes)
    },
  })

  return {
    resolve,
    async anew(pause) {
      if (elapsed() - askedAt > pause) await resolve.reload()
    },
    async noOlderThan(age) {
      const since = elapsed() - age
      // A load that is under way may have been sent too long ago: then another one.
      for (let tries = 0; loadedAt < since; tries++) {
        if (tries === 2) throw new Error('the keys are older than allowed')
        await resolve.reload()
        loadedAt = asOf
      }
    },
  }
}
