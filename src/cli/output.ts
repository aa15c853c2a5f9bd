import type { Io } from './io.ts'

export type Row = Record<string, unknown>

/**
 * The text without what a terminal obeys: control characters, and marks that turn the direction of writing. Much of what is
 * shown comes from attestations and from callers.
 */
export const printable = (text: string): string => text.replace(unprintable, escaped)

/** The same for what has several lines of its own. */
export const printableLines = (text: string): string => text.split('\n').map(printable).join('\n')

const unprintable = /[\p{Cc}\p{Cf}\u2028\u2029]/gu
const escaped = (char: string): string => `\\u${char.codePointAt(0)!.toString(16).padStart(4, '0')}`

/** For machines; what a terminal obeys is escaped here too, as JSON allows. */
export const jsonText = (value: unknown): string =>
  JSON.stringify(value, null, 2).replace(unprintable, char =>
    char === '\n'
      ? char
      : char.replace(/[\s\S]/g, unit => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`),
  )

/** One value in one cell: `-` for none. */
export const cell = (value: unknown): string => {
  if (value === null || value === undefined || value === '') return '-'
  if (Array.isArray(value)) return value.length === 0 ? '-' : value.map(cell).join(' ')
  return printable(typeof value === 'object' ? JSON.stringify(value) : String(value))
}

/** Rows under a head, in columns as wide as their widest cell. */
export const table = (rows: readonly Row[], columns: readonly string[]): string => {
  const lines = [
    columns.map(name => name.toUpperCase()),
    ...rows.map(row => columns.map(name => cell(row[name]))),
  ]
  const widths = columns.map((_, column) => Math.max(...lines.map(line => line[column]!.length)))
  return lines
    .map(line =>
      line
        .map((text, column) => text.padEnd(widths[column]!))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

/** One thing, a line for each of its members. */
export const details = (row: Row): string => {
  const width = Math.max(...Object.keys(row).map(name => name.length))
  return Object.entries(row)
    .map(([name, value]) => `${name.padEnd(width)}  ${cell(value)}`)
    .join('\n')
}

/** A page of a list; where there is more, how to get it goes to standard error, so that the table stays a table. */
export const printPage = (
  io: Io,
  page: { items: Row[]; next: string | null },
  { columns, json }: { columns: readonly string[]; json: boolean },
): void => {
  io.out(json ? jsonText(page) : table(page.items, columns))
  if (!json && page.next !== null) io.err(`There is more: --cursor ${printable(page.next)}`)
}

export const printOne = (io: Io, row: Row, { json }: { json: boolean }): void =>
  io.out(json ? jsonText(row) : details(row))
