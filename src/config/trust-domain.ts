import { trustDomainFault } from './values.ts'

/**
 * The broker's own trust domain where none is configured: the issuer's host name. null where that is no name of a trust domain
 * (SPIFFE-ID §2.1), such as an IPv6 address, or is a trust source's.
 */
export const defaultTrustDomain = (issuer: string, theirs: readonly string[]): string | null => {
  if (!URL.canParse(issuer)) return null
  const { hostname } = new URL(issuer)
  return trustDomainFault(hostname) === null && !theirs.includes(hostname) ? hostname : null
}
