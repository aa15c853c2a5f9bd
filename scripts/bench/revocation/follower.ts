import { createVerifier, type Verifier, type VerifierEvent } from '../../../src/verifier/index.ts'

export interface Following {
  /** The replica to talk to, whatever the issuer is called. */
  origin: string
  issuer: string
  audience: string
  onEvent?: (event: VerifierEvent) => void
}

/** A verifier of one replica. Throws where it does not follow the feed from the start. */
export async function followerOf({ origin, issuer, audience, onEvent }: Following): Promise<Verifier> {
  const verifier = await createVerifier({
    issuer,
    audience,
    fetch: (address, init) => fetch(String(address).replace(issuer, origin), init),
    ...(onEvent && { onEvent }),
  })
  if (!verifier.state().fresh) throw new Error('a verifier does not follow the feed')
  return verifier
}
