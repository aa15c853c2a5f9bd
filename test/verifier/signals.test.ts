import { randomUUID } from 'node:crypto'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { VerifierRefusal } from '../../src/verifier/refusal.ts'
import { newKey } from './scripted-broker.ts'
import { type Followed, startFollowed, until } from './verifiers.ts'

let followed: Followed
beforeEach(async () => {
  followed = await startFollowed()
})
afterEach(() => followed.close())

const authFor = async (claims: object = {}, options: object = {}) =>
  followed.verifier.verify(await followed.broker.token(claims as Record<string, unknown>, options))
const reason = (signal: AbortSignal) => (signal.reason as VerifierRefusal | undefined)?.code
const tell = (type: 'task' | 'credential' | 'key', data: object) =>
  followed.broker.send(followed.broker.event(type, { until: followed.broker.until(), ...data }))

test('the signal of a token fires when the feed tells of its death, with the reason', async () => {
  const parent = randomUUID()
  const own = await authFor()
  const child = await authFor({ task_path: [`${randomUUID()}:1`, `${parent}:4`] })
  const single = await authFor()
  const alive = await authFor()
  const signals = [own, child, single, alive].map(auth => auth.signal)
  expect(followed.verifier.state().signals).toBe(4)
  tell('task', { task_id: own.taskId, state: 'suspended', ver: 1 })
  tell('task', { task_id: parent, state: 'open', ver: 5 })
  tell('credential', { jti: single.jti })
  await until(() => followed.verifier.state().seq === 10)
  expect(signals.map(reason)).toEqual(['task_suspended', 'task_changed', 'credential_revoked', undefined])
  expect(followed.verifier.state().signals).toBe(1)
  tell('key', { kid: followed.broker.key.kid })
  await until(() => alive.signal.aborted)
  expect(reason(alive.signal)).toBe('key_withdrawn')
  expect(followed.verifier.state().signals).toBe(0)
})

test('a snapshot fires it too', async () => {
  const { broker, verifier } = followed
  const auth = await authFor()
  const { signal } = auth
  broker.onFeed = connection =>
    connection.write(
      broker.snapshot({
        tasks: [{ task_id: auth.taskId, state: 'closed', ver: 1, until: broker.until() }],
      }) + broker.tick(),
    )
  broker.epoch = 'fedcba9876543210'
  broker.seq = 900
  tell('key', { kid: 'x' })
  await until(() => signal.aborted)
  expect(reason(signal)).toBe('task_closed')
  expect(verifier.state().signals).toBe(0)
})

test('it fires when the token expires', async () => {
  const { broker, time } = followed
  const auth = await authFor({ exp: Math.floor(time.clocks.wall() / 1000) + 5 })
  const { signal } = auth
  time.pass(6_000)
  broker.send(broker.tick())
  await until(() => signal.aborted)
  expect(reason(signal)).toBe('token_expired')
})

test('it fires when whether the token lives can no longer be known, and not before', async () => {
  const { broker, time, verifier } = followed
  const id = randomUUID()
  const uri = await broker.list({ id })
  const listed = (idx: number) => authFor({ status: { status_list: { idx, uri } } })
  const [one, two, unlisted] = [await listed(0), await listed(99), await authFor()]
  const signals = [one.signal, two.signal, unlisted.signal] as const
  broker.onFeed = connection => connection.cut()
  for (const feed of broker.feeds) feed.cut()
  time.pass(20_000)
  await until(() => signals[1].aborted && signals[2].aborted)
  expect(signals.map(reason)).toEqual([undefined, 'status_out_of_range', 'status_missing'])
  // The list goes on vouching for it; then it does not.
  await new Promise(resolve => setTimeout(resolve, 1_500))
  expect(signals[0].aborted).toBe(false)
  broker.answers.delete(`/status-lists/${id}`)
  time.pass(11_000)
  await until(() => signals[0].aborted)
  expect(reason(signals[0])).toBe('status_unreachable')
  expect(verifier.state().signals).toBe(0)
})

test('a suspension during which somebody watches ends the watching, though the token revives', async () => {
  const auth = await authFor()
  const { signal } = auth
  tell('task', { task_id: auth.taskId, state: 'suspended', ver: 1 })
  tell('task', { task_id: auth.taskId, state: 'open', ver: 1 })
  await until(() => followed.verifier.state().seq === 9)
  expect(reason(signal)).toBe('task_suspended')
})

test('read after the token died, it has fired already', async () => {
  const auth = await authFor()
  tell('task', { task_id: auth.taskId, state: 'closed', ver: 1 })
  await until(() => followed.verifier.state().seq === 8)
  expect(followed.verifier.state().signals).toBe(0)
  expect(reason(auth.signal)).toBe('task_closed')
})

test('released, it does not fire, and nothing of it is kept', async () => {
  const auth = await authFor({ task_path: [`${randomUUID()}:1`] })
  expect(auth.isWatched).toBe(false)
  const { signal } = auth
  expect(auth.isWatched).toBe(true)
  auth.release()
  auth.release()
  expect(auth.isWatched).toBe(false)
  expect(followed.verifier.state().signals).toBe(0)
  tell('task', { task_id: auth.taskId, state: 'closed', ver: 1 })
  await until(() => followed.verifier.state().seq === 8)
  expect(signal.aborted).toBe(false)
  const other = await authFor()
  other.release()
  expect(other.signal.aborted).toBe(false)
  expect(followed.verifier.state().signals).toBe(0)
})

test('a signal that nobody reads costs nothing; one that is read is the same each time', async () => {
  const auth = await authFor()
  expect(followed.verifier.state().signals).toBe(0)
  expect(auth.signal).toBe(auth.signal)
  expect(followed.verifier.state().signals).toBe(1)
})

test('closing the verifier fires all of them', async () => {
  const auths = [await authFor(), await authFor()]
  const signals = auths.map(auth => auth.signal)
  followed.verifier.close()
  expect(signals.map(reason)).toEqual(['verifier_closed', 'verifier_closed'])
  expect(reason((await Promise.resolve(auths[0]))?.signal as AbortSignal)).toBe('verifier_closed')
})

test('a listener that begins and ends others is no trouble', async () => {
  const task_id = randomUUID()
  const one = await authFor({ task_id })
  const two = await authFor({ task_id })
  one.signal.addEventListener('abort', () => two.release())
  // Watched after the first one, and so told after it.
  const { signal } = two
  tell('task', { task_id, state: 'closed', ver: 1 })
  await until(() => one.signal.aborted)
  expect(signal.aborted).toBe(false)
  expect(followed.verifier.state().signals).toBe(0)
})

test('10,000 live signals make an event no slower: it costs what it kills', async () => {
  const { broker, verifier } = followed
  const texts = await Promise.all(Array.from({ length: 100 }, () => broker.token()))
  const signals: AbortSignal[] = []
  for (let round = 0; round < 100; round++)
    for (const auth of await Promise.all(texts.map(text => verifier.verify(text)))) signals.push(auth.signal)
  expect(verifier.state().signals).toBe(10_000)
  let looked = 0
  for (const signal of signals) signal.addEventListener('abort', () => looked++)
  const victim = await verifier.verify(texts[0] as string)
  const before = performance.now()
  for (let event = 0; event < 5_000; event++)
    broker.feeds[0]?.write(
      broker.event('task', { task_id: randomUUID(), state: 'closed', ver: 1, until: broker.until() }),
    )
  await until(() => verifier.state().seq === 5_007)
  // Each looking at every signal would be 50 million looks. A liveness bound, no measurement.
  expect(performance.now() - before).toBeLessThan(10_000)
  expect(looked).toBe(0)
  tell('task', { task_id: victim.taskId, state: 'closed', ver: 1 })
  await until(() => looked === 100)
  expect(verifier.state().signals).toBe(9_900)
})

test('tokens of a key that is withdrawn all die, others do not', async () => {
  const { broker, time } = followed
  const other = await newKey()
  broker.jwks.push(other.jwk)
  time.pass(11_000)
  broker.send(broker.tick())
  const [one, two] = [await authFor(), await authFor({}, { key: other })]
  const signals = [one.signal, two.signal] as const
  tell('key', { kid: other.kid })
  await until(() => signals[1].aborted)
  expect(signals[0].aborted).toBe(false)
})
