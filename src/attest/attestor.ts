import { createHash, type KeyObject } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import type { Clock } from '../clock.ts'
import type { TrustSource } from '../config.ts'
import { verifySignature } from './algorithms.ts'
import { type AttestCertificate, certificateAttestor } from './certificate-attestor.ts'
import { type CheckedClaims, checkClaims, maxTime } from './claims.ts'
import type { Fetch } from './fetch-document.ts'
import { flattenClaims } from './flatten.ts'
import { type AttestationHeader, checkHeader } from './header.ts'
import { selectKey } from './jwk-set.ts'
import { type Jws, parseJws } from './jws.ts'
import { createKeyCache, type KeyCache, type Log } from './key-cache.ts'
import { oidcKeyLoader } from './oidc-keys.ts'
import type { Principal } from './principal.ts'
import { refuse } from './refusal.ts'
import { bundleLoader } from './spiffe-bundle.ts'
import type { JsonObject } from './strict-json.ts'
import { createTrustLookup, findTrustSource } from './trust-lookup.ts'
import { useKey } from './use-key.ts'

export interface Attestor {
  /**
   * Verifies an attestation: an OIDC ID token or a JWT-SVID.
   *
   * @param options.expect `jwt-svid` when the caller said that it is one: then anything else is refused
   * @throws HallpassError `attestation_invalid`, its cause's message a RefusalReason; or `unavailable`, with `retryAfter` in
   *   seconds, when the keys of the issuer are needed and away.
   */
  attest(token: string, options?: { expect?: 'jwt-svid' | undefined }): Promise<Principal>
  attestCertificate: AttestCertificate
  /** Keeps SPIFFE bundles fresh in the background. Attesting works without it. */
  start(): void
  stop(): void
}

export interface AttestorDependencies {
  trust: readonly TrustSource[]
  /** The broker's own issuer. */
  issuer: string
  /** The broker's own trust domain, if it has one: what it certified is never an attestation. */
  ownTrustDomain?: string | null | undefined
  /** Milliseconds. */
  clockSkew: number
  clock: Clock
  log?: Log | undefined
  fetch?: Fetch | undefined
}

/** An attestation that was accepted, under the digest of its text. */
interface Remembered {
  source: TrustSource
  header: AttestationHeader
  /** The key that verified it: one that was loaded again is another one. */
  key: KeyObject
  claims: JsonObject
  principal: Principal
}

/** How often bundles are looked at; how often they are loaded is for their hints to say, by the clock passed in. */
const tick = 1_000

export function createAttestor(deps: AttestorDependencies): Attestor {
  const { trust, issuer, clockSkew, clock, ownTrustDomain = null } = deps
  const lookup = createTrustLookup(trust, issuer)
  const caches = new Map(trust.map(source => [source.name, cacheFor(source, deps)]))
  const bundles = trust
    .filter(source => source.kind === 'spiffe')
    .flatMap(({ name }) => caches.get(name) ?? [])
  // Agents and services present one attestation for minutes. What changes by itself, the keys and the time, is checked each time.
  const remembered = new LRUCache<string, Remembered>({ max: 10_000, maxSize: 16_000_000 })
  let timer: NodeJS.Timeout | undefined

  const attest: Attestor['attest'] = async (token, { expect } = {}) => {
    const sha256 = createHash('sha256').update(token).digest('hex')
    const known = remembered.get(sha256)
    if (known && (await findKey(caches.get(known.source.name), known.header)) === known.key) {
      if (expect === 'jwt-svid' && known.source.kind !== 'spiffe') throw refuse('svid_expected')
      checkClaims(known.claims, known.source, clock(), clockSkew)
      return known.principal
    }

    const jws = parseJws(token)
    const source = findTrustSource(jws.payload, lookup)
    if (expect === 'jwt-svid' && source.kind !== 'spiffe') throw refuse('svid_expected')
    const header = checkHeader(jws.header, source.kind)
    const key = await findKey(caches.get(source.name), header)
    if (!verifySignature(header.alg, key, jws)) throw refuse('signature')
    const claims = checkClaims(jws.payload, source, clock(), clockSkew)
    const principal = readPrincipal(sha256, jws, source, claims, clockSkew)
    const size = token.length
    remembered.set(sha256, { source, header, key, claims: jws.payload, principal }, { size })
    return principal
  }

  const refreshBundles = () => {
    // What fails is logged where it fails, and met by whoever attests.
    for (const bundle of bundles) bundle.current().catch(() => {})
  }

  return {
    attest,
    attestCertificate: certificateAttestor({ lookup, caches, clock, clockSkew, ownTrustDomain }),
    start() {
      refreshBundles()
      timer ??= setInterval(refreshBundles, tick).unref()
    },
    stop() {
      clearInterval(timer)
      timer = undefined
    },
  }
}

function cacheFor(
  source: TrustSource,
  { clock, log, fetch = globalThis.fetch }: AttestorDependencies,
): KeyCache {
  const load = source.kind === 'oidc' ? oidcKeyLoader(source, fetch) : bundleLoader(source, fetch)
  return createKeyCache({ trust: source.name, load, clock, log })
}

async function findKey(cache: KeyCache | undefined, { alg, kid }: AttestationHeader): Promise<KeyObject> {
  if (!cache) throw refuse('issuer_unknown')
  const held = selectKey((await cache.current()).keys, alg, kid)
  if (typeof held !== 'string') return held
  const fresh = selectKey((await cache.afterMiss()).keys, alg, kid)
  if (typeof fresh === 'string') throw refuse(fresh)
  return fresh
}

function readPrincipal(
  sha256: string,
  jws: Jws,
  source: TrustSource,
  { sub, expiresAt }: CheckedClaims,
  clockSkew: number,
): Principal {
  const isOidc = source.kind === 'oidc'
  const operators = isOidc ? source.operators : null
  const { tags, groups } = flattenClaims(jws.payload, source.name, operators?.groupsClaim ?? null)
  for (const [name, value] of Object.entries(isOidc ? source.require : {})) {
    if (tags[name] !== value) throw refuse('required_claim')
  }
  return {
    // Names of sources hold no colon, and `spiffe` is none: nobody's ID can be another's (contract §2).
    id: isOidc ? `${source.name}:${sub}` : sub,
    kind: operators ? 'operator' : 'workload',
    trust: source.name,
    tags,
    groups,
    attestation: {
      sha256,
      useKey: useKey(jws, source.name),
      acceptableUntil: Math.min(Math.ceil(expiresAt + clockSkew), maxTime * 1000),
      reuse: source.reuse,
    },
    template: isOidc ? source.task : null,
  }
}
