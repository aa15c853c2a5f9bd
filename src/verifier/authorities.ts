import { type Authority, findAuthorities, isSameKeyId } from './authority-paths.ts'
import { type Certificate, readCertificate } from './certificate.ts'
import { isSame } from './der.ts'
import { type Fetch, get } from './get.ts'
import { readPem } from './pem.ts'
import { VerifierRefusal } from './refusal.ts'

/** The broker's published authorities. Nothing is asked for before the first certificate is checked: a broker need not have any. */
export interface Authorities {
  /**
   * Those of this name, and with this key's identifier where both tell one.
   *
   * @throws VerifierRefusal `authorities_unavailable` where none were ever loaded and they cannot be had
   */
  named(name: Uint8Array, keyId: Uint8Array | null): Promise<Authority[]>
  /** The published authority of that name. */
  find(kid: string): Authority | undefined
  /**
   * Loads them again if they are older than that by now.
   *
   * @param age milliseconds
   * @throws when they cannot be had
   */
  noOlderThan(age: number): Promise<void>
  /**
   * Loads them again, unless that was done less than so long ago: however old the answer was, a cache on the way would give the same.
   *
   * @param pause milliseconds
   * @throws when they cannot be had
   */
  anew(pause: number): Promise<void>
  /** The same as `noOlderThan` in the background, if they were ever asked for. */
  refresh(age: number): void
}

const maxBytes = 1024 * 1024
const maxCertificates = 256
/** Milliseconds in which authorities that could not be had are not asked for again. */
const retryAfter = 1000

export function createAuthorities(options: {
  url: string
  fetch: Fetch
  signal: AbortSignal
  /** Milliseconds that are never understated. */
  elapsed: () => number
}): Authorities {
  const { url, fetch, signal, elapsed } = options
  let published: Authority[] | null = null
  let asOf = Number.NEGATIVE_INFINITY
  /** When those that are held were asked for. */
  let asked = asOf
  let wanted = false
  let loading: Promise<void> | null = null
  let failure: { error: unknown; at: number } | null = null

  async function load(): Promise<void> {
    if (failure !== null && elapsed() - failure.at < retryAfter) throw failure.error
    loading ??= fetched()
      .catch(error => {
        failure = { error, at: elapsed() }
        throw error
      })
      .finally(() => {
        loading = null
      })
    await loading
  }

  async function fetched(): Promise<void> {
    const sentAt = elapsed()
    const { bytes, age } = await get(fetch, url, { accept: 'application/x-pem-file', maxBytes, signal })
    const certificates = readPem(new TextDecoder().decode(bytes), maxCertificates).map(readable)
    published = await findAuthorities(certificates)
    // As old as the request, not as the answer.
    asOf = sentAt - age
    asked = sentAt
    failure = null
  }

  async function noOlderThan(age: number): Promise<void> {
    wanted = true
    const since = elapsed() - age
    // A load that is under way may have been sent too long ago: then another one.
    for (let tries = 0; asOf < since; tries++) {
      if (tries === 2) throw new Error('the authorities are older than allowed')
      await load()
    }
  }

  return {
    noOlderThan,
    async anew(pause) {
      wanted = true
      if (elapsed() - asked > pause) await load()
    },
    async named(name, keyId) {
      wanted = true
      if (published === null)
        await load().catch(cause => {
          throw new VerifierRefusal('authorities_unavailable', { cause })
        })
      return (published ?? []).filter(
        authority => isSame(authority.name, name) && isSameKeyId(authority.keyId, keyId),
      )
    },
    find: kid => published?.find(authority => authority.kid === kid),
    refresh(age) {
      if (wanted) noOlderThan(age).catch(() => {})
    },
  }
}

/** One that cannot be read is not believed; the others are. */
function readable(der: Uint8Array): Certificate | null {
  try {
    return readCertificate(der)
  } catch {
    return null
  }
}
