import type { Spread } from './statistics.ts'

/** One line of the table. */
export interface Figure {
  what: string
  measured: string
  ratio?: Spread
  target?: { most: number } | { least: number }
}

/** A Markdown table, for the README. */
export function table(figures: Figure[]): string {
  const rows = figures.map(({ what, measured, ratio, target }) => [
    what,
    measured,
    ratio ? `${times(ratio.median)} (${times(ratio.least)} to ${times(ratio.most)})` : '',
    target ? ('most' in target ? `≤ ${target.most}` : `≥ ${target.least}`) : '',
    ratio && target ? (isMet(ratio.median, target) ? 'met' : 'missed') : '',
  ])
  const heads = ['What', 'Measured', 'Ratio (rounds)', 'Target', '']
  return [heads, heads.map(() => '---'), ...rows].map(cells => `| ${cells.join(' | ')} |`).join('\n')
}

const isMet = (ratio: number, target: { most: number } | { least: number }): boolean =>
  'most' in target ? ratio <= target.most : ratio >= target.least

const times = (ratio: number): string => ratio.toFixed(2)

export const perSecond = (count: number): string => `${Math.round(count).toLocaleString('en')}/s`
export const milliseconds = (ms: number): string => `${ms.toFixed(ms < 10 ? 2 : 1)} ms`
/** From CPU seconds of a number of requests. */
export const microsecondsEach = (seconds: number, requests: number): string =>
  `${Math.round((seconds / requests) * 1e6).toLocaleString('en')} µs`
