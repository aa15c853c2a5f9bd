import { audience } from '../callers.ts'
import { brokerIssuer, type World } from '../world.ts'
import type { ReaderTasks } from './reader-host.ts'
import type { VerifierTasks } from './verifier-host.ts'

/** Those who are to learn of an end, spread over some processes. */
export interface Listeners {
  pids: number[]
  /** Before each close: a token of the task that will be closed. */
  hold(token: string): Promise<void>
  /** After it: when each of them learned of it (`moment`), by the replica that they listen to. Throws where one did not. */
  learned(taskId: string): Promise<{ origin: string; moments: Float64Array }[]>
}

/** Starts so many in all, as many on each of the replicas. */
export type Listen = (world: World, origins: string[], count: number) => Promise<Listeners>

/** Processes for each replica. */
const processes = 2

/** Real verifiers, each with its own connection to the feed. */
export const openVerifiers: Listen = async (world, origins, count) => {
  const hosts = await spread(origins, count, async (origin, share) => {
    const worker = world.startWorker<VerifierTasks>(new URL('verifier-host.ts', import.meta.url))
    await worker.ask('open', { origin, count: share, issuer: brokerIssuer, audience })
    return worker
  })
  return {
    pids: hosts.map(({ worker }) => worker.pid),
    async hold(token) {
      await Promise.all(hosts.map(({ worker }) => worker.ask('hold', token)))
    },
    learned: () => fromEach(hosts, worker => worker.ask('learned')),
  }
}

/** Plain connections to the feed. */
export const openReaders: Listen = async (world, origins, count) => {
  const hosts = await spread(origins, count, async (origin, share) => {
    const worker = world.startWorker<ReaderTasks>(new URL('reader-host.ts', import.meta.url))
    await worker.ask('open', { origin, count: share })
    return worker
  })
  return {
    pids: hosts.map(({ worker }) => worker.pid),
    async hold() {},
    learned: taskId => fromEach(hosts, worker => worker.ask('learned', taskId)),
  }
}

interface Host<W> {
  origin: string
  worker: W
}

async function spread<W>(
  origins: string[],
  count: number,
  start: (origin: string, share: number) => Promise<W>,
): Promise<Host<W>[]> {
  const shares = origins.length * processes
  return Promise.all(
    Array.from({ length: shares }, async (_, n) => {
      const origin = origins[n % origins.length] as string
      const share = Math.floor(count / shares) + (n < count % shares ? 1 : 0)
      return { origin, worker: await start(origin, share) }
    }),
  )
}

const fromEach = <W>(hosts: Host<W>[], ask: (worker: W) => Promise<Float64Array>) =>
  Promise.all(hosts.map(async ({ origin, worker }) => ({ origin, moments: await ask(worker) })))
