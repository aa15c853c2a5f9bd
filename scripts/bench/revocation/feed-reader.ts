import { get } from 'node:http'
import { moment } from '../work.ts'

/** A plain reader of the feed: a connection, and what came over it. */
export interface FeedReader {
  /** What came since the last time that this was asked for, in order; ticks are left out. */
  take(): FeedEvent[]
  /** Throws where the broker has ended the connection meanwhile: then nothing that was measured with it is complete. */
  mustBeConnected(): void
  close(): void
}

export interface FeedEvent {
  type: string
  /** JSON. */
  data: string
  /** When the last byte of it was handed to this process (`moment`). */
  at: number
}

/** Connects, and answers once the snapshot is there. What comes later is parsed when it is asked for, not while others are to be told. */
export async function readFeed(origin: string): Promise<FeedReader> {
  const { promise: begun, resolve: begin, reject } = Promise.withResolvers<void>()
  const parser = createParser()
  let arrivals: Arrival[] = []
  let isBegun = false
  let isEnded = false
  const request = get(`${origin}/v1/revocations`, { agent: false }, response => {
    if (response.statusCode !== 200) return reject(new Error(`the feed answered ${response.statusCode}`))
    response.on('data', (bytes: Buffer) => {
      const arrival = { at: moment(), bytes }
      if (isBegun) return arrivals.push(arrival)
      isBegun = parser.push(arrival).some(({ type }) => type === 'snapshot')
      if (isBegun) begin()
    })
  })
  request.on('error', reject)
  request.on('close', () => {
    isEnded = true
    reject(new Error('the feed ended'))
  })
  await begun
  return {
    take() {
      const taken = arrivals.flatMap(parser.push)
      arrivals = []
      return taken.filter(({ type }) => type !== 'tick')
    },
    mustBeConnected() {
      if (isEnded) throw new Error('the broker has ended a connection to the feed')
    },
    close: () => request.destroy(),
  }
}

interface Arrival {
  at: number
  bytes: Buffer
}

/** Of Server-Sent Events as the broker writes them: one line of each field, ended by line feeds. */
function createParser(): { push: (arrival: Arrival) => FeedEvent[] } {
  let rest = ''
  return {
    push({ at, bytes }) {
      const blocks = (rest + bytes.toString('latin1')).split('\n\n')
      rest = blocks.pop() ?? ''
      return blocks.flatMap(block => {
        const type = /^event: (.*)$/m.exec(block)?.[1]
        const data = /^data: (.*)$/m.exec(block)?.[1]
        return type === undefined || data === undefined ? [] : [{ type, data, at }]
      })
    },
  }
}

/** The task that an event is about; null where it is about none. */
export const taskOf = ({ type, data }: FeedEvent): string | null =>
  type === 'task' ? (JSON.parse(data) as { task_id: string }).task_id : null

/** Throws unless the reader was told of the ends of these tasks, in this order, once each, and of nothing else. */
export function mustHaveTold(reader: FeedReader, tasks: string[]): void {
  reader.mustBeConnected()
  const told = reader.take()
  if (told.length !== tasks.length || told.some((event, n) => taskOf(event) !== tasks[n]))
    throw new Error(
      `${tasks.length} tasks were closed, and the feed has ${told.length} events, or not theirs`,
    )
}
