const unit = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const

/** A hundred years: a duration added to any sane time is still a date. */
const longest = 36_500 * unit.d

/**
 * Reads `90s`, `5m`, `8h`, `90d` (contract §1): a whole number without sign, fraction or leading zero, and one unit.
 * @returns milliseconds; null for any other text, and for more than 36,500 days. `0s` is 0: callers say whether they take it.
 */
export const parseDuration = (text: string): number | null => {
  const match = /^(0|[1-9][0-9]{0,9})([smhd])$/.exec(text)
  if (match === null) return null
  const milliseconds = Number(match[1]) * unit[match[2] as keyof typeof unit]
  return milliseconds <= longest ? milliseconds : null
}
