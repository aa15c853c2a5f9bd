export interface SpiffeId {
  trustDomain: string
  /** Begins with a slash. */
  path: string
}

const maxLength = 2048
const maxTrustDomainLength = 255
const trustDomainPattern = /^[a-z0-9._-]+$/
const segmentPattern = /^[A-Za-z0-9._-]+$/

/**
 * Reads the SPIFFE ID of a workload (SPIFFE-ID §2): scheme and trust domain in lower case; no port, user, query, fragment or
 * percent-encoding; no empty or dot segment, no trailing slash. A path is required: an ID without one names the trust
 * domain itself, which no workload is.
 *
 * @returns null for anything else.
 */
export function parseSpiffeId(text: string): SpiffeId | null {
  if (text.length > maxLength || !text.startsWith('spiffe://')) return null
  const [trustDomain = '', ...segments] = text.slice('spiffe://'.length).split('/')
  if (!isTrustDomain(trustDomain) || segments.length === 0 || !segments.every(isSegment)) return null
  return { trustDomain, path: `/${segments.join('/')}` }
}

/** Whether this is the name of a trust domain (SPIFFE-ID §2.1). */
export function isTrustDomain(name: string): boolean {
  return name.length <= maxTrustDomainLength && trustDomainPattern.test(name)
}

function isSegment(segment: string): boolean {
  return segmentPattern.test(segment) && segment !== '.' && segment !== '..'
}
