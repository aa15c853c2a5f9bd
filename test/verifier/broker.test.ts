import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createVerifier, type Verifier } from '../../src/verifier/create-verifier.ts'
import type { VerifierOptions } from '../../src/verifier/options.ts'
import type { TestBroker } from '../support/broker.ts'
import { act, headerOf, minted, opened, patchContext, type Scene, startScene } from '../support/scene.ts'
import { refusal, until } from './verifiers.ts'

/** The real broker, two replicas of it, and what a network between it and a verifier can do. */
let scene: Scene
beforeAll(async () => {
  scene = await startScene({ replicas: 2 })
})
afterAll(() => scene.close())

interface Network {
  verifier: Verifier
  cut: { feed: boolean; everything: boolean }
  close(): void
}

/** The issuer's name leads to this replica. */
async function verifierAt(broker: TestBroker, options: Partial<VerifierOptions> = {}): Promise<Network> {
  const cut = { feed: false, everything: false }
  const connections = new Set<AbortController>()
  const verifier = await createVerifier({
    issuer: broker.issuer,
    audience: 'https://deploy.example',
    async fetch(url, init) {
      const { pathname } = new URL(String(url))
      const isFeed = pathname === '/v1/revocations'
      if (cut.everything || (cut.feed && isFeed)) throw new TypeError('fetch failed')
      const breaking = new AbortController()
      if (isFeed) connections.add(breaking)
      const signal = AbortSignal.any([breaking.signal, ...(init?.signal ? [init.signal] : [])])
      return fetch(`${broker.url}${pathname}`, { ...init, signal })
    },
    ...options,
  })
  return {
    verifier,
    cut: new Proxy(cut, {
      set(target, name, value: boolean) {
        target[name as keyof typeof cut] = value
        if (value) for (const connection of connections) connection.abort()
        return true
      },
    }),
    close: () => verifier.close(),
  }
}

const token = async (attestation: string, more = {}) =>
  (await minted(scene.broker, attestation, more)).access_token

test('a minted token is verified; its task is closed on one replica, and it is refused by a verifier of the other', async () => {
  const { verifier, close } = await verifierAt(scene.replicas[1] as TestBroker)
  const run = randomUUID()
  const { access_token, task_id } = await minted(scene.broker, scene.job(run))
  const auth = await verifier.verify(access_token, { scope: 'deploy:prod' })
  expect(auth.taskId).toBe(task_id)
  const { signal } = auth
  await act(scene.broker, scene.job(run), task_id, 'close')
  await until(() => signal.aborted)
  expect(await refusal(verifier, access_token)).toBe('task_closed')
  expect(await refusal(verifier, await token(scene.job()))).toBeNull()
  close()
})

test('a changed context kills what was minted before, and nothing that is minted after', async () => {
  const { verifier, close } = await verifierAt(scene.broker)
  const task = await opened(scene.broker, scene.agent('a'), {
    context: { ticket: 'OPS-1' },
    bind: ['ticket'],
  })
  const before = await token(scene.agent('a'), { task_id: task.id })
  expect(await refusal(verifier, before)).toBeNull()
  await patchContext(scene.broker, scene.agent('a'), task.id, { ticket: 'OPS-2' })
  await until(async () => (await refusal(verifier, before)) === 'task_changed')
  expect(await refusal(verifier, await token(scene.agent('a'), { task_id: task.id }))).toBeNull()
  close()
})

test('suspended is refused, resumed is taken again', async () => {
  const { verifier, close } = await verifierAt(scene.broker)
  const task = await opened(scene.broker, scene.agent('a'))
  const text = await token(scene.agent('a'), { task_id: task.id })
  await act(scene.broker, scene.agent('a'), task.id, 'suspend')
  await until(async () => (await refusal(verifier, text)) === 'task_suspended')
  await act(scene.broker, scene.agent('a'), task.id, 'resume')
  await until(async () => (await refusal(verifier, text)) === null)
  close()
})

test('a child dies with its parent, and by one event', async () => {
  const { verifier, close } = await verifierAt(scene.broker)
  const parent = await opened(scene.broker, scene.agent('a'), { context: { ticket: 'x' }, bind: ['ticket'] })
  const child = await opened(scene.broker, scene.agent('a'), { parent_id: parent.id })
  const grandchild = await opened(scene.broker, scene.agent('a'), { parent_id: child.id })
  const text = await token(scene.agent('a'), { task_id: grandchild.id })
  const { taskPath } = await verifier.verify(text)
  expect(taskPath).toEqual([
    { id: parent.id, ver: 1 },
    { id: child.id, ver: 1 },
  ])
  await patchContext(scene.broker, scene.agent('a'), parent.id, { ticket: 'y' })
  await until(async () => (await refusal(verifier, text)) === 'task_changed')
  const again = await token(scene.agent('a'), { task_id: grandchild.id })
  expect(await refusal(verifier, again)).toBeNull()
  const { seq } = verifier.state()
  await act(scene.broker, scene.agent('a'), parent.id, 'close')
  await until(async () => (await refusal(verifier, again)) === 'task_closed')
  expect(verifier.state().seq).toBe((seq ?? 0) + 1)
  close()
})

test('a single credential that is revoked dies alone', async () => {
  const { verifier, close } = await verifierAt(scene.broker)
  const run = randomUUID()
  const [one, two] = [await token(scene.job(run)), await token(scene.job(run))]
  const { jti } = await verifier.verify(one)
  await scene.broker.client.request('POST', `/v1/credentials/${jti}/revoke`, {
    token: await scene.broker.operatorToken(),
    json: {},
  })
  await until(async () => (await refusal(verifier, one)) === 'credential_revoked')
  expect(await refusal(verifier, two)).toBeNull()
  close()
})

test('the feed is away: the status list says which tokens live, and both away: none does', async () => {
  const { verifier, cut, close } = await verifierAt(scene.broker, { maxStaleness: 3_000 })
  const run = randomUUID()
  const task = await opened(scene.broker, scene.agent('a'))
  const [dying, living] = [await minted(scene.broker, scene.job(run)), await token(scene.job())]
  const suspended = await token(scene.agent('a'), { task_id: task.id })
  const codes = () =>
    Promise.all([dying.access_token, suspended, living].map(text => refusal(verifier, text)))
  cut.feed = true
  await until(() => !verifier.state().fresh)
  expect(await codes()).toEqual([null, null, null])
  await act(scene.broker, scene.job(run), dying.task_id, 'close')
  await act(scene.broker, scene.agent('a'), task.id, 'suspend')
  await until(async () => (await codes()).filter(code => code !== null).length === 2)
  expect(await codes()).toEqual(['credential_revoked', 'credential_suspended', null])
  const { signal } = await verifier.verify(living)
  cut.everything = true
  await until(() => signal.aborted)
  expect(await refusal(verifier, living)).toMatch(/^(status_unreachable|keys_unavailable)$/)
  cut.everything = false
  cut.feed = false
  await until(() => verifier.state().fresh)
  expect(await codes()).toEqual(['task_closed', 'task_suspended', null])
  close()
})

test('cut off while things end, it goes on where it was and knows them all', async () => {
  const { verifier, cut, close } = await verifierAt(scene.replicas[1] as TestBroker)
  const ended: string[] = []
  for (let round = 0; round < 5; round++) {
    cut.feed = true
    const run = randomUUID()
    const { access_token, task_id } = await minted(scene.broker, scene.job(run))
    await act(scene.broker, scene.job(run), task_id, 'close')
    ended.push(access_token)
    cut.feed = false
    await until(async () => (await refusal(verifier, access_token)) === 'task_closed')
  }
  for (const text of ended) expect(await refusal(verifier, text)).toBe('task_closed')
  expect(verifier.state().fresh).toBe(true)
  close()
})

test('an attestation reads the feed as well', async () => {
  const { verifier, close } = await verifierAt(scene.broker, { token: () => scene.agent('a-service') })
  expect(verifier.state().fresh).toBe(true)
  close()
})

test('it stays fresh by the broker’s ticks', async () => {
  const { verifier, close } = await verifierAt(scene.broker)
  const begun = verifier.state().readAt?.getTime() ?? 0
  let stale = 0
  await until(() => {
    if (!verifier.state().fresh) stale++
    return (verifier.state().readAt?.getTime() ?? 0) > begun + 9_000
  })
  expect(stale).toBe(0)
  close()
})

test('a signing key that is withdrawn kills all it signed, and its successor’s tokens are taken', async () => {
  // By then the next key has been published for long enough to sign.
  scene.broker.clock.advance(600_000)
  const { verifier, close } = await verifierAt(scene.replicas[1] as TestBroker)
  const text = await token(scene.job())
  expect(await refusal(verifier, text)).toBeNull()
  const { kid } = headerOf(text)
  const { status } = await scene.broker.client.request('POST', `/v1/keys/${kid}/withdraw`, {
    token: await scene.broker.operatorToken(),
    json: {},
  })
  expect(status).toBe(200)
  await until(async () => (await refusal(verifier, text)) !== null)
  expect(await refusal(verifier, text)).toMatch(/^key_(withdrawn|unknown)$/)
  const next = await token(scene.job())
  expect(headerOf(next).kid).not.toBe(kid)
  await until(async () => (await refusal(verifier, next)) === null)
  close()
})
