import type { Grounds } from './claims.ts'
import type { Changes } from './record.ts'
import { VerifierRefusal } from './refusal.ts'

/** The tokens and certificates whose death somebody wants to be told of, while it serves a request with them. */
export interface LiveSignals extends Changes {
  /** Begins to watch. One that is dead already gives a signal that has fired. */
  watch(grounds: Grounds): Watched
  /** Ends what has expired, and what cannot be known to be alive any more: to be called about every second. */
  look(): Promise<void>
  /** Ends all. */
  close(): void
  /** How many are watched. */
  size(): number
}

export interface Watched {
  signal: AbortSignal
  release(): void
}

export interface LiveSignalsDeps {
  /** Why it may not be taken any more, as far as is known here and now. */
  refusalOf: (grounds: Grounds) => VerifierRefusal | null
  isFresh: () => boolean
  /** @throws VerifierRefusal */
  vouch: (grounds: Grounds) => Promise<void>
}

interface Live {
  grounds: Grounds
  controller: AbortController
}

/** Found by what can kill them, so that an event costs what it kills and not what is alive. */
export function createLiveSignals({ refusalOf, isFresh, vouch }: LiveSignalsDeps): LiveSignals {
  const all = new Set<Live>()
  const index = new Map<string, Set<Live>>()
  let looking = false

  function watch(grounds: Grounds): Watched {
    const live = { grounds, controller: new AbortController() }
    const { signal } = live.controller
    all.add(live)
    for (const cause of causesOf(grounds)) add(index, cause, live)
    check(live)
    return { signal, release: () => release(live) }
  }

  function release(live: Live): void {
    if (!all.delete(live)) return
    for (const cause of causesOf(live.grounds)) remove(index, cause, live)
  }

  function end(live: Live, refusal: VerifierRefusal): void {
    release(live)
    live.controller.abort(refusal)
  }

  function check(live: Live): void {
    const refusal = refusalOf(live.grounds)
    if (refusal !== null) end(live, refusal)
  }

  function checkAll(some: Iterable<Live> | undefined): void {
    // Copied: listeners of the signals may begin and end others.
    for (const live of [...(some ?? [])]) if (all.has(live)) check(live)
  }

  async function look(): Promise<void> {
    checkAll(all)
    if (looking || isFresh()) return
    looking = true
    await Promise.all([...all].map(stillKnown))
    looking = false
  }

  async function stillKnown(live: Live): Promise<void> {
    try {
      await vouch(live.grounds)
    } catch (refusal) {
      if (all.has(live) && !isFresh()) end(live, refusal as VerifierRefusal)
    }
  }

  return {
    watch,
    look,
    task: id => checkAll(index.get(`task ${id}`)),
    credential: jti => checkAll(index.get(`jti ${jti}`)),
    key: kid => checkAll(index.get(`kid ${kid}`)),
    everything: () => checkAll(all),
    close() {
      for (const live of [...all]) end(live, new VerifierRefusal('verifier_closed'))
    },
    size: () => all.size,
  }
}

/** What can kill a credential. */
const causesOf = ({ tasks, jti, kid }: Grounds): string[] => [
  ...tasks.map(({ id }) => `task ${id}`),
  `jti ${jti}`,
  `kid ${kid}`,
]

function add(index: Map<string, Set<Live>>, key: string, live: Live): void {
  const set = index.get(key)
  if (set) set.add(live)
  else index.set(key, new Set([live]))
}

function remove(index: Map<string, Set<Live>>, key: string, live: Live): void {
  const set = index.get(key)
  set?.delete(live)
  if (set?.size === 0) index.delete(key)
}
