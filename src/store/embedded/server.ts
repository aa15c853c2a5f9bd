import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import type { Account } from './account.ts'
import { environment, superuser } from './cluster.ts'
import { connect, urlOf } from './connection.ts'
import { endOrphan, endPostmaster } from './postmaster.ts'
import type { ServerLog } from './server-log.ts'
import { asArguments, fixedSettings } from './settings.ts'

/** Replaying the write-ahead log after a crash takes this long at the very most (milliseconds). */
const patience = 300_000

export interface ServerOptions {
  postgres: string
  data: string
  sockets: string
  account: Account
  serverLog: ServerLog
  log: Logger
  /** Ends the wait for the server's first answer. */
  signal: AbortSignal
}

export interface Server {
  /** Settles when the process has ended, and all that it started: how, in words. */
  ended: Promise<string>
  /** The last lines that it logged. */
  lastWords(): string
  stop(): Promise<void>
}

/**
 * One PostgreSQL process, answering. It is the leader of its own session: a terminal's Ctrl-C reaches the broker alone,
 * which stops it in order.
 *
 * @throws Error if it ends before it answers; its last log lines are the cause
 */
export async function startServer(options: ServerOptions): Promise<Server> {
  const { postgres, data, sockets, account, log } = options
  const reused = await endOrphan(data, log)
  const [file, ...args] = [
    ...account.prefix,
    postgres,
    ...['-D', data],
    ...asArguments(fixedSettings(sockets)),
  ]
  const child = spawn(file!, args, {
    cwd: '/',
    detached: true,
    stdio: ['ignore', 'ignore', 'pipe'],
    // As pg_ctl does: the number in postmaster.pid that now is another process's does not count as a running server.
    // Removing the file would also remove the check that no backend of the old server is still at work.
    env: { ...environment(), ...(reused !== null && { PG_GRANDPARENT_PID: `${reused}` }) },
    ...account.become,
  })
  const server = serverOf(child, options.serverLog)
  try {
    await answering(server, sockets, options.signal)
    return server
  } catch (error) {
    await server.stop()
    const cause = new Error(server.lastWords(), { cause: error })
    throw new Error('the embedded PostgreSQL did not start: its log says why', { cause })
  }
}

function serverOf(child: ChildProcess, serverLog: ServerLog): Server {
  let running = child.pid !== undefined
  let lastWords = ''
  // Where the broker exits without stopping it. No waiting there: the next start waits.
  const interrupt = () => running && process.kill(child.pid!, 'SIGINT')
  process.once('exit', interrupt)

  child.stderr?.on('data', (chunk: Buffer) => {
    serverLog.write(chunk)
    lastWords = (lastWords + chunk.toString('utf8')).slice(-4_000)
  })
  child.once('exit', () => {
    running = false
    process.off('exit', interrupt)
  })
  // Once standard error is closed, no backend is left either.
  const ended = once(child, 'close').then(
    ([code, signal]) => (signal ? `ended by ${signal}` : `exit status ${code}`),
    (error: Error) => error.message,
  )
  return {
    ended,
    lastWords: () => lastWords,
    async stop() {
      if (running) await endPostmaster(child.pid!, () => running)
      await Promise.race([ended, sleep(5_000, undefined, { ref: false })])
    },
  }
}

async function answering(server: Server, sockets: string, signal: AbortSignal): Promise<void> {
  let end: string | undefined
  server.ended.then(how => {
    end = how
  })
  const url = urlOf(sockets, superuser, 'postgres')
  const since = performance.now()
  while (performance.now() - since < patience) {
    if (end !== undefined) throw new Error(end)
    signal.throwIfAborted()
    const client = await connect(url).catch(() => null)
    if (client) return client.end()
    await sleep(20)
  }
  throw new Error('no answer')
}
