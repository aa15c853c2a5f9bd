import type { Freshness } from './freshness.ts'
import { ageOf, type Fetch } from './get.ts'
import type { FeedFault, FeedRecord, Listening } from './record.ts'
import { createEventParser } from './sse.ts'

/** Why a connection to the feed ended. */
export type Disconnection =
  | FeedFault
  /** It could not be made, or broke off. */
  | 'unreachable'
  /** The server ended it. */
  | 'ended'
  /** The answer is no event stream: another status, another type, or out of a cache. */
  | 'refused'
  /** An event is larger than 64 MiB. */
  | 'too_large'
  /** It proved nothing new for too long. */
  | 'silent'
  /** What is known of the clocks is learned anew. */
  | 'renewed'

export interface FeedDeps {
  url: string
  fetch: Fetch
  token: (() => string | Promise<string>) | undefined
  record: FeedRecord
  freshness: Freshness
  /** Milliseconds. */
  maxStaleness: number
  onConnected: () => void
  onDisconnected: (reason: Disconnection) => void
  /** After each part of the stream that was applied. */
  onHeard: () => void
  signal: AbortSignal
}

interface Current {
  controller: AbortController
  listening: Listening
  /** Why it was given up. */
  why: Disconnection | null
  /** Milliseconds. */
  renewAfter: number
}

export interface Feed {
  /** Ends a connection that is of no more use: to be called about every second. */
  look(): void
}

/** Characters. */
const maxEvent = 64 * 1024 * 1024
/** Milliseconds until a server has to begin its answer. */
const answerWithin = 5000
/** Milliseconds between two attempts, at first and at last. */
const shortestPause = 50
const longestPause = 2000
/** Milliseconds that a server may ask for with Retry-After. */
const longestAsked = 5000
/** Milliseconds after which a connection was a good one. */
const goodAfter = 1000
/** Milliseconds: by then what was learned of the clocks has worn by 0.7 s (freshness.ts), and a new connection learns it again. */
const renewAtLatest = 3_600_000
/** Milliseconds: three ticks. A connection that is silent for so long has died on the way, whatever is allowed. */
const silentMost = 15_000

/** Follows the feed until the signal fires: connects, applies, and connects again from where it was. */
export function followFeed(deps: FeedDeps): Feed {
  const { record, freshness, maxStaleness, signal } = deps
  const silence = Math.min(maxStaleness, silentMost)
  let current: Current | null = null
  /** Milliseconds that the server asked to be left alone, and over which its readers are to spread when they come back. */
  let asked = 0
  let spread = shortestPause

  async function follow(): Promise<void> {
    let failures = 0
    while (!signal.aborted) {
      const began = freshness.elapsed()
      const reason = await connection()
      if (signal.aborted) return
      deps.onDisconnected(reason)
      failures = freshness.elapsed() - began >= goodAfter ? 0 : failures + 1
      await pause(Math.max(backoff(failures, spread), asked), signal)
    }
  }

  async function connection(): Promise<Disconnection> {
    const controller = new AbortController()
    const stop = () => controller.abort()
    signal.addEventListener('abort', stop)
    const late = setTimeout(stop, answerWithin)
    asked = 0
    try {
      const token = await before(controller.signal, deps.token?.())
      // From here to the request's sending nothing may wait: ages are counted from here.
      const listening = { attempt: freshness.connecting(), isSettled: false }
      // Not all verifiers that were started together at the same moment.
      current = { controller, listening, why: null, renewAfter: renewAtLatest * (1 - Math.random() / 4) }
      const response = await before(
        controller.signal,
        deps.fetch(deps.url, request(token, controller.signal)),
      )
      clearTimeout(late)
      if (!isEventStream(response)) {
        asked = retryAfter(response)
        await response.body?.cancel().catch(() => {})
        return 'refused'
      }
      deps.onConnected()
      return await listen(response, listening, controller.signal)
    } catch {
      return current?.why ?? 'unreachable'
    } finally {
      current = null
      clearTimeout(late)
      signal.removeEventListener('abort', stop)
      controller.abort()
    }
  }

  function request(token: string | undefined, signal: AbortSignal): RequestInit {
    const lastEventId = record.lastEventId()
    return {
      redirect: 'manual',
      headers: {
        accept: 'text/event-stream',
        'cache-control': 'no-cache',
        ...(token !== undefined && { authorization: `Bearer ${token}` }),
        ...(lastEventId !== undefined && { 'last-event-id': lastEventId }),
      },
      signal,
    }
  }

  async function listen(
    response: Response,
    listening: Listening,
    signal: AbortSignal,
  ): Promise<Disconnection> {
    const parser = createEventParser(maxEvent)
    const reader = (response.body as ReadableStream<Uint8Array>).getReader()
    // Whatever `fetch` was given: not every one of them ends the body.
    signal.addEventListener('abort', () => reader.cancel().catch(() => {}))
    for (;;) {
      const { done, value } = await reader.read()
      if (done) return current?.why ?? 'ended'
      // What was still on its way when the connection was given up is not applied.
      if (signal.aborted) return current?.why ?? 'unreachable'
      const fault = apply(parser, value, listening)
      spread = parser.retry() ?? spread
      if (fault !== null) return fault
      deps.onHeard()
    }
  }

  function apply(
    parser: ReturnType<typeof createEventParser>,
    chunk: Uint8Array,
    listening: Listening,
  ): FeedFault | 'too_large' | null {
    let events: ReturnType<typeof parser.push>
    try {
      events = parser.push(chunk)
    } catch {
      record.startOver()
      freshness.distrust()
      return 'too_large'
    }
    for (const event of events) {
      const fault = record.hear(event, listening)
      if (fault !== null) return fault
    }
    return null
  }

  function look(): void {
    if (current === null || current.why !== null) return
    const lasted = freshness.elapsed() - current.listening.attempt.elapsed
    if (lasted > current.renewAfter) giveUp('renewed')
    else if (lasted > silence && freshness.age() > silence) giveUp('silent')
  }

  function giveUp(why: Disconnection): void {
    if (current === null) return
    current.why = why
    // It did speak, and too late: how the clocks stand has to be learned again, which a snapshot does at once.
    if (current.listening.isSettled) record.startOver()
    current.controller.abort()
  }

  follow()
  return { look }
}

/** Waits no longer than the connection may take. */
async function before<T>(signal: AbortSignal, value: T | Promise<T>): Promise<T> {
  let stop = () => {}
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(new Error('too late'))
    signal.addEventListener('abort', stop)
    if (signal.aborted) stop()
  })
  try {
    return await Promise.race([value, aborted])
  } finally {
    signal.removeEventListener('abort', stop)
  }
}

const isEventStream = (response: Response): boolean =>
  response.status === 200 &&
  response.body !== null &&
  /^text\/event-stream(;|$)/i.test(response.headers.get('content-type') ?? '') &&
  ageOf(response) === 0

/** Seconds only (RFC 9110 §10.2.3): dates would be compared with a clock that may be wrong. */
function retryAfter({ headers }: Response): number {
  const seconds = /^\d{1,6}$/.exec(headers.get('retry-after') ?? '')
  return seconds ? Math.min(Number(seconds[0]) * 1000, longestAsked) : 0
}

/**
 * Exponential, and random so that all verifiers of a broker that comes back do not come at once. A server's `retry` widens the range; it is not
 * waited out, for until then nothing is heard.
 */
function backoff(failures: number, spread: number): number {
  const most = Math.min(Math.max(shortestPause * 2 ** (failures + 1), spread), longestPause)
  return shortestPause + Math.random() * (most - shortestPause)
}

function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise(resolve => {
    const timer = setTimeout(end, milliseconds)
    function end() {
      clearTimeout(timer)
      signal.removeEventListener('abort', end)
      resolve()
    }
    signal.addEventListener('abort', end)
    if (signal.aborted) end()
  })
}
