import { HallpassError } from '../../errors.ts'
import { at, textAt } from '../../json-path.ts'
import {
  isJsonObject,
  type JsonObject,
  type JsonValue,
  parseStrictJson,
  StrictJsonError,
} from '../../strict-json.ts'

export { at, textAt } from '../../json-path.ts'
export { isJsonObject, type JsonObject, type JsonValue } from '../../strict-json.ts'

/** Numbers as they were written: IDs have more digits than JavaScript keeps. Objects of Kubernetes are nested deeply. */
const strictness = { depth: 64, values: 65_536, numbers: 'texts' } as const

const formPrefix = Buffer.from('payload=')

/**
 * The JSON of a delivery. Throws `malformed` for what is no strict JSON, `unsupported_media_type` for what does not say that it is
 * JSON, or a form that holds it.
 */
export function payloadOf(body: Uint8Array, contentType: string | undefined): JsonValue {
  const type = (contentType ?? '').split(';')[0]?.trim().toLowerCase() ?? ''
  if (/^application\/([\w.-]+\+)?json$/.test(type)) return parse(body)
  if (type === 'application/x-www-form-urlencoded') return parse(formPayload(body))
  throw new HallpassError('unsupported_media_type', 'A delivery must be JSON, or a form with a payload.')
}

/**
 * The type is told by a header, which nobody has signed: a form is one parameter and nothing else, so that no JSON can be read as one,
 * wherever the words of others stand in it.
 */
function formPayload(body: Uint8Array): string {
  const [[, payload] = [], ...more] = new URLSearchParams(utf8(body))
  if (
    !Buffer.from(body).subarray(0, formPrefix.length).equals(formPrefix) ||
    more.length > 0 ||
    payload === undefined
  )
    throw new HallpassError('malformed', 'The form must have a payload, and nothing else.')
  return payload
}

function utf8(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    throw new HallpassError('malformed', 'The delivery is not UTF-8.')
  }
}

function parse(json: string | Uint8Array): JsonValue {
  try {
    return parseStrictJson(json, strictness)
  } catch (error) {
    const why = error instanceof StrictJsonError ? error.message : 'is not JSON'
    throw new HallpassError('malformed', `The delivery ${why}.`)
  }
}

export const objectAt = (payload: JsonValue | undefined, path: string): JsonObject | null => {
  const value = at(payload, path)
  return isJsonObject(value) ? value : null
}

/** An ID, whether it was written as a number or as a text; null for 1e3, 1.0, -1 and the like, which are none. */
export function idAt(payload: JsonValue | undefined, path: string): string | null {
  const text = textAt(payload, path)
  return text !== null && /^(0|[1-9][0-9]*)$/.test(text) ? text : null
}

/** What is authentic and yet not laid out as its kind lays out such events. */
export const wrongShape = (path: string, message: string): HallpassError =>
  new HallpassError('invalid', 'The delivery is not laid out as one of its kind.', {
    paths: [{ path, message }],
  })
