import { createRemoteJWKSet, jwtVerify } from 'jose'
import type { Verifier } from '../../../src/verifier/index.ts'
import { work } from '../work.ts'
import { followerOf } from './follower.ts'

// A process of its own, as a service would be: checks the same token over and over, with the verifier and with jose alone.

export interface Comparison {
  origin: string
  issuer: string
  audience: string
  token: string
  rounds: number
  /** How many at a time. */
  atOnce: number
}

/** Milliseconds of each round, for one check. */
export interface Compared {
  verifier: number[]
  bare: number[]
}

export type CheckTasks = { compare: typeof compare }
work({ compare })

/** Checks of one kind before it is the other's turn, and turns in a round. */
const checks = 100
const turns = 10

/** Turns are short, and the order changes with each: what disturbs the one disturbs the other. The first two rounds warm up. */
async function compare(comparison: Comparison): Promise<Compared> {
  const { token, rounds, atOnce } = comparison
  const verifier = await followerOf(comparison)
  const bare = bareCheck(comparison)
  const contenders = [
    ['verifier', () => verifier.verify(token)],
    ['bare', bare],
  ] as const
  const compared: Compared = { verifier: [], bare: [] }
  for (let round = -2; round < rounds; round++) {
    const took = { verifier: 0, bare: 0 }
    for (let turn = 0; turn < turns; turn++)
      for (const [name, check] of turn % 2 === 0 ? contenders : contenders.toReversed())
        took[name] += await time(check, atOnce)
    if (round < 0) continue
    compared.verifier.push(took.verifier / checks / turns)
    compared.bare.push(took.bare / checks / turns)
  }
  mustHaveFollowed(verifier)
  verifier.close()
  return compared
}

/** What the verifier asks of jose, with a key resolver of the same kind. */
function bareCheck({ origin, issuer, audience, token }: Comparison): () => Promise<unknown> {
  const keys = createRemoteJWKSet(new URL('/.well-known/jwks.json', origin), {
    cacheMaxAge: Number.POSITIVE_INFINITY,
    cooldownDuration: Number.POSITIVE_INFINITY,
  })
  const rules = {
    typ: 'at+jwt',
    issuer,
    audience,
    algorithms: ['ES256', 'ES384', 'RS256', 'PS256', 'EdDSA'],
    clockTolerance: 5,
    requiredClaims: ['exp', 'iat', 'jti', 'sub', 'client_id', 'task_id', 'task_ver'],
  }
  return () => jwtVerify(token, keys, rules)
}

async function time(check: () => Promise<unknown>, atOnce: number): Promise<number> {
  let left = checks
  const one = async () => {
    while (left-- > 0) await check()
  }
  const from = performance.now()
  await Promise.all(Array.from({ length: atOnce }, one))
  return performance.now() - from
}

/** It must have checked against what it knew all the while, and not have asked status lists. */
function mustHaveFollowed(verifier: Verifier): void {
  if (!verifier.state().fresh) throw new Error('the verifier does not follow the feed')
}
