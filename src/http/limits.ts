import { RateLimiterMemory, RateLimiterRes } from 'rate-limiter-flexible'
import type { Config } from '../config.ts'
import { HallpassError } from '../errors.ts'

/** Requests a second, by address before anything else is done and by principal once it is proven. Each replica counts for itself. */
export interface Limits {
  /** Throws `rate_limited`. */
  address(address: string | null): Promise<void>
  /** Throws `rate_limited`. */
  principal(id: string): Promise<void>
}

export function createLimits({ principal, address }: Config['limits']): Limits {
  const byAddress = limiter(address)
  const byPrincipal = limiter(principal)
  return { address: address => byAddress(network(address)), principal: byPrincipal }
}

/** Whoever has one IPv6 address has 2^64 of them: they count as one (RFC 6177 §2). */
export function network(address: string | null): string {
  if (!address?.includes(':')) return address ?? 'unknown'
  const [head = '', tail] = address.split('::')
  const groups = head === '' ? [] : head.split(':')
  const rest = tail === undefined || tail === '' ? [] : tail.split(':')
  while (groups.length + rest.length < 8) groups.push('0')
  return [...groups, ...rest].slice(0, 4).join(':')
}

function limiter(perSecond: number | null): (key: string) => Promise<void> {
  if (perSecond === null) return async () => {}
  // A rate below one a second is one in several seconds.
  const points = Math.max(1, Math.floor(perSecond))
  const limit = new RateLimiterMemory({ points, duration: points / perSecond })
  return async key => {
    try {
      await limit.consume(key)
    } catch (thrown) {
      if (!(thrown instanceof RateLimiterRes)) throw thrown
      throw new HallpassError('rate_limited', 'Too many requests.', {
        retryAfter: Math.max(1, Math.ceil(thrown.msBeforeNext / 1000)),
      })
    }
  }
}
