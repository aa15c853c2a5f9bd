import type { Authorities } from './authorities.ts'
import type { CertificateGrounds } from './claims.ts'
import { type Crl, readCrl } from './crl.ts'
import type { Freshness } from './freshness.ts'
import { type Fetch, get } from './get.ts'
import { VerifierRefusal } from './refusal.ts'
import { createShelf, type Loaded } from './shelf.ts'

/** What is asked about certificates when the feed is silent: the revocation lists of the broker's authorities. */
export interface Crls {
  /**
   * Returns where the authority is still published and its revocation list, young enough to be believed, does not have the certificate.
   *
   * @throws VerifierRefusal with the reason why not
   */
  vouch(grounds: CertificateGrounds): Promise<void>
}

export interface CrlsDeps {
  /** Under which the lists are, each under its authority's `kid`; ending with a slash. */
  base: string
  /** Milliseconds. */
  maxStaleness: number
  /** Seconds. */
  clockTolerance: number
  authorities: Authorities
  fetch: Fetch
  signal: AbortSignal
  freshness: Pick<Freshness, 'now' | 'elapsed'>
}

type Held = Crl & Loaded

const maxBytes = 16 * 1024 * 1024
/** Entries of all lists held at once. */
const maxHeld = 1_000_000

export function createCrls(deps: CrlsDeps): Crls {
  const { base, authorities, freshness, maxStaleness, clockTolerance } = deps
  const shelf = createShelf<Held>({
    load,
    faultOf,
    sizeOf: ({ entries }) => entries.size,
    maxHeld,
    maxKept: maxStaleness,
    elapsed: freshness.elapsed,
  })

  async function vouch({ kid, serial }: CertificateGrounds): Promise<void> {
    // The feed would have told of an authority that was withdrawn: now the published ones have to.
    await authorities.noOlderThan(maxStaleness).catch(cause => {
      throw new VerifierRefusal('authorities_unavailable', { cause })
    })
    if (!authorities.find(kid)) throw new VerifierRefusal('authority_unknown')
    const { entries } = await shelf.current(kid)
    const entry = entries.find(serial)
    if (entry === 'held') throw new VerifierRefusal('credential_suspended')
    if (entry !== null) throw new VerifierRefusal('credential_revoked')
  }

  /** The address is made of the authority's key: none is ever taken from a certificate (invariant 7). */
  async function load(kid: string, asked: number): Promise<Held> {
    const url = `${base}${kid}`
    const { fetch, signal } = deps
    const { bytes } = await get(fetch, url, { accept: 'application/pkix-crl', maxBytes, signal }).catch(
      cause => {
        throw new VerifierRefusal('crl_unreachable', { cause })
      },
    )
    const authority = authorities.find(kid)
    if (!authority) throw new VerifierRefusal('authority_unknown')
    return { ...(await readCrl(bytes, authority, url)), asked }
  }

  /** Why a list may not be believed now: too old by what it says itself, or by how long ago it was asked for. */
  function faultOf({ thisUpdate, nextUpdate, asked }: Held): VerifierRefusal | null {
    const now = freshness.now()
    const age = now - thisUpdate
    const isYoung =
      age <= maxStaleness + clockTolerance * 1000 &&
      age >= -clockTolerance * 1000 &&
      freshness.elapsed() - asked <= maxStaleness &&
      now < nextUpdate
    return isYoung ? null : new VerifierRefusal('crl_stale')
  }

  return { vouch }
}
