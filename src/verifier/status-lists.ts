import type { TokenGrounds } from './claims.ts'
import type { Freshness } from './freshness.ts'
import { type Fetch, get } from './get.ts'
import type { KeySet } from './key-set.ts'
import { VerifierRefusal } from './refusal.ts'
import { createShelf, type Loaded } from './shelf.ts'
import { readStatusList, type StatusList, statusAt } from './status-list.ts'

/** What is asked when the feed is silent: the broker's Token Status Lists. */
export interface StatusLists {
  /**
   * Returns where the status list of the token says that it is valid, and is young enough to be believed.
   *
   * @throws VerifierRefusal with the reason why not
   */
  vouch(grounds: TokenGrounds): Promise<void>
}

export interface StatusListsDeps {
  issuer: string
  /** Under which all status lists of the issuer are, ending with a slash. */
  base: string
  algorithms: string[]
  /** Milliseconds. */
  maxStaleness: number
  /** Seconds. */
  clockTolerance: number
  keys: KeySet
  fetch: Fetch
  signal: AbortSignal
  freshness: Pick<Freshness, 'now' | 'elapsed'>
  isWithdrawn: (kid: string) => boolean
}

type Held = StatusList & Loaded

const maxBytes = 16 * 1024 * 1024
/** Of all lists held at once, unpacked. */
const maxHeld = 64 * 1024 * 1024

export function createStatusLists(deps: StatusListsDeps): StatusLists {
  const { base, keys, freshness, maxStaleness, clockTolerance } = deps
  const shelf = createShelf<Held>({
    load,
    faultOf,
    sizeOf: ({ bytes }) => bytes.length,
    maxHeld,
    maxKept: maxStaleness,
    elapsed: freshness.elapsed,
  })

  async function vouch({ alg, kid, status }: TokenGrounds): Promise<void> {
    if (status === null) throw new VerifierRefusal('status_missing')
    if (!isOurs(status.uri)) throw new VerifierRefusal('status_foreign')
    // The feed would have told of a key that was withdrawn: now the published keys have to.
    await keys.noOlderThan(maxStaleness).catch(cause => {
      throw new VerifierRefusal('keys_unavailable', { cause })
    })
    await keys.resolve({ alg, kid }).catch(cause => {
      throw new VerifierRefusal('key_unknown', { cause })
    })
    const list = await shelf.current(status.uri)
    const value = statusAt(list, status.idx)
    if (value === 1) throw new VerifierRefusal('credential_revoked')
    if (value === 2) throw new VerifierRefusal('credential_suspended')
    if (value !== 0) throw new VerifierRefusal('status_unknown')
  }

  /** Tokens are the broker's own, but no address is taken from one unless it is where lists are (invariant 7). */
  const isOurs = (uri: string): boolean =>
    uri.startsWith(base) && /^[A-Za-z0-9_-]{1,128}$/.test(uri.slice(base.length))

  async function load(uri: string, asked: number): Promise<Held> {
    const { fetch, signal, issuer, algorithms } = deps
    const accept = 'application/statuslist+jwt'
    const { bytes } = await get(fetch, uri, { accept, maxBytes, signal }).catch(cause => {
      throw new VerifierRefusal('status_unreachable', { cause })
    })
    const list = await readStatusList(new TextDecoder().decode(bytes), {
      uri,
      issuer,
      algorithms,
      keys: keys.resolve,
      now: freshness.now(),
      clockTolerance,
    })
    return { ...list, asked }
  }

  /** Why a list may not be believed now: too old by what it says itself, or by how long ago it was asked for. */
  function faultOf(list: Held): VerifierRefusal | null {
    if (deps.isWithdrawn(list.kid)) return new VerifierRefusal('status_key_refused')
    const now = freshness.now()
    const age = now - list.issuedAt * 1000
    const kept = freshness.elapsed() - list.asked
    const isYoung =
      age <= maxStaleness + clockTolerance * 1000 &&
      age >= -clockTolerance * 1000 &&
      kept <= Math.min(maxStaleness, list.ttl * 1000) &&
      now < list.expiresAt * 1000
    return isYoung ? null : new VerifierRefusal('status_stale')
  }

  return { vouch }
}
