import { isLosslessNumber, type LosslessNumber, parse } from 'lossless-json'

/** Numbers keep the text that they were written in. */
export type JsonValue = string | boolean | null | LosslessNumber | JsonValue[] | JsonObject
export interface JsonObject {
  [name: string]: JsonValue
}

const maxDepth = 16
// A byte order mark is left in, for the parser to refuse.
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/**
 * JSON that means the same to every reader: UTF-8, no member twice, no U+0000, no lone surrogates (RFC 7493 §2), and at
 * most 16 levels deep.
 *
 * @returns undefined for anything else. Nothing is thrown: a parser's own message would quote what it read.
 */
export function parseStrictJson(bytes: Uint8Array): JsonValue | undefined {
  try {
    const text = decoder.decode(bytes)
    const { depth, members } = survey(text)
    if (depth > maxDepth) return undefined
    const value = parse(text) as JsonValue
    // The parser lets a repeated member pass when both values are equal: then there are more colons than members.
    return countMembers(value) === members ? value : undefined
  } catch {
    return undefined
  }
}

export function isJsonObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !isLosslessNumber(value)
}

/** Counts brackets and colons outside strings. What it says of text that is not JSON does not matter. */
function survey(text: string): { depth: number; members: number } {
  let level = 0
  let depth = 0
  let members = 0
  let inString = false
  for (let i = 0; i < text.length; i++) {
    const char = text[i]
    if (inString) {
      if (char === '\\') i++
      else if (char === '"') inString = false
    } else if (char === '"') inString = true
    else if (char === ':') members++
    else if (char === '{' || char === '[') depth = Math.max(depth, ++level)
    else if (char === '}' || char === ']') level--
  }
  return { depth, members }
}

/** Members of all objects in it, or NaN when a string is not well formed. */
function countMembers(value: JsonValue): number {
  if (typeof value === 'string') return isSound(value) ? 0 : Number.NaN
  if (Array.isArray(value)) return value.reduce<number>((sum, item) => sum + countMembers(item), 0)
  if (!isJsonObject(value)) return 0
  return Object.entries(value).reduce(
    (sum, [name, member]) => sum + (isSound(name) ? 1 : Number.NaN) + countMembers(member),
    0,
  )
}

function isSound(text: string): boolean {
  return text.isWellFormed() && !text.includes('\0')
}
