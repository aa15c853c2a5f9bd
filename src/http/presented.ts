import type { Response } from 'express'

/** What the caller presented to prove who it is: kept with the request, for the digest in the log of refusals. */
export const present = (response: Response, token: string | null): void => {
  response.locals.presented = token
}

export const presentedBy = (response: Response): string | null =>
  (response.locals.presented as string | null | undefined) ?? null
