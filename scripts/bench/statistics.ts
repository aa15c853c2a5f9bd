/** The middle one; of an even number, the mean of the two in the middle. NaN of none. */
export function median(values: number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const half = sorted.length / 2
  return ((sorted[Math.ceil(half) - 1] ?? Number.NaN) + (sorted[Math.floor(half)] ?? Number.NaN)) / 2
}

/** The value that this part (0 to 1) of all values does not exceed; `sorted` ascending. */
export const percentile = (sorted: ArrayLike<number>, part: number): number =>
  sorted[Math.max(0, Math.ceil(sorted.length * part) - 1)] ?? Number.NaN

export interface Spread {
  median: number
  least: number
  most: number
}

export const spreadOf = (values: number[]): Spread => ({
  median: median(values),
  least: Math.min(...values),
  most: Math.max(...values),
})

/** Round by round, the one over the other: what disturbs a round disturbs both. */
export const ratios = (over: number[], under: number[]): Spread =>
  spreadOf(over.map((value, round) => value / (under[round] ?? Number.NaN)))
