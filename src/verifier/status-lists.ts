import type { Grounds } from './claims.ts'
import type { Freshness } from './freshness.ts'
import { type Fetch, get } from './get.ts'
import type { KeySet } from './key-set.ts'
import { VerifierRefusal } from './refusal.ts'
import { readStatusList, type StatusList, statusAt } from './status-list.ts'

/** What is asked when the feed is silent: the broker's Token Status Lists. */
export interface StatusLists {
  /**
   * Returns where the status list of the token says that it is valid, and is young enough to be believed.
   *
   * @throws VerifierRefusal with the reason why not
   */
  vouch(grounds: Grounds): Promise<void>
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

interface Held extends StatusList {
  /** When it was asked for, in milliseconds that are never understated. */
  asked: number
}

const maxBytes = 16 * 1024 * 1024
/** Of all lists held at once, unpacked. */
const maxHeld = 64 * 1024 * 1024
/** Milliseconds in which a list that could not be had is not asked for again. */
const retryAfter = 1000

export function createStatusLists(deps: StatusListsDeps): StatusLists {
  const { base, keys, freshness, maxStaleness, clockTolerance } = deps
  const held = new Map<string, Held>()
  const failed = new Map<string, { refusal: VerifierRefusal; at: number }>()
  const loading = new Map<string, Promise<Held>>()

  async function vouch({ alg, kid, status }: Grounds): Promise<void> {
    if (status === null) throw new VerifierRefusal('status_missing')
    if (!isOurs(status.uri)) throw new VerifierRefusal('status_foreign')
    // The feed would have told of a key that was withdrawn: now the published keys have to.
    await keys.noOlderThan(maxStaleness).catch(cause => {
      throw new VerifierRefusal('keys_unavailable', { cause })
    })
    await keys.resolve({ alg, kid }).catch(cause => {
      throw new VerifierRefusal('key_unknown', { cause })
    })
    const list = await current(status.uri)
    const value = statusAt(list, status.idx)
    if (value === 1) throw new VerifierRefusal('credential_revoked')
    if (value === 2) throw new VerifierRefusal('credential_suspended')
    if (value !== 0) throw new VerifierRefusal('status_unknown')
  }

  /** Tokens are the broker's own, but no address is taken from one unless it is where lists are (invariant 7). */
  const isOurs = (uri: string): boolean =>
    uri.startsWith(base) && /^[A-Za-z0-9_-]{1,128}$/.test(uri.slice(base.length))

  async function current(uri: string): Promise<Held> {
    const known = held.get(uri)
    if (known && faultOf(known) === null) return known
    const failure = failed.get(uri)
    if (failure && freshness.elapsed() - failure.at < retryAfter) throw failure.refusal
    return load(uri)
  }

  function load(uri: string): Promise<Held> {
    const under = loading.get(uri)
    if (under) return under
    const loaded = fetchList(uri)
      .then(
        list => {
          keep(uri, list)
          return list
        },
        (refusal: VerifierRefusal) => {
          dropOld()
          failed.set(uri, { refusal, at: freshness.elapsed() })
          throw refusal
        },
      )
      .finally(() => loading.delete(uri))
    loading.set(uri, loaded)
    return loaded
  }

  async function fetchList(uri: string): Promise<Held> {
    const { fetch, signal, issuer, algorithms } = deps
    const asked = freshness.elapsed()
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
    const loaded = { ...list, asked }
    const fault = faultOf(loaded)
    if (fault !== null) throw fault
    return loaded
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

  function keep(uri: string, list: Held): void {
    dropOld()
    failed.delete(uri)
    held.delete(uri)
    held.set(uri, list)
    let size = 0
    for (const { bytes } of held.values()) size += bytes.length
    for (const [oldest, { bytes }] of held) {
      if (size <= maxHeld) break
      size -= bytes.length
      held.delete(oldest)
    }
  }

  function dropOld(): void {
    const now = freshness.elapsed()
    for (const [uri, { asked }] of held) if (now - asked > maxStaleness) held.delete(uri)
    for (const [uri, { at }] of failed) if (now - at > retryAfter) failed.delete(uri)
  }

  return { vouch }
}
