import type { Pace, Paced, PacedTasks } from './paced-load.ts'
import { percentile } from './statistics.ts'
import type { World } from './world.ts'

export interface PacedLoad {
  pid: number
  begin(pace: Pace): Promise<void>
  /** Waits for what is under way. Throws where any answer was not 2xx. */
  end(): Promise<Paced>
}

/** Requests at fixed times, from a process of its own. */
export function startPacedLoad(world: World): PacedLoad {
  const worker = world.startWorker<PacedTasks>(new URL('paced-load.ts', import.meta.url))
  return { pid: worker.pid, begin: pace => worker.ask('begin', pace), end: () => worker.ask('end') }
}

/** Milliseconds from when they were due to their answers, of all that waited at some time between the two moments. */
export function waitsBetween({ due, answered }: Paced, from: number, until: number): number[] {
  const waits: number[] = []
  for (const [n, at] of answered.entries()) {
    const asked = due[n] as number
    if (asked <= until && at >= from) waits.push(at - asked)
  }
  return waits
}

/** The longest time without an answer of which a part lies between the two moments, in milliseconds. */
export function longestSilence({ answered }: Paced, from: number, until: number): number {
  let longest = 0
  for (let n = 1; n < answered.length; n++) {
    const [last, next] = [answered[n - 1] as number, answered[n] as number]
    if (last < until && next > from) longest = Math.max(longest, next - last)
  }
  return longest
}

export const p50And99 = (sorted: ArrayLike<number>): { p50: number; p99: number } => ({
  p50: percentile(sorted, 0.5),
  p99: percentile(sorted, 0.99),
})
