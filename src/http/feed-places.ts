import type { Config } from '../config.ts'
import { HallpassError } from '../errors.ts'
import type { View } from '../revoke/feed/events.ts'
import { network } from './limits.ts'

/** Places for readers of the feed, on this replica. */
export interface FeedPlaces {
  /** Takes one, and answers how to leave it. Throws `rate_limited` to the anonymous, and `unavailable` to the others. */
  take(view: View, address: string | null): () => void
}

/** Seconds after which somebody may have left. */
const retryAfter = 5

export function createFeedPlaces({ readers, anonymous, perAddress }: Config['feed']): FeedPlaces {
  const taken = { anonymous: 0, authenticated: 0 }
  const byNetwork = new Map<string, number>()

  function full(view: View, key: string): HallpassError | null {
    const all = taken.anonymous + taken.authenticated
    if (view === 'authenticated')
      return all < readers
        ? null
        : new HallpassError('unavailable', 'There is no place left for readers.', {
            cause: new Error('feed_full'),
            retryAfter,
          })
    return taken.anonymous < anonymous && all < readers && (byNetwork.get(key) ?? 0) < perAddress
      ? null
      : new HallpassError('rate_limited', 'Too many readers who do not say who they are.', { retryAfter })
  }

  return {
    take(view, address) {
      const key = network(address)
      const error = full(view, key)
      if (error) throw error
      taken[view]++
      if (view === 'anonymous') byNetwork.set(key, (byNetwork.get(key) ?? 0) + 1)
      let left = false
      return () => {
        if (left) return
        left = true
        taken[view]--
        if (view === 'authenticated') return
        const others = (byNetwork.get(key) ?? 0) - 1
        if (others > 0) byNetwork.set(key, others)
        else byNetwork.delete(key)
      }
    },
  }
}
