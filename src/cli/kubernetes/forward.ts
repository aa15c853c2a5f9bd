import { createHmac } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import type { JsonValue } from '../../strict-json.ts'
import type { Io } from '../io.ts'

/** Tells the broker of ends, in order. Does not come back before it knows them, or refuses them for what they are. */
export type Forward = (events: JsonValue[]) => Promise<void>

export interface Backoff {
  /** Milliseconds before the first try after a failure, doubled with each further one. */
  least: number
  most: number
}

export interface ForwardOptions {
  /** The hook's URL. */
  url: string
  secret: string
  fetch: Io['fetch']
  err: Io['err']
  backoff: Backoff
  signal: AbortSignal
}

/** Events in one delivery: the broker takes 256 KiB. */
const batchMost = 50
/** Milliseconds. */
const patience = 30_000

/** The broker has read it, and will not take it however often it is sent. */
const hopeless = [400, 413, 415, 422]

export function forwarder(options: ForwardOptions): Forward {
  const { err, backoff, signal } = options

  async function deliver(events: JsonValue[]): Promise<void> {
    for (let wait = backoff.least; ; wait = Math.min(wait * 2, backoff.most)) {
      const failure = await send(options, JSON.stringify(events))
      if (failure === null) return
      if (hopeless.includes(failure.status)) {
        if (events.length === 1) return err(`an end was refused for good: ${failure.message}`)
        for (const event of events) await deliver([event])
        return
      }
      err(`the broker was not told, and will be again: ${failure.message}`)
      await pause(Math.max(wait, failure.retryAfter), undefined, { signal })
    }
  }

  return async events => {
    for (let start = 0; start < events.length; start += batchMost)
      await deliver(events.slice(start, start + batchMost))
  }
}

interface Failure {
  status: number
  message: string
  /** Milliseconds. */
  retryAfter: number
}

async function send({ url, secret, fetch, signal }: ForwardOptions, body: string): Promise<Failure | null> {
  signal.throwIfAborted()
  try {
    const response = await fetch(url, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        'x-hub-signature-256': `sha256=${createHmac('sha256', secret).update(body).digest('hex')}`,
      },
      body,
      redirect: 'error',
      signal: AbortSignal.any([signal, AbortSignal.timeout(patience)]),
    })
    await response.arrayBuffer()
    if (response.ok) return null
    const retryAfter = Number(response.headers.get('retry-after') ?? 0) * 1000
    const message = `it answered ${response.status}${response.status === 401 ? ': is the secret the hook’s?' : ''}`
    return { status: response.status, message, retryAfter: retryAfter > 0 ? Math.min(retryAfter, 60_000) : 0 }
  } catch (error) {
    signal.throwIfAborted()
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error
    const code = (cause as { code?: unknown }).code
    return {
      status: 0,
      message: `it cannot be reached (${typeof code === 'string' ? code : 'unknown'})`,
      retryAfter: 0,
    }
  }
}
