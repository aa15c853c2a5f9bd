import type { RequestHandler, Response } from 'express'
import { newId } from '../ids.ts'

/** Names each request, in its answer, the log and the decision log. A caller's own X-Request-Id is not taken over. */
export const nameRequest: RequestHandler = (_request, response, next) => {
  const id = newId()
  response.locals.requestId = id
  response.set('X-Request-Id', id)
  next()
}

export const requestIdOf = (response: Response): string => response.locals.requestId as string
