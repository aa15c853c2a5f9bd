import express, { type Request, type RequestHandler } from 'express'
import { HallpassError } from '../errors.ts'
import { strictJson } from './strict-json.ts'

/** Contract §3. Bytes. */
export const bodyMost = { oauth: 64 * 1024, other: 256 * 1024 }

/** Reads the body as bytes, of whatever type: what it must be is for the operation to say. */
export const readBody = (limit: number): RequestHandler =>
  express.raw({ type: () => true, limit, inflate: false })

/** The form of the request. Throws `unsupported_media_type` or `malformed`. */
export function formOf(request: Request): URLSearchParams {
  mustBe(request, 'application/x-www-form-urlencoded')
  try {
    return new URLSearchParams(new TextDecoder('utf-8', { fatal: true }).decode(bytesOf(request)))
  } catch {
    throw new HallpassError('malformed', 'The body is not UTF-8.')
  }
}

/** The JSON of the request, or `undefined` where it has no body. Throws `unsupported_media_type` or `malformed`. */
export function jsonOf(request: Request, mediaType: string): unknown {
  const bytes = bytesOf(request)
  if (bytes.length === 0) return undefined
  mustBe(request, mediaType)
  return strictJson(bytes)
}

/** The body as it was sent; empty where there is none. */
export const bytesOf = ({ body }: Request): Uint8Array =>
  body instanceof Uint8Array ? body : new Uint8Array()

function mustBe(request: Request, mediaType: string): void {
  const [given = '', ...parameters] = (request.get('Content-Type') ?? '').split(';').map(part => part.trim())
  const charset = parameters.find(parameter => /^charset=/i.test(parameter))
  const isUtf8 = charset === undefined || /^charset="?utf-?8"?$/i.test(charset)
  if (given.toLowerCase() !== mediaType || !isUtf8)
    throw new HallpassError('unsupported_media_type', `The body must be ${mediaType}, in UTF-8.`)
}
