import { createPrivateKey } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createLocalJWKSet, decodeProtectedHeader, jwtVerify } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Jwks, KeyList, SigningKey } from '../../src/http/openapi.generated.d.ts'
import { folder, hallpass } from '../cli/command.ts'
import { deploy, startWorld, type World } from './world.ts'

const minute = 60_000
const day = 24 * 60 * minute
let world: World
beforeAll(async () => {
  world = await startWorld({
    config: {
      credentials: {
        ttlDefault: 5 * minute,
        ttlMax: 15 * minute,
        signingAlg: 'ES256',
        signingAlgFor: { 'api://azure': 'RS256' },
      },
      tasks: { deadlineDefault: day, deadlineMax: 90 * day, depthMax: 3, retention: 90 * day },
    },
  })
})
afterAll(() => world?.close())

const list = async (method = 'GET', path = '/v1/keys') =>
  (await world.act<KeyList>(await world.broker.operatorToken(), method, path)).body.items
const rotate = () => list('POST', '/v1/keys/rotate')
const jwks = async () => (await world.broker.client.request<Jwks>('GET', '/.well-known/jwks.json')).body
const of = (keys: SigningKey[], alg = 'ES256') => keys.filter(key => key.alg === alg)
const states = (keys: SigningKey[]) => of(keys).map(({ state }) => state)
const mint = async (more: Record<string, string> = {}) => {
  const path = '/agent/a'
  const opened = await world.act(world.as(path), 'POST', '/v1/tasks', { kind: 'agent-run', ref: 'keys' })
  return world.mint(path, opened.body, more)
}
const kidOf = (token: string) => decodeProtectedHeader(token).kid
const verify = async (token: string) =>
  jwtVerify(token, createLocalJWKSet(await jwks()), {
    currentDate: new Date(world.broker.clock.now()),
    audience: deploy,
  })

test('a new broker has a key that signs and its published successor, for each algorithm', async () => {
  const keys = await list()
  expect([of(keys).map(({ state }) => state), of(keys, 'RS256').map(({ state }) => state)]).toEqual([
    ['active', 'prepared'],
    ['active', 'prepared'],
  ])
  const published = (await jwks()).keys
  expect(published.map(({ kid }) => kid).sort()).toEqual(keys.map(({ kid }) => kid).sort())
  for (const key of published)
    for (const secret of ['d', 'p', 'q', 'dp', 'dq', 'qi', 'k']) expect(key).not.toHaveProperty(secret)
  expect(kidOf(await mint())).toBe(of(keys)[0]?.kid)
  expect(decodeProtectedHeader(await mint({ audience: 'api://azure' }))).toMatchObject({
    alg: 'RS256',
    kid: of(keys, 'RS256')[0]?.kid,
  })
})

test('audiences whose tokens need different algorithms cannot share one', async () => {
  const task = (
    await world.act(world.as('/agent/a'), 'POST', '/v1/tasks', { kind: 'agent-run', ref: 'keys' })
  ).body
  const { body } = await world.exchange(world.as('/agent/a'), {
    task_id: task.id,
    audience: 'api://azure',
    resource: deploy,
  })
  expect(body).toMatchObject({ error: 'invalid_target', code: 'malformed' })
})

test('private keys lie encrypted in the database', async () => {
  const rows = await world.broker.sql<{ private_key: Buffer }>('SELECT private_key FROM signing_keys')
  expect(rows.length).toBe(4)
  for (const { private_key: key } of rows)
    expect(() => createPrivateKey({ key, type: 'pkcs8', format: 'der' })).toThrow()
})

describe('rotation by hand', () => {
  test('hands over once everybody can know the successor, and keeps the old key published for its last signature', async () => {
    const [first, second] = of(await list())
    const before = await mint()
    expect(of(await rotate()).map(({ kid }) => kid)).toEqual([first?.kid, second?.kid])
    // The successor was published just now: nobody need have seen it yet.
    expect(states(await list())).toEqual(['active', 'prepared'])
    expect(kidOf(await mint())).toBe(first?.kid)

    world.broker.clock.advance(6 * minute)
    await world.broker.sweep()
    const late = await mint()
    expect(kidOf(late)).toBe(second?.kid)
    expect(states(await list())).toEqual(['retired', 'active', 'prepared'])
    await expect(verify(late)).resolves.toBeDefined()
    expect(await world.live(before)).toBe(false)

    const lastDay = Date.parse(of(await list())[0]!.last_day!)
    expect(lastDay).toBeGreaterThanOrEqual(world.broker.clock.now() + 15 * minute)
    world.broker.clock.advance(lastDay - world.broker.clock.now())
    await world.broker.sweep()
    expect((await jwks()).keys.map(({ kid }) => kid)).not.toContain(first?.kid)
    expect(states(await list())).toEqual(['active', 'prepared'])
    // The row goes later: another replica's clock may still be behind.
    world.broker.clock.advance(60 * minute)
    await world.broker.sweep()
    expect(await world.broker.sql('SELECT kid FROM signing_keys WHERE kid = $1', [first?.kid])).toEqual([])
  })

  test('a token of the key before lives on, verifies on, and is introspected as live', async () => {
    const [signing] = of(await list())
    const token = await mint({ ttl: '900' })
    expect(kidOf(token)).toBe(signing?.kid)
    // This successor has been published for long: it takes over now.
    await rotate()
    expect(kidOf(await mint())).not.toBe(signing?.kid)
    world.broker.clock.advance(14 * minute)
    await world.broker.sweep()
    await expect(verify(token)).resolves.toBeDefined()
    expect(await world.live(token)).toBe(true)
  })

  test('while one waits for its successor to be known everywhere, another changes nothing', async () => {
    await rotate()
    const waiting = await rotate()
    expect(await rotate()).toEqual(waiting)
  })

  test('by command it is the same', async () => {
    world.broker.clock.advance(30 * minute)
    await world.broker.sweep()
    const cwd = folder()
    writeFileSync(join(cwd, 'hallpass.yaml'), `issuer: ${world.broker.issuer}\n`)
    const env = { HALLPASS_TOKEN: await world.broker.operatorToken() }
    const before = of(await list())
    const { exitCode, out } = await hallpass(['keys', 'rotate', '--url', world.broker.url], { env, cwd })
    expect([exitCode, out.split('\n')[0]?.split(/ +/)]).toEqual([
      0,
      ['KID', 'USE', 'ALG', 'STATE', 'PUBLISHED_AT', 'ACTIVE_AT', 'RETIRED_AT', 'LAST_DAY'],
    ])
    const after = of(await list())
    expect(after[0]?.retired_at).not.toBe(before[0]?.retired_at)
    const listed = await hallpass(['keys', 'list', '--json', '--url', world.broker.url], { env, cwd })
    expect((JSON.parse(listed.out) as KeyList).items).toEqual(await list())
  })
})

test('by itself: after its month a key makes way, and at every moment there is one that signs', async () => {
  const seen = new Set<string | undefined>()
  for (let days = 0; days < 66; days += 3) {
    await world.broker.sweep()
    const token = await mint()
    seen.add(kidOf(token))
    await expect(verify(token)).resolves.toBeDefined()
    const keys = await list()
    expect(of(keys).filter(({ state }) => state === 'active')).toHaveLength(1)
    expect(of(keys).filter(({ state }) => state === 'prepared')).toHaveLength(1)
    world.broker.clock.advance(3 * day)
  }
  expect(seen.size).toBeGreaterThanOrEqual(3)
})
