import { type JsonValue, parseStrictJson } from '../strict-json.ts'

export { isJsonObject, type JsonObject, type JsonValue, numberText } from '../strict-json.ts'

const strictness = { depth: 16, values: 4096, numbers: 'texts' } as const

/** Strict JSON of a token or of a document of keys; undefined for anything else. */
export function readStrictJson(bytes: Uint8Array): JsonValue | undefined {
  try {
    return parseStrictJson(bytes, strictness)
  } catch {
    return undefined
  }
}
