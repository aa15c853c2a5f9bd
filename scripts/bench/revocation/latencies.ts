import { percentile, type Spread, spreadOf } from '../statistics.ts'

/** One listener and one close. */
export interface Sample {
  /** From the answer to the close; less than 0 where the listener learned of it before the closer had its answer. */
  ms: number
  /** Whether it listens to the replica that closed. */
  isSame: boolean
}

export interface Latencies {
  /** Milliseconds, ascending; what came before the answer took none. */
  sorted: Float64Array
  /** Over all of them, with the lowest and the highest of the rounds. */
  p50: Spread
  p99: Spread
  most: number
  /** How many learned of it before the answer. */
  before: number
  /** p50 on the replica that closed, and on the other. */
  same: number
  other: number
}

/** @param closes the samples of each close, in order; so many closes in a row make a round */
export function latenciesOf(closes: Sample[][], closesInRound: number): Latencies {
  const rounds: Float64Array[] = []
  for (let n = 0; n < closes.length; n += closesInRound)
    rounds.push(sorted(closes.slice(n, n + closesInRound).flat()))
  const samples = closes.flat()
  const all = sorted(samples)
  const at = (part: number): Spread => ({
    ...spreadOf(rounds.map(round => percentile(round, part))),
    median: percentile(all, part),
  })
  return {
    sorted: all,
    p50: at(0.5),
    p99: at(0.99),
    most: all.at(-1) ?? Number.NaN,
    before: samples.filter(({ ms }) => ms < 0).length,
    same: percentile(sorted(samples.filter(({ isSame }) => isSame)), 0.5),
    other: percentile(sorted(samples.filter(({ isSame }) => !isSame)), 0.5),
  }
}

const sorted = (samples: Sample[]): Float64Array =>
  Float64Array.from(samples, ({ ms }) => Math.max(ms, 0)).sort()
