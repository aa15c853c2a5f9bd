import { setTimeout as sleep } from 'node:timers/promises'
import { type Server, type ServerOptions, startServer } from './server.ts'

/** Milliseconds. The wait doubles from first to longest, and starts over once a server has lived for `steady`. */
const first = 100
const longest = 10_000
const steady = 60_000

export interface Supervised {
  stop(): Promise<void>
}

/** Starts the server, and starts it again whenever it ends unasked. What keeps it from starting first is the caller's. */
export async function supervise(options: Omit<ServerOptions, 'signal'>): Promise<Supervised> {
  const stopping = new AbortController()
  const server = await firstStart({ ...options, signal: stopping.signal })
  const supervision = keepRunning(server, { ...options, signal: stopping.signal })
  return {
    async stop() {
      stopping.abort()
      const last = await supervision
      await last?.stop()
    },
  }
}

/** Backends of a server that was killed may be at work for a moment; PostgreSQL sees them and does not start. */
async function firstStart(options: ServerOptions): Promise<Server> {
  for (let wait = first; ; wait *= 2) {
    try {
      return await startServer(options)
    } catch (error) {
      const words = error instanceof Error && error.cause instanceof Error ? error.cause.message : ''
      if (!words.includes('pre-existing shared memory block') || wait > longest) throw error
      await sleep(wait)
    }
  }
}

/** Until the broker stops: then the server that runs, if one does. */
async function keepRunning(server: Server, options: ServerOptions): Promise<Server | null> {
  const { log, signal } = options
  const stopped = new Promise<null>(resolve => signal.addEventListener('abort', () => resolve(null)))
  let current: Server | null = server
  let wait = first
  while (current) {
    const since = performance.now()
    const how: string | null = await Promise.race([current.ended, stopped])
    if (how === null) return current
    log.error({ how, lastWords: current.lastWords() }, 'PostgreSQL ended unexpectedly, and is started again')
    if (performance.now() - since > steady) wait = first
    current = null
    while (!current && !signal.aborted) {
      await sleep(wait, undefined, { signal }).catch(() => {})
      wait = Math.min(wait * 2, longest)
      if (!signal.aborted) current = await nextStart(options)
    }
  }
  return current
}

async function nextStart(options: ServerOptions): Promise<Server | null> {
  try {
    return await startServer(options)
  } catch (err) {
    options.log.error({ err }, 'PostgreSQL could not be started again')
    return null
  }
}
