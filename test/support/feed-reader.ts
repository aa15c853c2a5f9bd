import { type ClientRequest, type IncomingHttpHeaders, type IncomingMessage, request } from 'node:http'
import { readContract } from '../../src/http/contract/document.ts'
import { schemaCompiler } from '../../src/http/contract/schemas.ts'
import type { FeedSnapshot, FeedTask, FeedTick } from '../../src/http/openapi.generated.d.ts'

/** One event of the feed, as a reader of Server-Sent Events hands it on. Its data was held against openapi.yaml. */
export interface FeedEvent {
  event: string
  /** Of this event itself; null where it has none. */
  id: string | null
  data: FeedData
}

/** Every member that any event has: which of them are there is the test's business, and openapi.yaml's. */
export type FeedData = FeedTask & FeedTick & Omit<FeedSnapshot, 'seq' | 'at'> & { jti: string; kid: string }

export interface FeedReader {
  status: number
  headers: IncomingHttpHeaders
  /** What has come so far, without ticks. */
  events: FeedEvent[]
  ticks: FeedEvent[]
  /** By which to come back. */
  lastEventId: string | undefined
  /** The first event, so far or to come, that is like this. Rejects once the connection has ended without one. */
  find(isIt: (event: FeedEvent) => boolean): Promise<FeedEvent>
  /** Cuts the connection. */
  cut(): void
  /** Once the connection has ended, whoever ended it. */
  ended: Promise<void>
}

export interface FeedReaderOptions {
  token?: string | undefined
  lastEventId?: string | undefined
  headers?: Record<string, string>
  /** Told of each event as it comes. */
  onEvent?: (event: FeedEvent) => void
}

const schemas: Record<string, string> = {
  task: 'FeedTask',
  credential: 'FeedCredential',
  key: 'FeedKey',
  tick: 'FeedTick',
  snapshot: 'FeedSnapshot',
}
const compile = schemaCompiler(readContract())
const validators = new Map(
  Object.entries(schemas).map(([event, name]) => [event, compile({ $ref: `#/components/schemas/${name}` })]),
)

/** Follows the feed of this broker on one connection. Resolves with the head; what is not 200 ends at once. */
export async function readFeed(baseUrl: string, options: FeedReaderOptions = {}): Promise<FeedReader> {
  const { token, lastEventId, headers = {}, onEvent } = options
  const asked: ClientRequest = request(`${baseUrl}/v1/revocations`, {
    headers: {
      ...headers,
      ...(token !== undefined && { Authorization: `Bearer ${token}` }),
      ...(lastEventId !== undefined && { 'Last-Event-ID': lastEventId }),
    },
    agent: false,
  })
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    asked.once('response', resolve).once('error', reject).end()
  })
  let isOver = false
  let waiting: { isIt: (event: FeedEvent) => boolean; found: (event: FeedEvent | null) => void }[] = []
  const parser = sseParser(take)
  const reader: FeedReader = {
    status: response.statusCode ?? 0,
    headers: response.headers,
    events: [],
    ticks: [],
    lastEventId,
    async find(isIt) {
      const known = [...reader.events, ...reader.ticks].find(isIt)
      if (known) return known
      const found = isOver
        ? null
        : await new Promise<FeedEvent | null>(found => {
            waiting.push({ isIt, found })
          })
      if (!found) throw new Error('the feed ended without it')
      return found
    },
    cut: () => response.destroy(),
    ended: new Promise(resolve => {
      response.once('close', () => {
        isOver = true
        for (const { found } of waiting) found(null)
        resolve()
      })
    }),
  }

  function take(event: string, data: string, id: string | null): void {
    const validate = validators.get(event)
    const parsed = JSON.parse(data) as FeedData
    if (!validate?.(parsed)) throw new Error(`${event} is not as openapi.yaml says: ${data.slice(0, 500)}`)
    const one = { event, id, data: parsed }
    if (id !== null) reader.lastEventId = id
    ;(event === 'tick' ? reader.ticks : reader.events).push(one)
    onEvent?.(one)
    const found = waiting.filter(({ isIt }) => isIt(one))
    waiting = waiting.filter(other => !found.includes(other))
    for (const waiter of found) waiter.found(one)
  }

  response.setEncoding('utf8')
  response.on('data', parser)
  response.on('error', () => {})
  return reader
}

/** WHATWG HTML §9.2.6, as far as the feed needs it; a line may come in any number of pieces. */
function sseParser(take: (event: string, data: string, id: string | null) => void): (text: string) => void {
  let rest = ''
  let fields: Record<string, string> = {}
  return text => {
    const lines = (rest + text).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) {
      if (line === '') {
        if (fields.data !== undefined) take(fields.event ?? 'message', fields.data, fields.id ?? null)
        fields = {}
      } else {
        const [, name = '', value = ''] = /^([^:]*):? ?(.*)$/.exec(line) ?? []
        fields[name] = value
      }
    }
  }
}
