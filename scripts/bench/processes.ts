import { type ChildProcess, fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { Outcome, Plan } from './load-plan.ts'

export interface Server {
  url: string
  pid: number
  stop(): Promise<void>
}

/** What is to be done at the end, last things first. */
export type Stops = (() => Promise<unknown>)[]

/**
 * Starts a server in a process of its own, and waits for the line of its log that says where it listens.
 *
 * @param flags of Node, before the script
 */
export async function startServer(
  script: URL,
  stops: Stops,
  { flags = [], env = {} }: { flags?: string[]; env?: Record<string, string> },
): Promise<Server> {
  const { PATH = '', HOME = '' } = process.env
  const child = spawn(process.execPath, [...flags, fileURLToPath(script)], {
    env: { PATH, HOME, NODE_ENV: 'production', ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const stop = () => end(child)
  // At once: a start can be interrupted.
  stops.push(stop)
  return { url: await urlIn(child), pid: child.pid ?? 0, stop }
}

async function urlIn(child: ChildProcess): Promise<string> {
  const log: string[] = []
  for await (const line of createInterface({ input: child.stdout! })) {
    const { url } = JSON.parse(line) as { url?: string }
    if (url) {
      child.stdout!.resume()
      return url
    }
    log.push(line)
  }
  throw new Error(`a server did not start: ${log.join('\n')}`)
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exited = once(child, 'exit')
  child.kill('SIGTERM')
  const late = setTimeout(() => child.kill('SIGKILL'), 15_000)
  await exited
  clearTimeout(late)
}

export interface LoadGenerator {
  /** Throws when an answer was not 2xx: the figures would be those of refusals. */
  run(plan: Plan): Promise<Outcome>
  stop(): Promise<void>
}

export function startLoadGenerator(): LoadGenerator {
  const child = fork(fileURLToPath(new URL('load-generator.ts', import.meta.url)), {
    serialization: 'advanced',
  })
  const gone = once(child, 'exit').then((): never => {
    throw new Error('the load generator is gone')
  })
  // Met by whoever runs a plan; nobody else waits for it.
  gone.catch(() => {})
  return {
    async run(plan) {
      const answer = once(child, 'message') as Promise<[Outcome]>
      child.send(plan)
      const [outcome] = await Promise.race([answer, gone])
      if (outcome.failure !== null) throw new Error(`the load met a failure: ${outcome.failure}`)
      return outcome
    },
    stop: () => end(child),
  }
}
