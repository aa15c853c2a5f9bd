import type { Spread } from './statistics.ts'

/** One line of the table. */
export interface Figure {
  what: string
  measured: string
  ratio?: Spread
  /** For the ratio. */
  target?: Target
  /** What has a target by itself, and not as a ratio. */
  limits?: Limit[]
}

type Target = { most: number } | { least: number }

export interface Limit {
  /** What of the measured it is: `p99`. */
  of: string
  ms: number
  most: number
}

/** A Markdown table, for the README. */
export function table(figures: Figure[]): string {
  const rows = figures.map(figure => [
    figure.what,
    figure.measured,
    figure.ratio
      ? `${times(figure.ratio.median)} (${times(figure.ratio.least)} to ${times(figure.ratio.most)})`
      : '',
    targetsOf(figure),
    verdictOf(figure),
  ])
  const heads = ['What', 'Measured', 'Ratio (rounds)', 'Target', '']
  return [heads, heads.map(() => '---'), ...rows].map(cells => `| ${cells.join(' | ')} |`).join('\n')
}

function targetsOf({ target, limits = [] }: Figure): string {
  const ofRatio = target ? ['most' in target ? `≤ ${target.most}` : `≥ ${target.least}`] : []
  return [...ofRatio, ...limits.map(({ of, most }) => `${of} ≤ ${most.toLocaleString('en')} ms`)].join(', ')
}

function verdictOf({ ratio, target, limits = [] }: Figure): string {
  const met = limits.map(({ ms, most }) => ms <= most)
  if (ratio && target) met.push(isMet(ratio.median, target))
  if (met.length === 0) return ''
  return met.every(Boolean) ? 'met' : 'missed'
}

const isMet = (ratio: number, target: Target): boolean =>
  'most' in target ? ratio <= target.most : ratio >= target.least

const times = (ratio: number): string => ratio.toFixed(2)

export const perSecond = (count: number): string => `${Math.round(count).toLocaleString('en')}/s`
export const milliseconds = (ms: number): string => `${ms.toFixed(ms < 10 ? 2 : 1)} ms`
/** From CPU seconds of a number of requests. */
export const microsecondsEach = (seconds: number, requests: number): string =>
  `${Math.round((seconds / requests) * 1e6).toLocaleString('en')} µs`
