import type { OidcSource, SpiffeSource, TrustSource } from '../config.ts'
import { refuse } from './refusal.ts'
import { parseSpiffeId } from './spiffe-id.ts'
import type { JsonObject } from './strict-json.ts'

export interface TrustLookup {
  byIssuer: ReadonlyMap<string, OidcSource>
  byTrustDomain: ReadonlyMap<string, SpiffeSource>
  /** The broker's own issuer: what it signed is never an attestation. */
  ownIssuer: string
}

export function createTrustLookup(trust: readonly TrustSource[], ownIssuer: string): TrustLookup {
  const oidc = trust.filter(source => source.kind === 'oidc')
  const spiffe = trust.filter(source => source.kind === 'spiffe')
  return {
    byIssuer: new Map(oidc.map(source => [source.issuer, source])),
    byTrustDomain: new Map(spiffe.map(source => [source.trustDomain, source])),
    ownIssuer,
  }
}

/**
 * The one trust source that this attestation can be of, by nothing but exact comparison and before anything of it is
 * believed: by `iss`, else by the trust domain of a `sub` that is a SPIFFE ID (SPIRE can be told to write an `iss` too).
 *
 * @throws HallpassError `attestation_invalid`: own_token, issuer_unknown, subject, claims.
 */
export function findTrustSource(claims: JsonObject, lookup: TrustLookup): TrustSource {
  const { iss, sub } = claims
  if (iss !== undefined && typeof iss !== 'string') throw refuse('claims')
  if (iss === lookup.ownIssuer) throw refuse('own_token')
  const byIssuer = iss === undefined ? undefined : lookup.byIssuer.get(iss)
  if (byIssuer) return byIssuer
  if (typeof sub !== 'string' || !sub.startsWith('spiffe:')) throw refuse('issuer_unknown')
  const id = parseSpiffeId(sub)
  if (!id) throw refuse('subject')
  const byDomain = lookup.byTrustDomain.get(id.trustDomain)
  if (!byDomain) throw refuse('issuer_unknown')
  return byDomain
}
