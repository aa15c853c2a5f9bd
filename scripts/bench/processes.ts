import { type ChildProcess, fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { LoadTasks } from './load-generator.ts'
import type { Outcome, Plan } from './load-plan.ts'
import type { Done, Tasks } from './work.ts'

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

/** A process of the bench's own, which does what it is asked. */
export interface Worker<T extends Tasks> {
  pid: number
  /** Throws what the task threw there, or that the process is gone. */
  ask<Name extends keyof T & string>(name: Name, ...given: Parameters<T[Name]>): Promise<Answer<T, Name>>
  stop(): Promise<void>
}

type Answer<T extends Tasks, Name extends keyof T> = Awaited<ReturnType<T[Name]>>

/** @param script calls `work` with the tasks that it can do */
export function startWorker<T extends Tasks>(script: URL, stops: Stops): Worker<T> {
  const child = fork(fileURLToPath(script), {
    serialization: 'advanced',
    env: { ...process.env, NODE_ENV: 'production' },
  })
  const stop = () => end(child)
  stops.push(stop)
  const waiting = new Map<number, (done: Done | null) => void>()
  let asked = 0
  child.on('message', (done: Done) => {
    waiting.get(done.id)?.(done)
    waiting.delete(done.id)
  })
  child.on('exit', () => {
    for (const answer of waiting.values()) answer(null)
    waiting.clear()
  })
  return {
    pid: child.pid ?? 0,
    async ask<Name extends keyof T & string>(
      name: Name,
      ...[given]: Parameters<T[Name]>
    ): Promise<Answer<T, Name>> {
      const id = asked++
      const done = await new Promise<Done | null>(resolve => {
        if (!child.connected) return resolve(null)
        waiting.set(id, resolve)
        child.send({ id, name, given })
      })
      if (!done) throw new Error(`a process that was to ${name} is gone`)
      if (done.failure !== null) throw new Error(`${name}: ${done.failure}`)
      return done.answer as Answer<T, Name>
    },
    stop,
  }
}

export interface LoadGenerator {
  /** Throws when an answer was not 2xx: the figures would be those of refusals. */
  run(plan: Plan): Promise<Outcome>
}

export function startLoadGenerator(stops: Stops): LoadGenerator {
  const worker = startWorker<LoadTasks>(new URL('load-generator.ts', import.meta.url), stops)
  return { run: plan => worker.ask('run', plan) }
}
