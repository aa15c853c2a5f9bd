/** A number that JavaScript would write differently, such as 1.0, 1e3 or one of too many digits: the text is kept. */
export class NumberText {
  readonly text: string

  constructor(text: string) {
    this.text = text
  }
}

export type JsonValue = string | boolean | null | number | NumberText | JsonValue[] | JsonObject
export interface JsonObject {
  [name: string]: JsonValue
}

export const isJsonObject = (value: JsonValue | undefined): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof NumberText)

/** The text of a JSON number, as it was written. */
export const numberText = (value: JsonValue | undefined): string | null => {
  if (typeof value === 'number') return String(value)
  return value instanceof NumberText ? value.text : null
}

export interface Strictness {
  /** Levels and values at the most. */
  depth: number
  values: number
  /** `texts` keeps a number's text where JavaScript would write it differently. */
  numbers: 'values' | 'texts'
}

/** Why a text is not strict JSON, in words that hold nothing of it. */
export class StrictJsonError extends Error {
  override readonly name = 'StrictJsonError'
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/**
 * JSON that means the same to every reader (I-JSON, RFC 7493 §2): UTF-8, no lone surrogate, no member twice, whether the values
 * are equal or not. Refused too, because nothing that reads it needs them: U+0000 (PostgreSQL cannot store it), members named
 * `__proto__`, and more levels or values than the strictness.
 *
 * @throws StrictJsonError
 */
export function parseStrictJson(json: string | Uint8Array, strictness: Strictness): JsonValue {
  const text = typeof json === 'string' ? json : decode(json)
  if (typeof json === 'string' && !json.isWellFormed()) throw new StrictJsonError('contains a lone surrogate')
  const value = parse(text)
  // What JSON.parse forgives is only seen in the text itself.
  const { oddNumbers } = scan(text, strictness)
  return oddNumbers && strictness.numbers === 'texts' ? withNumberTexts(text) : value
}

function decode(bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes)
  } catch {
    throw new StrictJsonError('is not UTF-8')
  }
}

function parse(text: string): JsonValue {
  try {
    return JSON.parse(text)
  } catch {
    // V8's message quotes the text.
    throw new StrictJsonError('is not JSON')
  }
}

type SourceReviver = (this: unknown, key: string, value: JsonValue, context: { source?: string }) => JsonValue

/** The slow way, for the few texts that need it: `context.source` is ECMAScript's "JSON.parse source text access". */
function withNumberTexts(text: string): JsonValue {
  const keep: SourceReviver = (_, value, { source }) =>
    typeof value === 'number' && source !== undefined && String(value) !== source
      ? new NumberText(source)
      : value
  return JSON.parse(text, keep as (this: unknown, key: string, value: JsonValue) => JsonValue)
}

/** Walks the tokens of a text that JSON.parse took. */
function scan(text: string, strictness: Strictness): { oddNumbers: boolean } {
  // One entry a level: the names met so far in an object, null in an array.
  const open: (Set<string> | null)[] = []
  let names: Set<string> | null = null
  let nameComes = false
  let values = 0
  let oddNumbers = false
  const count = () => {
    values += 1
    if (values > strictness.values) throw new StrictJsonError(`has more than ${strictness.values} values`)
  }
  for (let at = 0; at < text.length; at += 1) {
    const char = text[at] as string
    switch (char) {
      case ' ':
      case '\n':
      case '\r':
      case '\t':
      case ':':
        break
      case '{':
      case '[':
        count()
        names = char === '{' ? new Set() : null
        nameComes = names !== null
        open.push(names)
        if (open.length > strictness.depth)
          throw new StrictJsonError(`is nested more than ${strictness.depth} levels deep`)
        break
      case '}':
      case ']':
        open.pop()
        names = open.at(-1) ?? null
        nameComes = false
        break
      case ',':
        nameComes = names !== null
        break
      case '"': {
        const end = endOfString(text, at)
        const escaped = text.slice(at, end + 1)
        const string = escaped.includes('\\') ? unescaped(escaped) : escaped.slice(1, -1)
        if (nameComes && names) takeName(names, string)
        else count()
        nameComes = false
        at = end
        break
      }
      default: {
        count()
        const end = endOfScalar(text, at)
        const token = text.slice(at, end + 1)
        if (/^[-0-9]/.test(token) && String(Number(token)) !== token) oddNumbers = true
        at = end
      }
    }
  }
  return { oddNumbers }
}

function endOfString(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); ; end = text.indexOf('"', end + 1)) {
    let backslashes = 0
    while (text[end - 1 - backslashes] === '\\') backslashes += 1
    if (backslashes % 2 === 0) return end
  }
}

/** The last character of a number or a literal. */
function endOfScalar(text: string, start: number): number {
  let at = start
  while (at + 1 < text.length && /[-+.\w]/.test(text[at + 1] as string)) at += 1
  return at
}

/** Only an escape can bring in U+0000 or half a surrogate pair. */
function unescaped(token: string): string {
  const string = JSON.parse(token) as string
  if (string.includes('\0')) throw new StrictJsonError('contains U+0000')
  if (!string.isWellFormed()) throw new StrictJsonError('contains a lone surrogate')
  return string
}

function takeName(names: Set<string>, name: string): void {
  if (name === '__proto__') throw new StrictJsonError('has a member that nothing may have')
  if (names.has(name)) throw new StrictJsonError('repeats a member')
  names.add(name)
}
