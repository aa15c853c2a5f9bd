import { work } from '../work.ts'
import { type FeedReader, readFeed, taskOf } from './feed-reader.ts'

// A process with some plain readers of the feed.

export type ReaderTasks = { open: typeof open; learned: typeof learned }
work({ open, learned })

const readers: FeedReader[] = []

/** Milliseconds that a reader may take to be told of an end. */
const most = 5_000

async function open({ origin, count }: { origin: string; count: number }): Promise<void> {
  for (let n = 0; n < count; n++) readers.push(await readFeed(origin))
}

/** When each of them was told that the task ended (`moment`). Throws where one was not, or was told of anything else, or twice. */
async function learned(taskId: string): Promise<Float64Array> {
  const told = readers.map(reader => reader.take())
  for (const end = performance.now() + most; told.some(({ length }) => length === 0); ) {
    if (performance.now() > end) throw new Error('a reader was not told of an end')
    await new Promise(resolve => setTimeout(resolve, 10))
    for (const [n, reader] of readers.entries()) told[n]?.push(...reader.take())
  }
  for (const reader of readers) reader.mustBeConnected()
  return Float64Array.from(told, events => {
    const [event, ...others] = events
    if (!event || others.length > 0 || taskOf(event) !== taskId)
      throw new Error('a reader was told of another end, or twice')
    return event.at
  })
}
