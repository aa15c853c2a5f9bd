import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../../', import.meta.url))

/** Milliseconds that the broker has to stop in, its PostgreSQL included. */
const patience = 60_000

export interface BrokerProcess {
  url: string
  /** Its listener for mutual TLS. */
  mtlsUrl: string
  /** What it logged last, for when something goes wrong. */
  lastWords(): string
}

/**
 * Starts `src/main.ts` as it is started in earnest, as a process of its own, and waits until it is open.
 *
 * @param options.stops gets what ends it, as soon as there is something to end
 */
export async function startBrokerProcess(options: {
  config: string
  signal: AbortSignal
  stops: (() => Promise<void>)[]
}): Promise<BrokerProcess> {
  const { config, signal, stops } = options
  signal.throwIfAborted()
  const child = spawn(process.execPath, ['src/main.ts'], {
    cwd: root,
    env: environment(config),
    stdio: ['ignore', 'pipe', 'pipe'],
    // A terminal's Ctrl-C is for the demo, which stops the broker in order.
    detached: true,
  })
  const said: string[] = []
  const lastWords = () => said.slice(-12).join('\n')
  stops.push(() => stop(child))

  const opened = await new Promise<Opened>((resolve, reject) => {
    const hear = (line: string) => {
      said.push(line)
      const opened = openedAt(line)
      if (opened) resolve(opened)
    }
    createInterface({ input: child.stdout }).on('line', hear)
    createInterface({ input: child.stderr }).on('line', hear)
    child.once('error', reject)
    child.once('close', () => reject(new Error(`the broker ended:\n${lastWords()}`)))
    signal.addEventListener('abort', () => reject(signal.reason), { once: true })
  })
  return { ...opened, lastWords }
}

/** Nothing of the shell's own settings: a DATABASE_URL there is none of the demo's business. */
function environment(config: string): NodeJS.ProcessEnv {
  const { PATH, HOME, TMPDIR, LANG } = process.env
  return { PATH, HOME, TMPDIR, LANG, HALLPASS_CONFIG: config }
}

type Opened = Pick<BrokerProcess, 'url' | 'mtlsUrl'>

function openedAt(line: string): Opened | null {
  try {
    const { msg, url, mtls } = JSON.parse(line) as Record<string, unknown>
    const isOpen = msg === 'hallpass is open' && typeof url === 'string' && typeof mtls === 'string'
    return isOpen ? { url, mtlsUrl: mtls } : null
  } catch {
    return null
  }
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return
  const ended = once(child, 'exit')
  child.kill('SIGTERM')
  const cut = setTimeout(() => child.kill('SIGKILL'), patience)
  await ended
  clearTimeout(cut)
}
