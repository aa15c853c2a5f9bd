import { compactVerify, createLocalJWKSet, type JSONWebKeySet } from 'jose'
import { expect } from 'vitest'
import type { KeyList } from '../../src/http/openapi.generated.d.ts'
import type { TestBroker } from './broker.ts'
import { claimsOf, headerOf, isActive, mint, pick, type Scene } from './scene.ts'

/** As a service does it: keeps the JWK Set for as long as `Cache-Control` allows, and asks no sooner, whatever it meets. */
interface Verifier {
  kids: Set<string>
  until: number
}

/** How long a replica may go without a look at the keys: `notice`, of which its sweeper uses a thirtieth. */
const longestUnswept = 60_000

/** How long nothing may be minted after a withdrawal: until everybody can know a key that was published then. */
const longestGap = 360_000

/** What it came to, so that a test can see that something happened. */
export interface Months {
  tokens: number
  signers: number
  rotationsByHand: number
  withdrawals: number
  days: number
}

/**
 * Lets time pass over several replicas, in small steps near every date of a key and in leaps between, with mints everywhere and
 * rotations by hand now and then, and withdrawals, of whichever key, with that probability. At every step every token that has not
 * expired, and whose key was not withdrawn, must be verifiable with the set that each verifier holds, whichever replica it had it from.
 */
export async function monthsOfKeys(
  scene: Scene,
  steps: number,
  { withdrawals: often = 0 }: { withdrawals?: number } = {},
): Promise<Months> {
  const { broker, replicas } = scene
  const { now, advance } = broker.clock
  const start = now()
  const swept = new Map<TestBroker, number>(replicas.map(replica => [replica, now()]))
  const verifiers = Array.from({ length: 6 }, (): Verifier => ({ kids: new Set(), until: 0 }))
  let live: { token: string; kid: string; exp: number }[] = []
  const signers = new Set<string>()
  const withdrawn = new Set<string>()
  let gapEnds = Number.NEGATIVE_INFINITY
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
    if (Math.random() < often) {
      const kid = await withdrawOne(scene)
      withdrawn.add(kid)
      gapEnds = now() + longestGap
      const dead = live.filter(token => token.kid === kid).slice(-2)
      for (const { token } of dead)
        expect(await isActive(pick(replicas), scene.agent('service'), token)).toBe(false)
      live = live.filter(token => token.kid !== kid)
    }

    // 2. Tokens are minted, for the shortest and the longest time.
    for (const replica of replicas) {
      const audience = pick(['https://deploy.example', 'https://ed.example'])
      const { status, body } = await mint(replica, scene.job(), { audience, ttl: pick(['60', '900']) })
      if (status === 503 && now() < gapEnds) continue
      expect(status, JSON.stringify(body)).toBe(200)
      const { access_token } = body
      const { kid } = headerOf(access_token)
      expect(withdrawn).not.toContain(kid)
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
    if (live.length === 0) continue
    const { keys } = (await fetchKeys(pick(replicas), now())).set
    const seen = pick(live)
    await compactVerify(seen.token, createLocalJWKSet({ keys }))
    if (step % 10 === 0) expect(await isActive(pick(replicas), scene.agent('service'), seen.token)).toBe(true)
  }
  const days = (now() - start) / 86_400_000
  return { tokens, signers: signers.size, rotationsByHand, withdrawals: withdrawn.size, days }
}

/** Any key that is published; mostly one that signs. */
async function withdrawOne({ broker, replicas }: Scene): Promise<string> {
  const token = await broker.operatorToken()
  const { items } = (await broker.client.request<KeyList>('GET', '/v1/keys', { token })).body
  const published = items.filter(({ state }) => state !== 'withdrawn')
  const active = published.filter(({ state }) => state === 'active')
  const { kid } = pick(active.length > 0 && Math.random() < 0.5 ? active : published)
  const on = pick(replicas)
  const { status, text } = await on.client.request('POST', `/v1/keys/${kid}/withdraw`, { token, json: {} })
  expect(status, text).toBe(200)
  const { body } = await on.client.request<JSONWebKeySet>('GET', '/.well-known/jwks.json')
  expect(body.keys.map(key => key.kid)).not.toContain(kid)
  return kid
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
