import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import pg from 'pg'

/** The way to a database on which notifications are lost, all of them. */
export interface DeafLink {
  url: string
  /** Notifications that did not come through. */
  lost: number
  close(): Promise<void>
}

/** NotificationResponse (PostgreSQL, "Message Formats"). */
const notification = 'A'.charCodeAt(0)

/** A TCP relay on loopback before the database of this URL, Unix socket or not. */
export async function deafLinkTo(url: string): Promise<DeafLink> {
  const { host, port, user, password, database } = new pg.Client({ connectionString: url })
  const sockets = new Set<Socket>()
  const server = createServer(client => {
    const upstream = host.startsWith('/')
      ? connect({ path: `${host}/.s.PGSQL.${port}` })
      : connect({ host, port })
    const without = withoutNotifications(() => {
      link.lost++
    })
    client.on('data', chunk => upstream.write(chunk))
    upstream.on('data', chunk => client.write(without(chunk)))
    for (const [one, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(one)
      one.on('error', () => other.destroy())
      one.on('close', () => other.destroy())
    }
  })
  await new Promise<void>(listening => server.listen(0, '127.0.0.1', listening))
  const { port: own } = server.address() as AddressInfo
  const login = `${encodeURIComponent(user ?? '')}${password ? `:${encodeURIComponent(password)}` : ''}`
  const link: DeafLink = {
    url: `postgresql://${login}@127.0.0.1:${own}/${database}?sslmode=disable`,
    lost: 0,
    async close() {
      for (const socket of sockets) socket.destroy()
      await new Promise(closed => server.close(closed))
    },
  }
  return link
}

/** Every message from the server is a byte of type, and a length that counts itself. */
function withoutNotifications(onLost: () => void): (chunk: Buffer) => Buffer {
  let rest: Buffer = Buffer.alloc(0)
  return chunk => {
    rest = Buffer.concat([rest, chunk])
    const kept: Buffer[] = []
    while (rest.length >= 5 && rest.length > rest.readUInt32BE(1)) {
      const end = 1 + rest.readUInt32BE(1)
      if (rest[0] === notification) onLost()
      else kept.push(rest.subarray(0, end))
      rest = rest.subarray(end)
    }
    return Buffer.concat(kept)
  }
}
