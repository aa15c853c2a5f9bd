import { afterAll, beforeAll, expect, test } from 'vitest'
import { ciSource, testIssuer } from '../support/broker.ts'
import { startIssuer, type TestIssuer } from '../support/issuer.ts'
import { oauthDoors } from './doors.ts'
import { jobClaims, startWorld, type World } from './world.ts'

const day = 86_400_000
let world: World
let github: TestIssuer
beforeAll(async () => {
  github = await startIssuer()
  world = await startWorld({
    trust: [ciSource(github.issuer, { name: 'github', reuse: 'once' })],
    config: { tasks: { deadlineDefault: day, deadlineMax: day, depthMax: 3, retention: day } },
  })
})
afterAll(async () => {
  await world?.close()
  await github?.close()
})

let runs = 0
/** With a `jti`, as GitHub's have, unless told otherwise. */
const job = (more: object = {}) =>
  github.sign(jobClaims(Date.now(), { run_id: `${++runs}`, jti: `jti-${runs}`, ...more }))
const doors = oauthDoors.filter(({ svidOnly }) => !svidOnly)
const again = async (attestation: string) => (await world.exchange(attestation)).body.code

/** The same ECDSA signature in its other form: (r, n − s). */
function otherSignature(token: string): string {
  const order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n
  const at = token.lastIndexOf('.') + 1
  const bytes = Buffer.from(token.slice(at), 'base64url')
  const s = order - BigInt(`0x${bytes.toString('hex', 32)}`)
  bytes.write(s.toString(16).padStart(64, '0'), 32, 'hex')
  return token.slice(0, at) + bytes.toString('base64url')
}

test('an attestation opens its task and mints once; a fresh one mints again, for the same task', async () => {
  const first = job({ run_id: 'a' })
  const minted = await world.exchange(first)
  expect(minted.status).toBe(200)
  expect(await again(first)).toBe('attestation_reused')
  expect((await world.exchange(job({ run_id: 'a' }))).body.task_id).toBe(minted.body.task_id)
})

test.each<[string, (token: string) => string, object]>([
  ['with its signature in the other form', otherSignature, {}],
  ['without a jti', token => token, { jti: undefined }],
  ['without a jti, and with its signature in the other form', otherSignature, { jti: undefined }],
])('%s it is the same attestation', async (_, spelled, more) => {
  const attestation = job(more)
  expect((await world.exchange(attestation)).status).toBe(200)
  expect(await again(spelled(attestation))).toBe('attestation_reused')
})

test('in another base64 it is none', async () => {
  const attestation = job()
  for (const spelled of [`${attestation}=`, `${attestation}\n`, attestation.replace('.', '=.')])
    expect(await again(spelled)).toBe('attestation_invalid')
  expect((await world.exchange(attestation)).status).toBe(200)
})

test('of many callers at once, at every door and on every replica, one gets through', async () => {
  const other = await world.broker.replica()
  const attestation = job()
  const brokers = [world.broker, other]
  const minting = Array.from({ length: 24 }, (_, n) =>
    doors[n % doors.length]!.ask(brokers[n % 2]!, attestation, {}),
  )
  const reading = Array.from({ length: 6 }, (_, n) =>
    brokers[n % 2]!.client.request('GET', '/v1/tasks', { token: attestation }),
  )
  const answers = await Promise.all([...minting, ...reading])
  expect(answers.filter(({ status }) => status === 200)).toHaveLength(1)
  const codes = answers
    .filter(({ status }) => status !== 200)
    .map(({ body }) => (body as { code: string }).code)
  expect(new Set(codes)).toEqual(new Set(['attestation_reused']))
  await other.close()
})

test('under /v1 it serves for one call, and is then of no use at the door', async () => {
  const attestation = job()
  const read = () => world.act(attestation, 'GET', '/v1/tasks')
  expect((await read()).status).toBe(200)
  const { status, body, headers } = await world.broker.client.request('GET', '/v1/tasks', {
    token: attestation,
  })
  expect([status, body.code]).toEqual([401, 'attestation_reused'])
  expect(headers.get('WWW-Authenticate')).toContain('invalid_token')
  expect(await again(attestation)).toBe('attestation_reused')
})

test('a use is remembered for as long as the attestation could be accepted, and no longer than that matters', async () => {
  const attestation = job({ exp: Math.floor(Date.now() / 1000) + 7200 })
  expect((await world.exchange(attestation)).status).toBe(200)
  const uses = async () =>
    (await world.broker.sql<{ n: number }>('SELECT count(*)::int AS n FROM attestation_uses'))[0]!.n
  world.broker.clock.advance(7_190_000)
  await world.broker.sweep()
  expect(await again(attestation)).toBe('attestation_reused')
  expect(await uses()).toBeGreaterThan(0)
  world.broker.clock.advance(2 * 3_600_000)
  await world.broker.sweep()
  expect(await uses()).toBe(0)
})

test('sources where it may be used again are not concerned', async () => {
  const attestation = world.job({ aud: testIssuer })
  for (const door of doors) expect((await door.ask(world.broker, attestation, {})).status).toBeLessThan(300)
})
