import type { Response } from 'express'

/** What proves who the caller is: a token, or a certificate's DER. */
export type Proof = string | Buffer

/** What the caller presented to prove who it is: kept with the request, for the digest in the log of refusals. */
export const present = (response: Response, proof: Proof | null): void => {
  response.locals.presented = proof
}

export const presentedBy = (response: Response): Proof | null =>
  (response.locals.presented as Proof | null | undefined) ?? null
