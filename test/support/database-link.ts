import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import pg from 'pg'

/** A way to the database that the test can cut, and hold up. */
export interface DatabaseLink {
  url: string
  /** Ends all connections, and refuses new ones. */
  cut(): void
  /** Keeps connections, and accepts new ones, but lets nothing more through. */
  freeze(): void
  mend(): void
  close(): Promise<void>
}

/** A TCP relay on loopback before the database of this URL, Unix socket or not. */
export async function linkTo(url: string): Promise<DatabaseLink> {
  const { host, port, user, password, database } = new pg.Client({ connectionString: url })
  let state: 'up' | 'cut' | 'frozen' = 'up'
  const sockets = new Set<Socket>()

  const server = createServer(client => {
    if (state === 'cut') return void client.destroy()
    const upstream = host.startsWith('/')
      ? connect({ path: `${host}/.s.PGSQL.${port}` })
      : connect({ host, port })
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(from)
      if (state === 'frozen') from.pause()
      from.on('data', chunk => to.write(chunk))
      from.on('error', () => to.destroy())
      from.on('close', () => {
        sockets.delete(from)
        to.destroy()
      })
    }
  })
  await new Promise<void>(listening => server.listen(0, '127.0.0.1', listening))
  const end = () => {
    for (const socket of sockets) socket.destroy()
  }
  const { port: own } = server.address() as AddressInfo
  const login = `${encodeURIComponent(user ?? '')}${password ? `:${encodeURIComponent(password)}` : ''}`
  return {
    url: `postgresql://${login}@127.0.0.1:${own}/${database}?sslmode=disable`,
    cut() {
      state = 'cut'
      end()
    },
    freeze() {
      state = 'frozen'
      for (const socket of sockets) socket.pause()
    },
    mend() {
      state = 'up'
      for (const socket of sockets) socket.resume()
    },
    async close() {
      end()
      await new Promise(closed => server.close(closed))
    },
  }
}
