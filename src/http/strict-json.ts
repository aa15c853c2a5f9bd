import { HallpassError } from '../errors.ts'

const maxDepth = 16
const maxValues = 2048

const refuse = (message: string, cause?: unknown): never => {
  throw new HallpassError('malformed', message, { cause })
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/**
 * Parses a JSON body as I-JSON (RFC 7493 §2): UTF-8, no lone surrogates, no repeated members, whether their values are equal
 * or not. Further refused, because nothing that reads it needs them: U+0000 (PostgreSQL cannot store it), members named
 * `__proto__`, more than 16 levels, more than 2,048 values.
 * @throws HallpassError `malformed`; the message holds nothing of the text.
 */
export const strictJson = (body: string | Uint8Array): unknown => {
  const text = typeof body === 'string' ? body : decode(body)
  const value = parse(text)
  scan(text)
  return value
}

const decode = (bytes: Uint8Array): string => {
  try {
    return decoder.decode(bytes)
  } catch (cause) {
    return refuse('The body is not UTF-8.', cause)
  }
}

const parse = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    // V8's message quotes the text: it is not kept, not even as a cause.
    return refuse('The body is not JSON.')
  }
}

/** Walks the tokens of a text that JSON.parse took: what it forgives, such as a member that replaces another, is only seen here. */
const scan = (text: string): void => {
  // One entry a level: the names met so far in an object, null in an array.
  const open: (Set<string> | null)[] = []
  let nameComes = false
  let values = 0
  const count = () => {
    values += 1
    if (values > maxValues) refuse(`The body has more than ${maxValues} values.`)
  }
  for (let at = 0; at < text.length; at += 1) {
    switch (text[at]) {
      case '{':
      case '[':
        count()
        open.push(text[at] === '{' ? new Set() : null)
        if (open.length > maxDepth) refuse(`The body is nested more than ${maxDepth} levels deep.`)
        nameComes = text[at] === '{'
        break
      case '}':
      case ']':
        open.pop()
        nameComes = false
        break
      case ',':
        nameComes = open.at(-1) != null
        break
      case '"': {
        const end = endOfString(text, at)
        const string = readString(text.slice(at, end + 1))
        if (nameComes) takeName(open.at(-1), string)
        else count()
        nameComes = false
        at = end
        break
      }
      default:
        at = endOfScalar(text, at, count)
    }
  }
}

const endOfString = (text: string, start: number): number => {
  let at = start + 1
  while (text[at] !== '"') at += text[at] === '\\' ? 2 : 1
  return at
}

/** The last character of a number or a literal; white space and colons are passed over one by one. */
const endOfScalar = (text: string, start: number, count: () => void): number => {
  if (!/[-\w]/.test(text[start] ?? '')) return start
  count()
  let at = start
  while (/[-+.\w]/.test(text[at + 1] ?? '')) at += 1
  return at
}

const readString = (token: string): string => {
  const string: unknown = token.includes('\\') ? JSON.parse(token) : token.slice(1, -1)
  if (typeof string !== 'string') return refuse('The body is not JSON.')
  if (string.includes('\0')) refuse('The body contains U+0000.')
  if (!string.isWellFormed()) refuse('The body contains a lone surrogate.')
  return string
}

const takeName = (names: Set<string> | null | undefined, name: string): void => {
  if (name === '__proto__') refuse('The body has a member that no body may have.')
  if (names?.has(name)) refuse('The body repeats a member.')
  names?.add(name)
}
