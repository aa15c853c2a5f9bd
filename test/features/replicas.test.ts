import { createRemoteJWKSet, jwtVerify } from 'jose'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { DecisionList, Task } from '../../src/http/openapi.generated.d.ts'
import type { TestBroker } from '../support/broker.ts'
import { deploy, startWorld, type World } from './world.ts'

let world: World
let one: TestBroker
let two: TestBroker
let three: TestBroker
beforeAll(async () => {
  world = await startWorld()
  one = world.broker
  ;[two, three] = [await one.replica(), await one.replica()]
})
afterAll(async () => {
  await three?.close()
  await two?.close()
  await world?.close()
})

const job = (run_id: string) => world.job({ run_id })
const act = (on: TestBroker, token: string, method: string, path: string, json?: object) =>
  on.client.request<Task>(method, path, { token, ...(json && { json }) })
const mint = async (on: TestBroker, run: string) => (await world.exchange(job(run), {}, on)).body
const lives = (token: string) => Promise.all([one, two, three].map(on => world.live(token, on)))

test('what one mints the others verify, read and introspect', async () => {
  const { access_token, task_id } = await mint(one, '1')
  for (const on of [one, two, three]) {
    const jwks = createRemoteJWKSet(new URL('/.well-known/jwks.json', on.url))
    await expect(
      jwtVerify(access_token, jwks, { issuer: on.issuer, audience: deploy, typ: 'at+jwt' }),
    ).resolves.toBeDefined()
    expect((await act(on, job('1'), 'GET', `/v1/tasks/${task_id}`)).body.state).toBe('open')
  }
  expect(await lives(access_token)).toEqual([true, true, true])
})

test('a task closed on one is closed on all, at once: its tokens are dead, and no other mints', async () => {
  const { access_token, task_id } = await mint(one, '2')
  const also = (await mint(three, '2')).access_token
  expect(await world.live(access_token, three)).toBe(true)
  expect((await act(two, job('2'), 'POST', `/v1/tasks/${task_id}/close`, {})).body.state).toBe('closed')
  expect(await lives(access_token)).toEqual([false, false, false])
  expect(await lives(also)).toEqual([false, false, false])
  for (const on of [one, two, three])
    expect((await world.exchange(job('2'), {}, on)).body.code).toBe('task_closed')
})

test('so it is for suspending, resuming, a changed context, and a single credential', async () => {
  const { access_token, task_id } = await mint(two, '3')
  await act(three, job('3'), 'POST', `/v1/tasks/${task_id}/suspend`, {})
  expect(await lives(access_token)).toEqual([false, false, false])
  for (const on of [one, two, three])
    expect((await world.exchange(job('3'), {}, on)).body.code).toBe('task_suspended')
  await act(one, job('3'), 'POST', `/v1/tasks/${task_id}/resume`, {})
  expect(await lives(access_token)).toEqual([true, true, true])
  for (const on of [one, two, three]) expect((await world.exchange(job('3'), {}, on)).status).toBe(200)

  await act(one, job('3'), 'PATCH', `/v1/tasks/${task_id}/context`, { sha: 'new' })
  expect(await lives(access_token)).toEqual([false, false, false])
  for (const on of [two, three])
    expect((await world.exchange(job('3'), {}, on)).body.code).toBe('context_drift')

  const agreed = () => world.job({ run_id: '3', sha: 'new' })
  for (const on of [one, two, three]) {
    expect((await world.exchange(agreed(), { task_ver: '1' }, on)).body.code).toBe('task_changed')
    const minted = await world.exchange(agreed(), { task_ver: '2' }, on)
    expect(await lives(minted.body.access_token)).toEqual([true, true, true])
  }

  const { access_token: token } = (await world.exchange(agreed(), {}, two)).body
  const revoked = await three.client.request('POST', '/oauth2/revoke', {
    token: world.as('/svc/deploy'),
    form: { token },
  })
  expect([revoked.status, await lives(token)]).toEqual([200, [false, false, false]])
})

test('a job that calls all of them at once has one task', async () => {
  const minted = await Promise.all(Array.from({ length: 15 }, (_, n) => mint([one, two, three][n % 3]!, '4')))
  expect(new Set(minted.map(({ task_id }) => task_id)).size).toBe(1)
  expect(new Set(minted.map(({ access_token }) => access_token)).size).toBe(15)
})

test('a task that is closed while all of them mint leaves no token alive', async () => {
  const { task_id, access_token } = await mint(one, '5')
  const minting = Array.from({ length: 45 }, (_, n) => mint([one, two, three][n % 3]!, '5'))
  const closing = act(two, job('5'), 'POST', `/v1/tasks/${task_id}/close`, {})
  const tokens = (await Promise.all(minting)).flatMap(body => body.access_token ?? [])
  expect((await closing).body.state).toBe('closed')
  const dead = await Promise.all(
    [access_token, ...tokens].map((token, n) => world.live(token, [one, two, three][n % 3])),
  )
  expect(new Set(dead)).toEqual(new Set([false]))
})

test('all have the same policies and the same log', async () => {
  const token = await one.operatorToken()
  const log = (on: TestBroker, more = '') =>
    on.client.request<DecisionList>('GET', `/v1/decisions?action=mint&limit=5${more}`, { token })
  const [first, second, third] = await Promise.all([one, two, three].map(on => log(on)))
  expect([second?.body.items, third?.body.items]).toEqual([first?.body.items, first?.body.items])
  // A page begun on one is gone on with on another.
  const next = await Promise.all([one, two].map(on => log(on, `&cursor=${first?.body.next}`)))
  expect(next[0]?.body.items).toHaveLength(5)
  expect(next[0]?.body.items).toEqual(next[1]?.body.items)
  const versions = (await world.decisions('?action=mint&limit=200')).map(
    ({ policy_version }) => policy_version,
  )
  expect(new Set(versions.filter(version => version !== null)).size).toBe(1)
})

test('a new signing key is known to all before the first of them signs with it', async () => {
  one.clock.advance(10 * 60_000)
  const token = await one.operatorToken()
  await one.client.request('POST', '/v1/keys/rotate', { token })
  const { access_token } = await mint(one, '6')
  for (const on of [two, three]) {
    const jwks = createRemoteJWKSet(new URL('/.well-known/jwks.json', on.url))
    const currentDate = new Date(on.clock.now())
    await expect(jwtVerify(access_token, jwks, { audience: deploy, currentDate })).resolves.toBeDefined()
  }
  expect(await lives(access_token)).toEqual([true, true, true])
  // One that has not noticed yet signs with the key before, which lives on for as long.
  expect(await lives((await mint(three, '6')).access_token)).toEqual([true, true, true])
})
