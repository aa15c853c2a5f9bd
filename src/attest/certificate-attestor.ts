import { createHash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import type { Clock } from '../clock.ts'
import type { SpiffeSource } from '../config.ts'
import { HallpassError } from '../errors.ts'
import { maxTime } from './claims.ts'
import type { KeyCache, LoadedKeys } from './key-cache.ts'
import type { Principal } from './principal.ts'
import { refuse } from './refusal.ts'
import type { TrustLookup } from './trust-lookup.ts'
import { type PresentedSvid, readSvid, type Validity, verifySvid } from './x509/svid.ts'

/**
 * Verifies an X.509-SVID by the bundle of its own trust domain and nothing else. That its holder has the key is for the TLS handshake to
 * have proven. Revocation is not looked at: SPIFFE has none, its SVIDs are short-lived.
 *
 * @param chain DER, leaf first; the rest in any order
 * @throws HallpassError `attestation_invalid`, its cause's message a RefusalReason; or `unavailable`, with `retryAfter` in seconds, when the
 *   bundle is needed and away.
 */
export type AttestCertificate = (chain: readonly Uint8Array[]) => Promise<Principal>

interface Dependencies {
  lookup: TrustLookup
  /** By the trust source's name. */
  caches: ReadonlyMap<string, KeyCache>
  clock: Clock
  /** Milliseconds. */
  clockSkew: number
  ownTrustDomain: string | null
}

/** A chain that was accepted, under the digest of all that was presented. */
interface Remembered {
  cache: KeyCache
  /** The bundle that it was verified by: one that was loaded again is another one. */
  bundle: LoadedKeys
  validity: Validity
  principal: Principal
}

/** A chain that was refused, by what was known then. */
interface Refused {
  error: HallpassError
  at: number
}

/** How long a refusal is as good as a judgement. Milliseconds. */
const refusalHolds = 1_000

export function certificateAttestor(deps: Dependencies): AttestCertificate {
  const { lookup, caches, clock, clockSkew, ownTrustDomain } = deps
  // A client has many connections, and shows the same chain on each. What changes by itself is checked each time.
  const remembered = new LRUCache<string, Remembered>({ max: 10_000 })
  // And whoever is nobody may ask again and again on an open connection: a chain made for it takes a hundred milliseconds to judge.
  const refused = new LRUCache<string, Refused>({ max: 1_000 })

  return async chain => {
    const digest = digestOf(chain)
    const before = refused.get(digest)
    if (before && Math.abs(clock() - before.at) < refusalHolds)
      throw new HallpassError(before.error.code, before.error.message, { cause: before.error.cause })
    try {
      return await judge(chain, digest)
    } catch (error) {
      if (error instanceof HallpassError && error.code === 'attestation_invalid')
        refused.set(digest, { error, at: clock() })
      throw error
    }
  }

  async function judge(chain: readonly Uint8Array[], digest: string): Promise<Principal> {
    const known = remembered.get(digest)
    if (known && (await known.cache.current()) === known.bundle && isNow(known.validity, clock(), clockSkew))
      return known.principal

    const svid = readSvid(chain)
    const { source, cache } = findSource(svid)
    const { validity, bundle } = await verify(svid, cache)
    const principal = principalOf(svid, source, validity)
    remembered.set(digest, { cache, bundle, validity, principal })
    return principal
  }

  /** By the trust domain that the SVID names, and exact comparison: bundles of different domains are never merged. */
  function findSource({ spiffeId: { trustDomain } }: PresentedSvid): {
    source: SpiffeSource
    cache: KeyCache
  } {
    if (trustDomain === ownTrustDomain) throw refuse('own_certificate')
    const source = lookup.byTrustDomain.get(trustDomain)
    const cache = source && caches.get(source.name)
    if (!cache) throw refuse('issuer_unknown')
    return { source, cache }
  }

  async function verify(
    svid: PresentedSvid,
    cache: KeyCache,
  ): Promise<{ validity: Validity; bundle: LoadedKeys }> {
    const held = await cache.current()
    const validity = verifySvid(svid, held.authorities, clock(), clockSkew)
    if (validity) return { validity, bundle: held }
    const fresh = await cache.afterMiss()
    const later = fresh === held ? null : verifySvid(svid, fresh.authorities, clock(), clockSkew)
    if (!later) throw refuse('path')
    return { validity: later, bundle: fresh }
  }
}

const isNow = ({ notBefore, notAfter }: Validity, now: number, clockSkew: number): boolean =>
  now >= notBefore - clockSkew && now <= notAfter

function digestOf(chain: readonly Uint8Array[]): string {
  const hash = createHash('sha256')
  // Lengths first, so that no two chains read alike.
  hash.update(JSON.stringify(chain.map(({ length }) => length)))
  for (const der of chain) hash.update(der)
  return hash.digest('hex')
}

function principalOf({ id, leaf }: PresentedSvid, source: SpiffeSource, { notAfter }: Validity): Principal {
  const thumbprint = createHash('sha256').update(leaf.der).digest()
  // NUL is in no trust source's name; nor does what a token is known by begin so.
  const useKey = createHash('sha256').update('x509\0').update(source.name).update('\0').update(leaf.der)
  return {
    id,
    kind: 'workload',
    trust: source.name,
    tags: Object.assign(Object.create(null), { sub: id }),
    groups: [],
    attestation: {
      sha256: thumbprint.toString('hex'),
      useKey: useKey.digest('hex'),
      acceptableUntil: Math.min(notAfter, maxTime * 1000),
      // Each handshake proves anew that the key is there: a certificate, other than a token, cannot be replayed.
      reuse: 'any',
      x5tS256: thumbprint.toString('base64url'),
    },
    template: null,
  }
}
