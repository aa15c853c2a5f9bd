import { isIPv4 } from 'node:net'

/** The issuer where none is configured (contract §1). */
export const defaultIssuer = (port: number): string => `http://127.0.0.1:${port}`

const loopback = (hostname: string): boolean =>
  hostname === 'localhost' || hostname === '[::1]' || (isIPv4(hostname) && hostname.startsWith('127.'))

/** What is wrong with the text as an address to be fetched: null if it is https, or http on loopback (contract §1). */
export const urlFault = (text: string): string | null => {
  if (text.length > 2048) return 'is longer than 2,048 characters'
  // The URL parser would drop line breaks and turn backslashes into slashes without a word.
  if (
    !/^https?:\/\/[^/?#]/i.test(text) ||
    !/^[!-~]+$/.test(text) ||
    text.includes('\\') ||
    !URL.canParse(text)
  ) {
    return 'must be an absolute URL that begins with https://'
  }
  const url = new URL(text)
  if (authority(text).includes('@')) return 'must not hold a user name or password'
  if (url.port === '0') return 'must not have port 0'
  if (text.includes('#')) return 'must not have a fragment'
  if (url.protocol === 'http:' && !loopback(url.hostname))
    return 'must be https: http is accepted on loopback only'
  return null
}

/**
 * What is wrong with the text as an issuer: RFC 8414 §2 allows neither query nor fragment. A slash at the end is allowed and
 * kept, since issuers are compared byte for byte (§3.3); §3.1 takes it away only where `.well-known` is put in.
 */
export const issuerFault = (text: string): string | null =>
  urlFault(text) ?? (text.includes('?') ? 'must not have a query' : null)

/**
 * The broker's own issuer must be spelled as every URL parser would write it: a client that tidies `..`, `:443` or a capital
 * in the host would otherwise look for the metadata in another place than the one that it compares with.
 */
export const ownIssuerFault = (text: string): string | null => {
  const fault = issuerFault(text)
  if (fault !== null) return fault
  const { href } = new URL(text)
  return href === text || href === `${text}/` ? null : `must be in its canonical spelling, ${href}`
}

/** Equal for issuers that differ only in the case of scheme and host, a default port or slashes at the end. */
export const nearForm = (issuer: string): string => {
  if (!URL.canParse(issuer)) return issuer
  const { protocol, host, pathname, search } = new URL(issuer)
  return `${protocol}//${host}${pathname.replace(/\/+$/, '')}${search}`
}

const authority = (text: string): string => text.split(/[/?#]/, 3)[2] ?? ''
