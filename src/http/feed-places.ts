import type { Config } from '../config.ts'
import { HallpassError } from '../errors.ts'
import type { View } from '../revoke/feed/events.ts'
import { network } from './limits.ts'

/** Places for readers of the feed, on this replica. */
export interface FeedPlaces {
  /**
   * Takes one, and answers how to leave it. Throws `rate_limited` to who has too many already, and to the anonymous where theirs are taken;
   * `unavailable` where there is none at all.
   */
  take(who: { principal: string } | { address: string | null }): () => void
}

/** Seconds after which somebody may have left. */
const retryAfter = 5

export function createFeedPlaces(limits: Config['feed']): FeedPlaces {
  const { readers, anonymous, perAddress, perPrincipal } = limits
  const taken: Record<View, number> = { anonymous: 0, authenticated: 0 }
  const each = { anonymous: new Map<string, number>(), authenticated: new Map<string, number>() }

  function full(view: View, key: string): HallpassError | null {
    const all = taken.anonymous + taken.authenticated
    const own = each[view].get(key) ?? 0
    if (view === 'authenticated') {
      if (own >= perPrincipal) return tooMany('This principal has too many readers.')
      return all < readers ? null : noneLeft()
    }
    return taken.anonymous < anonymous && all < readers && own < perAddress
      ? null
      : tooMany('Too many readers who do not say who they are.')
  }

  return {
    take(who) {
      const [view, key] =
        'principal' in who
          ? (['authenticated', who.principal] as const)
          : (['anonymous', network(who.address)] as const)
      const error = full(view, key)
      if (error) throw error
      taken[view]++
      each[view].set(key, (each[view].get(key) ?? 0) + 1)
      let left = false
      return () => {
        if (left) return
        left = true
        taken[view]--
        const others = (each[view].get(key) ?? 0) - 1
        if (others > 0) each[view].set(key, others)
        else each[view].delete(key)
      }
    },
  }
}

const tooMany = (message: string): HallpassError => new HallpassError('rate_limited', message, { retryAfter })
const noneLeft = (): HallpassError =>
  new HallpassError('unavailable', 'There is no place left for readers.', {
    cause: new Error('feed_full'),
    retryAfter,
  })
