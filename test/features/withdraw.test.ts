import { createLocalJWKSet, decodeProtectedHeader, jwtVerify } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Jwks, KeyList } from '../../src/http/openapi.generated.d.ts'
import type { TestBroker } from '../support/broker.ts'
import { claimsOf } from '../support/scene.ts'
import { type Staff, staffPolicies, startStaff } from '../support/staff.ts'
import { deploy, startWorld, type World } from './world.ts'

interface Problem {
  code?: string
  decision_id?: string
}

const minute = 60_000
let world: World
let staff: Staff
let one: TestBroker
let two: TestBroker

beforeAll(async () => {
  staff = await startStaff()
  world = await startWorld({
    trust: [staff.source],
    policies: staffPolicies,
    config: {
      credentials: {
        ttlDefault: 5 * minute,
        ttlMax: 15 * minute,
        signingAlg: 'ES256',
        signingAlgFor: { 'api://ed': 'EdDSA' },
      },
    },
  })
  one = world.broker
  two = await one.replica()
})
afterAll(async () => {
  await two?.close()
  await world?.close()
  await staff?.close()
})

const call = async <Body>(method: string, path: string, json?: unknown, token?: string, on = one) =>
  on.client.request<Body & Problem>(method, path, {
    token: token ?? (await one.operatorToken()),
    ...(json !== undefined && { json }),
  })
const withdraw = (kid: string, json: unknown = {}, token?: string, on = one) =>
  call<KeyList>('POST', `/v1/keys/${kid}/withdraw`, json, token, on)
const keys = async (on = one, alg = 'ES256') =>
  (await call<KeyList>('GET', '/v1/keys', undefined, undefined, on)).body.items.filter(key => key.alg === alg)
const states = async (on = one) => (await keys(on)).map(({ state }) => state)
const active = async () => (await keys()).find(({ state }) => state === 'active')!
const jwks = async (on = one) => (await on.client.request<Jwks>('GET', '/.well-known/jwks.json')).body
const published = async (on = one) => (await jwks(on)).keys.map(({ kid }) => kid)
const mint = async (on = one, more: Record<string, string> = {}) =>
  (await world.exchange(world.job({ run_id: crypto.randomUUID() }), more, on)).body
const kidOf = (token: string) => decodeProtectedHeader(token).kid
const lives = (token: string) => Promise.all([one, two].map(on => world.live(token, on)))
const record = (kid: string) =>
  one.sql<{ reason: string; until: Date }>('SELECT * FROM revocations WHERE kid = $1', [kid])
const allKeys = () => one.sql('SELECT * FROM signing_keys ORDER BY kid')

describe('the key that signs, withdrawn', () => {
  test('kills at once all that it signed, on every replica, and the next key takes over', async () => {
    one.clock.advance(10 * minute)
    const [first, second] = await keys()
    const dead = (await mint()).access_token
    const other = (await mint(one, { audience: 'api://ed' })).access_token
    expect([kidOf(dead), await lives(dead), await lives(other)]).toEqual([
      first!.kid,
      [true, true],
      [true, true],
    ])

    const { status, body } = await withdraw(first!.kid, { reason: 'SEC-43, it was on a laptop' })
    expect(status).toBe(200)
    expect(body.items.filter(({ alg }) => alg === 'ES256').map(({ kid, state }) => [kid, state])).toEqual([
      [first!.kid, 'withdrawn'],
      [second!.kid, 'active'],
      [expect.any(String), 'prepared'],
    ])
    expect(body.next).toBeNull()
    // The other replica has not read its keys again.
    expect(await lives(dead)).toEqual([false, false])
    expect(await lives(other)).toEqual([true, true])
    const own = await two.client.request('GET', '/v1/tasks', { token: dead })
    expect(own.status).toBe(401)

    // Both mint, the one that has not noticed as well, and nothing with the withdrawn key.
    for (const on of [two, one]) {
      const token = (await mint(on)).access_token
      expect([kidOf(token), await lives(token)]).toEqual([second!.kid, [true, true]])
      await expect(
        jwtVerify(token, createLocalJWKSet(await jwks(on)), {
          audience: deploy,
          currentDate: new Date(one.clock.now()),
        }),
      ).resolves.toBeDefined()
    }
    expect(await published(one)).not.toContain(first!.kid)
    await two.sweep()
    expect(await published(two)).toEqual(await published(one))
    expect(await states(two)).toEqual(['withdrawn', 'active', 'prepared'])
  })

  test('leaves one row in the record, with no word of why, and one in the log, with it', async () => {
    const [withdrawn] = await keys()
    const rows = await record(withdrawn!.kid)
    expect(rows).toEqual([
      expect.objectContaining({ reason: 'revoked', task_id: null, jti: null, state: null, ver: null }),
    ])
    // No longer than anything that it signed can live.
    const longest = one.clock.now() + 18 * minute
    expect(rows[0]!.until.getTime()).toBeGreaterThan(one.clock.now() + 14 * minute)
    expect(rows[0]!.until.getTime()).toBeLessThanOrEqual(longest)
    const logged = await world.decisions('?action=administer&decision=allow')
    expect(logged.filter(({ asked }) => asked.keys === 'withdraw')).toEqual([
      expect.objectContaining({
        principal: 'hallpass:bootstrap',
        asked: { keys: 'withdraw', kid: withdrawn!.kid, reason: 'SEC-43, it was on a laptop' },
      }),
    ])
  })

  test('again: 200, and nothing changes but the log', async () => {
    const [withdrawn] = await keys()
    const before = await allKeys()
    const [seq] = await one.sql('SELECT seq FROM revocation_counter')
    const { status, body } = await withdraw(withdrawn!.kid, {}, undefined, two)
    expect([status, body.items.find(({ kid }) => kid === withdrawn!.kid)]).toEqual([200, withdrawn])
    expect(await allKeys()).toEqual(before)
    expect(await one.sql('SELECT seq FROM revocation_counter')).toEqual([seq])
    expect(await record(withdrawn!.kid)).toHaveLength(1)
    const [logged] = await world.decisions('?action=administer&decision=allow&limit=2')
    expect(logged?.asked).toMatchObject({ keys: expect.any(String) })
  })

  test('keeps its row until nothing that it signed can live, and no replica ever takes it for good again', async () => {
    const [withdrawn] = await keys()
    const started = await one.replica()
    expect(await published(started)).not.toContain(withdrawn!.kid)
    await started.close()
    const lastDay = Date.parse(withdrawn!.last_day!)
    expect(lastDay).toBeLessThanOrEqual(one.clock.now() + 18 * minute)
    one.clock.advance(lastDay - one.clock.now() + 1000)
    for (const on of [one, two]) await on.sweep()
    expect((await keys()).map(({ kid }) => kid)).not.toContain(withdrawn!.kid)
    expect(await one.sql('SELECT kid FROM signing_keys WHERE kid = $1', [withdrawn!.kid])).toHaveLength(1)
    one.clock.advance(61 * minute)
    for (const on of [one, two]) await on.sweep()
    expect(await one.sql('SELECT kid FROM signing_keys WHERE kid = $1', [withdrawn!.kid])).toEqual([])
    expect(await record(withdrawn!.kid)).toEqual([])
    expect((await withdraw(withdrawn!.kid)).status).toBe(404)
  })

  test('where its successor was published just now, nothing is minted until everybody can know that one', async () => {
    expect(await states()).toEqual(['active', 'prepared'])
    await withdraw((await active()).kid)
    const next = await active()
    const fresh = (await keys()).find(({ state }) => state === 'prepared')!
    await withdraw(next.kid)
    expect(await states()).toEqual(['withdrawn', 'withdrawn', 'prepared'])
    for (const on of [one, two]) {
      const refused = await world.exchange(world.job({ run_id: crypto.randomUUID() }), {}, on)
      expect([refused.status, refused.body.error]).toEqual([503, 'temporarily_unavailable'])
      expect(refused.headers.get('Retry-After')).toMatch(/^[1-9]/)
    }
    // Other algorithms go on.
    expect((await mint(two, { audience: 'api://ed' })).access_token).toBeTypeOf('string')
    one.clock.advance(5 * minute)
    for (const on of [one, two]) await on.sweep()
    expect((await world.exchange(world.job({ run_id: crypto.randomUUID() }), {}, two)).status).toBe(503)
    one.clock.advance(minute + 1000)
    for (const on of [one, two]) await on.sweep()
    expect(kidOf((await mint(two)).access_token)).toBe(fresh.kid)
    expect(await states(two)).toEqual(['withdrawn', 'withdrawn', 'active', 'prepared'])
  })
})

describe('other keys, withdrawn', () => {
  test('the prepared one: another is prepared, and the one that signs signs on', async () => {
    for (const on of [one, two]) await on.sweep()
    const signing = await active()
    const prepared = (await keys()).find(({ state }) => state === 'prepared')!
    const token = (await mint()).access_token
    const { body } = await withdraw(prepared.kid)
    const now = body.items.filter(({ alg }) => alg === 'ES256')
    expect(now.find(({ kid }) => kid === signing.kid)).toMatchObject({ ...signing })
    const next = now.find(({ state }) => state === 'prepared')!
    expect(next.kid).not.toBe(prepared.kid)
    expect(next.active_at).toBe(signing.retired_at)
    expect(await published()).not.toContain(prepared.kid)
    expect(await lives(token)).toEqual([true, true])
    expect(kidOf((await mint(two)).access_token)).toBe(signing.kid)
  })

  test('the prepared one, shortly before it would have signed: the one that signs does so until the new one can be known', async () => {
    for (const on of [one, two]) await on.sweep()
    const signing = await active()
    const prepared = (await keys()).find(({ state }) => state === 'prepared')!
    one.clock.advance(Date.parse(signing.retired_at!) - one.clock.now() - minute)
    for (const on of [one, two]) await on.sweep()
    await withdraw(prepared.kid)
    const next = (await keys()).find(({ state }) => state === 'prepared')!
    expect(Date.parse(next.active_at)).toBeGreaterThanOrEqual(one.clock.now() + 5 * minute)
    expect((await active()).retired_at).toBe(next.active_at)
    // The other replica has not noticed, and its time has come to hand over to a key that is withdrawn.
    one.clock.advance(minute + 1000)
    const token = (await mint(two, { ttl: '900' })).access_token
    expect([kidOf(token), await lives(token)]).toEqual([signing.kid, [true, true]])
    one.clock.advance(Date.parse(next.active_at) - one.clock.now() + 1000)
    for (const on of [one, two]) await on.sweep()
    expect(kidOf((await mint(two)).access_token)).toBe(next.kid)
    expect(await lives(token)).toEqual([true, true])
  })

  test('a retired one: what it signed is dead, and nothing else changes', async () => {
    for (const on of [one, two]) await on.sweep()
    const old = await active()
    const token = (await mint(one, { ttl: '900' })).access_token
    one.clock.advance(6 * minute)
    await call('POST', '/v1/keys/rotate', {})
    const now = await active()
    expect(now.kid).not.toBe(old.kid)
    expect(await lives(token)).toEqual([true, true])
    const before = (await keys()).filter(({ kid }) => kid !== old.kid)
    await withdraw(old.kid, {}, undefined, two)
    expect(await lives(token)).toEqual([false, false])
    expect((await keys(two)).filter(({ kid }) => kid !== old.kid)).toEqual(before)
    expect((await record(old.kid))[0]!.until.getTime()).toBeGreaterThanOrEqual(claimsOf(token).exp * 1000)
  })

  test('one of an algorithm that is configured no more: it is withdrawn, and nothing takes its place', async () => {
    const [row] = await one.sql<{ kid: string }>(
      `INSERT INTO signing_keys (kid, alg, published_at, active_at, ttl_max, private_key, wrapped_by)
       SELECT 'of-old', 'RS256', published_at, active_at, ttl_max, private_key, wrapped_by FROM signing_keys LIMIT 1 RETURNING kid`,
    )
    expect((await withdraw(row!.kid)).status).toBe(200)
    expect(
      await one.sql(`SELECT kid FROM signing_keys WHERE alg = 'RS256' AND withdrawn_at IS NULL`),
    ).toEqual([])
    expect(await record('of-old')).toHaveLength(1)
    await one.sql(`DELETE FROM signing_keys WHERE kid = 'of-old'`)
  })
})

describe('is refused', () => {
  test('for a kid that is none', async () => {
    const before = await allKeys()
    for (const kid of [
      '%00',
      '%2e%2e',
      'x'.repeat(3000),
      `${(await active()).kid}%20`,
      'nosuch',
      crypto.randomUUID(),
    ]) {
      const { status, body } = await withdraw(kid)
      expect([status, body.code]).toEqual([404, 'not_found'])
    }
    expect(await allKeys()).toEqual(before)
    const [logged] = await world.decisions('?decision=deny&limit=1')
    expect(logged).toMatchObject({ action: 'administer', code: 'not_found' })
  })

  test('to whoever may not administer, and each refusal is logged', async () => {
    const { access_token: own } = await mint(one, { audience: one.issuer })
    expect(own).toBeTypeOf('string')
    const { kid } = await active()
    const before = await allKeys()
    for (const token of [world.as('/agent/a'), own, staff.signIn('bob', 'dev', one.clock.now())]) {
      const { status, body } = await withdraw(kid, {}, token)
      expect([status, body.code]).toEqual([403, 'refused'])
      const [logged] = await world.decisions('?decision=deny&limit=1')
      expect(logged).toMatchObject({ id: body.decision_id, action: 'administer', code: 'refused' })
    }
    expect((await one.client.request('POST', `/v1/keys/${kid}/withdraw`, { json: {} })).status).toBe(401)
    expect(await allKeys()).toEqual(before)
  })

  test('with a body that has more than a reason', async () => {
    const { kid } = await active()
    for (const [json, path] of [
      [{ force: true }, '/force'],
      [{ reason: 1 }, '/reason'],
      [{ reason: 'r'.repeat(1025) }, '/reason'],
    ] as const) {
      const { status, body } = await call<{ errors: { path: string }[] }>(
        'POST',
        `/v1/keys/${kid}/withdraw`,
        json,
      )
      expect([status, body.errors.map(fault => fault.path)]).toEqual([422, [path]])
    }
    expect((await active()).kid).toBe(kid)
  })
})

test('an operator who may, does; without a body as well', async () => {
  const { kid } = await active()
  const { status } = await one.client.request('POST', `/v1/keys/${kid}/withdraw`, {
    token: staff.signIn('ada', 'sre', one.clock.now()),
  })
  expect(status).toBe(200)
  expect((await keys()).find(key => key.kid === kid)?.state).toBe('withdrawn')
})

test('invariant 3: mints that race with a withdrawal leave no live token of that key, and none is refused where the next can sign', {
  timeout: 120_000,
}, async () => {
  one.clock.advance(10 * minute)
  for (const on of [one, two]) await on.sweep()
  let before = 0
  let after = 0
  for (let round = 0; round < 4; round++) {
    one.clock.advance(10 * minute)
    for (const on of [one, two]) await on.sweep()
    const { kid } = await active()
    const answers = Array.from({ length: 80 }, (_, i) => mint([one, two][i % 2]!))
    await Promise.race([...answers, new Promise(resolve => setTimeout(resolve, Math.random() * 20))])
    const withdrawing = withdraw(kid)
    answers.push(...Array.from({ length: 80 }, (_, i) => mint([one, two][i % 2]!)))
    expect((await withdrawing).status).toBe(200)
    const [committed] = await one.sql('SELECT count(*) AS n FROM credentials WHERE kid = $1', [kid])
    const tokens = (await Promise.all(answers)).map(({ access_token, error }) => access_token ?? error)
    expect(await one.sql('SELECT count(*) AS n FROM credentials WHERE kid = $1', [kid])).toEqual([committed])
    const dead = tokens.filter(token => kidOf(token) === kid)
    const alive = tokens.filter(token => kidOf(token) !== kid)
    expect(new Set((await Promise.all(dead.map(lives))).flat())).toEqual(new Set(dead.length ? [false] : []))
    expect(new Set((await Promise.all(alive.map(lives))).flat())).toEqual(new Set(alive.length ? [true] : []))
    before += dead.length
    after += alive.length
  }
  expect(Math.min(before, after)).toBeGreaterThan(0)
})
