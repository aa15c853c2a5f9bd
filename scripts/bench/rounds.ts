import type { Outcome, Request } from './load-plan.ts'
import type { World } from './world.ts'

/** What is measured in turn with others. */
export interface Contender {
  name: string
  origin: string
  callers?: number
  /** Asked before each round; requests that may be sent over and over can be the same each time. */
  requests: () => Request[] | Promise<Request[]>
  /** Whether each request may be sent once only. */
  once?: boolean
  /** CPU seconds so far, of whatever is to be accounted for. */
  cpu?: () => number[]
}

export interface Round extends Outcome {
  /** Requests a second. */
  rate: number
  /** CPU seconds of this round, in the order of `Contender.cpu`. */
  used: number[]
}

/** Callers at the same time, unless a contender says otherwise. */
export const callers = 32

/**
 * Lets the contenders run one after the other, over and over, so that whatever else the machine does meets them all; the order turns
 * about with each round. The first round warms up, and does not count.
 */
export async function inAlternation<Name extends string>(
  { load, quick }: World,
  contenders: (Contender & { name: Name })[],
  { rounds, after }: { rounds: number; after: number },
): Promise<Record<Name, Round[]>> {
  const results = Object.fromEntries(contenders.map(({ name }) => [name, [] as Round[]])) as Record<
    Name,
    Round[]
  >
  const counted = quick ? 2 : rounds
  for (let round = 0; round <= counted; round++) {
    for (const contender of round % 2 === 0 ? contenders : contenders.toReversed()) {
      const { name, origin, once = false, cpu = () => [] } = contender
      const requests = await contender.requests()
      const before = cpu()
      const outcome = await load.run({
        origin,
        callers: contender.callers ?? callers,
        requests,
        stop: once ? 'once' : { after: quick ? after / 3 : after },
      })
      const used = cpu().map((seconds, n) => seconds - (before[n] ?? 0))
      if (round > 0) results[name].push({ ...outcome, used, rate: outcome.answered / outcome.seconds })
    }
  }
  return results
}
