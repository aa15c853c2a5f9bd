import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import pino from 'pino'
import { createFeed, type Feed, type FeedDeps } from '../../src/revoke/feed/feed.ts'
import { openListener } from '../../src/store/listener.ts'
import { recordChannel } from '../../src/store/revocations.ts'
import { createTestDatabase } from './database.ts'
import { openRecord, type TestRecord } from './record.ts'

/**
 * A feed over a database of its own, whose sockets the test sees from the broker's side: what is written to them and not taken yet is
 * the broker's memory.
 */
export interface FeedDoor {
  feed: Feed
  record: TestRecord
  sockets: Socket[]
  cutOff: number
  /** A connection; nothing of it is read unless the test does. */
  connect(lastEventId?: string): Promise<Socket>
  close(): Promise<void>
}

export async function openFeedDoor(
  more: Partial<FeedDeps> & { before?: (record: TestRecord) => Promise<void> } = {},
): Promise<FeedDoor> {
  const { before, ...deps } = more
  const database = await createTestDatabase()
  const record = openRecord(database.url)
  await before?.(record)
  const feed = createFeed({
    log: pino({ level: 'silent' }),
    connect: events => openListener({ url: database.url, channel: recordChannel, ...events }),
    onCutOff: () => {
      door.cutOff++
    },
    ...deps,
  })
  feed.start()
  let lastEventId: string | undefined
  const server: Server = createServer(async socket => {
    socket.on('error', () => {})
    door.sockets.push(socket)
    await feed.ready()
    feed.follow(() => socket, { view: 'anonymous', lastEventId })
    server.emit('followed')
  })
  await new Promise<void>(listening => server.listen(0, '127.0.0.1', listening))
  // A long record takes its time to be read.
  for (let isRead = false; !isRead; )
    isRead = await feed.ready().then(
      () => true,
      () => false,
    )
  const clients: Socket[] = []
  const door: FeedDoor = {
    feed,
    record,
    sockets: [],
    cutOff: 0,
    async connect(id) {
      lastEventId = id
      const followed = once(server, 'followed')
      const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
      socket.pause()
      socket.on('error', () => {})
      clients.push(socket)
      await followed
      return socket
    },
    async close() {
      for (const client of clients) client.destroy()
      await feed.stop()
      await new Promise(closed => server.close(closed))
      await record.close()
      await database.drop()
    },
  }
  return door
}

/** Everything that comes, from when it is called. */
export function reading(socket: Socket): { text: string } {
  const seen = { text: '' }
  socket.setEncoding('utf8').on('data', chunk => {
    seen.text += chunk
  })
  socket.resume()
  return seen
}
