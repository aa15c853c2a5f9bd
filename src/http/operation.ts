import type { Request, RequestHandler, Response } from 'express'
import { HallpassError } from '../errors.ts'
import type { Asker } from '../observe/asker.ts'
import { newEvent, refusalsLogged } from '../observe/record.ts'
import { authenticate } from './authenticate.ts'
import type { HttpDeps } from './deps.ts'

/** What an operation answers: JSON, unless it says otherwise. */
export interface Answer {
  status?: number
  headers?: Record<string, string>
  body?: unknown
}

/** An operation that anybody may call. */
export const open =
  (handle: (request: Request, response: Response) => Promise<Answer> | Answer): RequestHandler =>
  async (request, response) => {
    send(response, await handle(request, response))
  }

/** An operation for those who prove who they are. */
export const authenticated = (
  deps: HttpDeps,
  handle: (asker: Asker, request: Request, response: Response) => Promise<Answer>,
): RequestHandler =>
  open(async (request, response) => {
    const asker = await authenticate(deps, request, response)
    response.set('Cache-Control', 'no-store')
    return handle(asker, request, response).catch(error => {
      // A story has logged its own refusals. What is refused before one begins, such as a body of the wrong shape, is logged here.
      if (error instanceof HallpassError && error.decisionId !== undefined) throw error
      const event = newEvent(asker, 'request', deps.clock(), {})
      return refusalsLogged(event, deps.writeDecision, () => Promise.reject(error))
    })
  })

/** Writes head and body at once: what express would add (entity tags, negotiation) no answer here has a use for. */
function send(response: Response, { status = 200, headers = {}, body }: Answer): void {
  response.statusCode = status
  for (const [name, value] of Object.entries(headers)) response.setHeader(name, value)
  if (body === undefined) {
    response.end()
    return
  }
  const text = JSON.stringify(body)
  response.setHeader('Content-Type', 'application/json; charset=utf-8')
  response.setHeader('Content-Length', Buffer.byteLength(text))
  response.end(text)
}

/** The parameters after the question mark, as they were sent. */
export const queryOf = (request: Request): URLSearchParams =>
  new URLSearchParams(
    request.originalUrl.includes('?') ? request.originalUrl.slice(request.originalUrl.indexOf('?')) : '',
  )
