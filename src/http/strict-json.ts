import { HallpassError } from '../errors.ts'
import { parseStrictJson, StrictJsonError } from '../strict-json.ts'

const strictness = { depth: 16, values: 2048, numbers: 'values' } as const

/**
 * Parses a JSON body, strictly.
 * @throws HallpassError `malformed`; the message holds nothing of the text.
 */
export const strictJson = (body: string | Uint8Array): unknown => {
  try {
    return parseStrictJson(body, strictness)
  } catch (error) {
    const why = error instanceof StrictJsonError ? error.message : 'is not JSON'
    throw new HallpassError('malformed', `The body ${why}.`)
  }
}
