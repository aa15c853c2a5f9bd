/** The word that was probably meant, if one is at most two slips of the finger away. */
export const nearest = (word: string, words: readonly string[]): string | null => {
  const bound = Math.min(2, Math.floor(word.length / 2))
  const [best] = words
    .map(candidate => ({ candidate, slips: slips(word.slice(0, 64), candidate) }))
    .filter(({ slips }) => slips <= bound)
    .sort((a, b) => a.slips - b.slips)
  return best?.candidate ?? null
}

/** Levenshtein's distance, a row at a time. */
const slips = (a: string, b: string): number => {
  let row = Array.from({ length: b.length + 1 }, (_, column) => column)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1]
      next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (same ? 0 : 1)))
    }
    row = next
  }
  return row[b.length]!
}
