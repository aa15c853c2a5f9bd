import { compactVerify, createLocalJWKSet, type JSONWebKeySet } from 'jose'
import { expect } from 'vitest'
import type { TestBroker } from './broker.ts'
import { claimsOf, headerOf, isActive, minted, pick, type Scene } from './scene.ts'

/** As a service does it: keeps the JWK Set for as long as `Cache-Control` allows, and asks no sooner, whatever it meets. */
interface Verifier {
  kids: Set<string>
  until: number
}

/** How long a replica may go without a look at the keys: `notice`, of which its sweeper uses a thirtieth. */
const longestUnswept = 60_000

/** What it came to, so that a test can see that something happened. */
export interface Months {
  tokens: number
  signers: number
  rotationsByHand: number
  days: number
}

/**
 * Lets time pass over several replicas, in small steps near every date of a key and in leaps between, with mints everywhere and
 * rotations by hand now and then. At every step every token that has not expired must be verifiable with the set that each verifier
 * holds, whichever replica it had it from.
 */
export async function monthsOfKeys(scene: Scene, steps: number): Promise<Months> {
  const { broker, replicas } = scene
  const { now, advance } = broker.clock
  const start = now()
  const swept = new Map<TestBroker, number>(replicas.map(replica => [replica, now()]))
  const verifiers = Array.from({ length: 6 }, (): Verifier => ({ kids: new Set(), until: 0 }))
  let live: { token: string; kid: string; exp: number }[] = []
  const signers = new Set<string>()
  let tokens = 0
  let rotationsByHand = 0

  for (let step = 0; step < steps; step++) {
    // 1. Time passes.
    advance(await nextStep(broker))
    for (const replica of replicas)
      if (now() - (swept.get(replica) ?? 0) > longestUnswept - 1_000 || Math.random() < 0.3) {
        await replica.sweep()
        swept.set(replica, now())
      }
    if (Math.random() < 0.06) {
      const token = await broker.operatorToken()
      const { status } = await pick(replicas).client.request('POST', '/v1/keys/rotate', { token, json: {} })
      expect([200, 503]).toContain(status)
      if (status === 200) rotationsByHand++
    }

    // 2. Tokens are minted, for the shortest and the longest time.
    for (const replica of replicas) {
      const audience = pick(['https://deploy.example', 'https://ed.example'])
      const { access_token } = await minted(replica, scene.job(), { audience, ttl: pick(['60', '900']) })
      const { kid } = headerOf(access_token)
      live.push({ token: access_token, kid, exp: claimsOf(access_token).exp * 1000 })
      signers.add(kid)
      tokens++
    }

    // 3. Everything that has not expired verifies, for everybody.
    live = live.filter(({ exp }) => now() < exp)
    for (const verifier of verifiers) {
      if (now() >= verifier.until) Object.assign(verifier, await fetchKeys(pick(replicas), now()))
      const unknown = live.filter(({ kid }) => !verifier.kids.has(kid))
      expect(unknown.map(({ kid }) => kid)).toEqual([])
    }
    const { keys } = (await fetchKeys(pick(replicas), now())).set
    const seen = pick(live)
    await compactVerify(seen.token, createLocalJWKSet({ keys }))
    if (step % 10 === 0) expect(await isActive(pick(replicas), scene.agent('service'), seen.token)).toBe(true)
  }
  return { tokens, signers: signers.size, rotationsByHand, days: (now() - start) / 86_400_000 }
}

async function fetchKeys(replica: TestBroker, now: number): Promise<Verifier & { set: JSONWebKeySet }> {
  const { headers, body } = await replica.client.request<JSONWebKeySet>('GET', '/.well-known/jwks.json')
  const maxAge = Number(/max-age=(\d+)/.exec(headers.get('Cache-Control') ?? '')?.[1])
  expect(maxAge).toBeGreaterThan(0)
  return { set: body, kids: new Set(body.keys.map(({ kid }) => kid as string)), until: now + maxAge * 1000 }
}

/** Milliseconds: a few seconds near a date of a key, else now and then up to just before the next one. */
async function nextStep({ sql, clock }: TestBroker): Promise<number> {
  const rows = await sql<{ next: Date | null }>(
    `SELECT min(d) AS next FROM signing_keys, unnest(ARRAY[active_at, retired_at, last_day]) AS d WHERE d > $1`,
    [new Date(clock.now())],
  )
  const ahead = (rows[0]?.next?.getTime() ?? Number.POSITIVE_INFINITY) - clock.now()
  if (ahead < 600_000) return Math.random() * 59_000
  return Math.random() < 0.3 ? ahead - Math.random() * 600_000 : Math.random() * 59_000
}
