/** Something wrong in the policy folder, or worth a warning. Lines and columns start at 1. */
export interface Fault {
  /** The file's name in the folder; of the folder itself: `.`. */
  file: string
  line: number
  column: number
  /** The policy's `@id`, where it has one. */
  policy: string | null
  message: string
}

/** One line, as compilers write it: `ci.cedar:3:1: ci-deploy: …`. */
export const faultText = (fault: Fault): string =>
  `${fault.file}:${fault.line}:${fault.column}: ${fault.policy === null ? '' : `${fault.policy}: `}${fault.message}`

export const byPlace = (a: Fault, b: Fault): number =>
  compare(a.file, b.file) || a.line - b.line || a.column - b.column || compare(a.message, b.message)

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)

/** Line and column of an offset in UTF-16 units. */
export function placeOf(text: string, offset: number): { line: number; column: number } {
  const before = text.slice(0, offset)
  const lineStart = before.lastIndexOf('\n') + 1
  return { line: before.split('\n').length, column: offset - lineStart + 1 }
}

/** Cedar counts bytes of UTF-8; JavaScript counts UTF-16 units. */
export const unitsOf = (text: string, bytes: number): number =>
  Buffer.from(text, 'utf8').subarray(0, bytes).toString('utf8').length
