import { createAttestor } from '../../src/attest/attestor.ts'
import type { Fetch } from '../../src/attest/fetch-document.ts'
import type { OidcSource, SpiffeSource, TrustSource } from '../../src/config.ts'
import { HallpassError } from '../../src/errors.ts'

export const broker = 'https://hallpass.example'
export const clockSkew = 30_000

export function oidcSource(source: Partial<OidcSource> & { issuer: string }): OidcSource {
  return {
    kind: 'oidc',
    name: 'ci',
    audience: broker,
    jwksUri: null,
    require: {},
    task: null,
    reuse: 'any',
    operators: null,
    ...source,
  }
}

export function spiffeSource(
  source: Pick<SpiffeSource, 'trustDomain' | 'bundle'> & Partial<SpiffeSource>,
): SpiffeSource {
  return { kind: 'spiffe', name: 'prod', audience: broker, reuse: 'any', ...source }
}

/** An attestor with a clock that a test can move, and a log that it can read. */
export function attestorFor(
  trust: TrustSource[],
  { fetch, ownTrustDomain }: { fetch?: Fetch; ownTrustDomain?: string } = {},
) {
  const time = { now: Date.now() }
  const logged: object[] = []
  const attestor = createAttestor({
    trust,
    issuer: broker,
    ownTrustDomain,
    clockSkew,
    clock: () => time.now,
    log: { warn: (fields, message) => void logged.push({ ...fields, message }) },
    fetch,
  })
  return { ...attestor, time, logged }
}

/** The reason for which an attestation was refused, or `accepted`; fails on any other error. */
export async function outcome(attempt: Promise<unknown>): Promise<string> {
  try {
    await attempt
    return 'accepted'
  } catch (error) {
    if (!(error instanceof HallpassError) || !(error.cause instanceof Error)) throw error
    if (error.code !== 'attestation_invalid' && error.code !== 'unavailable') throw error
    return error.code === 'unavailable' ? `unavailable: ${error.cause.message}` : error.cause.message
  }
}
