import { styleText } from 'node:util'

/** Told to a terminal in colours; plain where it is none, and under NO_COLOR. */
const paint = (style: Parameters<typeof styleText>[0], text: string): string =>
  styleText(style, text, { stream: process.stdout })

/** Column that the milliseconds end in. */
const width = 100

export const say = (line = ''): void => void process.stdout.write(`${line}\n`)

export const title = (text: string): void => say(paint('bold', text))

export const chapter = (text: string): void => {
  say()
  say(paint(['bold', 'cyan'], text))
}

export const done = (text: string, ms: number): void => {
  const time = `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`
  say(`  ${paint('green', '✓')} ${text.padEnd(width - 4 - time.length)}${paint('dim', time)}`)
}

export const failed = (text: string): void => say(`  ${paint('red', '✗')} ${text}`)

export const verdict = (isGood: boolean, text: string): void => {
  say()
  say(paint(['bold', isGood ? 'green' : 'red'], text))
}

/** Rows under a head; `mark` picks the colour of a row. */
export function table(head: string[], rows: string[][], mark: (row: string[]) => 'red' | null): void {
  const widths = head.map((name, i) => Math.max(name.length, ...rows.map(row => row[i]?.length ?? 0)))
  const line = (row: string[]) =>
    row
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .join('  ')
      .trimEnd()
  say(`  ${paint('dim', line(head))}`)
  for (const row of rows) {
    const colour = mark(row)
    say(`  ${colour ? paint(colour, line(row)) : line(row)}`)
  }
}
