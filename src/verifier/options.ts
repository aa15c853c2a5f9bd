import type { Disconnection } from './feed.ts'
import type { Fetch } from './get.ts'

/** What `createVerifier` takes. */
export interface VerifierOptions {
  /** The broker's issuer, as in its configuration, byte for byte. `https:`, or `http:` on loopback. */
  issuer: string
  /** What the service is called in `aud`: a token must be for it, or for one of them. */
  audience: string | readonly string[]
  /**
   * Milliseconds that what is known of revocations may be old, 10,000 unless given. Ticks come every 5 s and their age is overstated by
   * up to 1.5 s: with less than 7,000 the status list is asked between ticks.
   */
  maxStaleness?: number
  /**
   * Seconds that the broker's clock may be ahead of this one, or this one ahead of the broker's where a status list's age is judged; 5 unless
   * given. It never lengthens a token's life: at `exp` it is dead.
   */
  clockTolerance?: number
  /** Accepted signatures; ES256, ES384, RS256, PS256 and EdDSA unless given. Only asymmetric ones may be. */
  algorithms?: readonly string[]
  /** In place of the global one: for proxies, private certificate authorities, tests. It must not follow redirects on its own account. */
  fetch?: Fetch
  /** An attestation or a token of this service for the feed, asked for at each connection. Without it the feed is read anonymously. */
  token?: () => string | Promise<string>
  /** Told of the connection's state, for logs and metrics. What it throws is dropped. */
  onEvent?: (event: VerifierEvent) => void
  /** Closes the verifier. */
  signal?: AbortSignal
}

/** What happened to the verifier's view of the revocation record. */
export type VerifierEvent =
  /** The feed answered; nothing was read yet. */
  | { type: 'connected' }
  /** It ended, and is connected again after a pause. */
  | { type: 'disconnected'; reason: Disconnection }
  /** Revocations are known again, and checked in memory. */
  | { type: 'fresh' }
  /** They are not: each token is looked up in its status list, and refused where that cannot be had. */
  | { type: 'stale' }

/** Options that were checked, with the defaults filled in. */
export interface Settled {
  issuer: string
  /** The issuer without a slash at its end, to which paths are added. */
  base: string
  audience: string[]
  maxStaleness: number
  clockTolerance: number
  algorithms: string[]
  fetch: Fetch
  token: (() => string | Promise<string>) | undefined
  onEvent: (event: VerifierEvent) => void
  signal: AbortSignal | undefined
}

const asymmetric = /^((RS|PS|ES)(256|384|512)|EdDSA|Ed25519)$/
const usual = ['ES256', 'ES384', 'RS256', 'PS256', 'EdDSA']

/** @throws TypeError naming the option that is wrong */
export function settle(options: VerifierOptions): Settled {
  const { issuer, audience, maxStaleness = 10_000, clockTolerance = 5, algorithms = usual } = options
  const audiences = typeof audience === 'string' ? [audience] : [...(audience ?? [])]
  const given: [string, boolean, string][] = [
    ['issuer', isIssuer(issuer), 'must be an https: URL (http: on loopback only) without query and fragment'],
    ['audience', isListOfNames(audiences), 'must be a name, or a list of at least one'],
    ['maxStaleness', isWithin(maxStaleness, 1000, 300_000), 'must be from 1,000 to 300,000 milliseconds'],
    ['clockTolerance', isWithin(clockTolerance, 0, 60), 'must be from 0 to 60 seconds'],
    [
      'algorithms',
      isListOfNames(algorithms) && algorithms.every(algorithm => asymmetric.test(algorithm)),
      'must be asymmetric signature algorithms',
    ],
  ]
  for (const [name, isRight, must] of given) if (!isRight) throw new TypeError(`\`${name}\` ${must}.`)
  const { onEvent, fetch = (...request) => globalThis.fetch(...request) } = options
  return {
    issuer,
    base: issuer.replace(/\/$/, ''),
    audience: audiences,
    maxStaleness,
    clockTolerance,
    algorithms: [...algorithms],
    fetch,
    token: options.token,
    onEvent(event) {
      try {
        onEvent?.(event)
      } catch {
        // A log that fails is no reason to let tokens pass or not.
      }
    },
    signal: options.signal,
  }
}

/** As a URL parser would write it, so that nothing is compared with another spelling than the one that is asked. */
function isIssuer(text: unknown): boolean {
  if (typeof text !== 'string' || !URL.canParse(text)) return false
  const url = new URL(text)
  return (
    (url.href === text || url.href === `${text}/`) &&
    (url.protocol === 'https:' || (url.protocol === 'http:' && isLoopback(url.hostname))) &&
    url.username === '' &&
    url.password === '' &&
    !/[?#]/.test(text)
  )
}

const isLoopback = (hostname: string): boolean =>
  hostname === 'localhost' || hostname === '[::1]' || /^127(\.\d{1,3}){3}$/.test(hostname)

const isListOfNames = (list: unknown): list is string[] =>
  Array.isArray(list) && list.length > 0 && list.every(name => typeof name === 'string' && name !== '')

const isWithin = (value: unknown, least: number, most: number): boolean =>
  typeof value === 'number' && value >= least && value <= most
