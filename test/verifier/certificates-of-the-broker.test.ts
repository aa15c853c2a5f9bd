import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { assembleVerifier, type Verifier } from '../../src/verifier/create-verifier.ts'
import type { VerifierOptions } from '../../src/verifier/options.ts'
import { csrOf, type KeyPair, newKeyPair } from '../support/csr.ts'
import { act, opened, patchContext, type Scene, startScene } from '../support/scene.ts'
import { certificateRefusal, until } from './verifiers.ts'

/** The real broker with an authority of its own, and what a network between it and a verifier can do. */
let scene: Scene
let verifier: Verifier
const cut = { feed: false, everything: false }
let connections: AbortController[] = []
beforeAll(async () => {
  scene = await startScene({
    config: { pki: { trustDomain: 'hallpass.example', path: '/task/{task_id}' } },
  })
  verifier = await followed()
})
afterAll(async () => {
  verifier.close()
  await scene.close()
})

/** By the broker's own clock, which a test may have set forward. */
const followed = (options: Partial<VerifierOptions> = {}): Promise<Verifier> =>
  assembleVerifier(
    {
      issuer: scene.broker.issuer,
      audience: 'https://deploy.example',
      async fetch(url, init) {
        const { pathname } = new URL(String(url))
        const isFeed = pathname === '/v1/revocations'
        if (cut.everything || (cut.feed && isFeed)) throw new TypeError('fetch failed')
        const breaking = new AbortController()
        if (isFeed) connections.push(breaking)
        const signal = AbortSignal.any([breaking.signal, ...(init?.signal ? [init.signal] : [])])
        return fetch(`${scene.broker.url}${pathname}`, { ...init, signal })
      },
      ...options,
    },
    { steady: () => performance.now(), wall: scene.broker.clock.now },
  )

interface Certified {
  jti: string
  serial: string
  certificate: string
  chain: string[]
  expires_at: string
  task_id: string
}

async function certified(task: string, more: object = {}, keys: KeyPair = newKeyPair()): Promise<Certified> {
  const { status, body } = await scene.broker.client.request<Certified>(
    'POST',
    `/v1/tasks/${task}/credentials`,
    {
      token: scene.agent('a'),
      json: {
        type: 'x509',
        csr: csrOf(keys),
        scope: 'deploy:prod read',
        audience: 'https://deploy.example',
        usages: ['clientAuth'],
        ...more,
      },
    },
  )
  if (status !== 201) throw new Error(`not certified: ${JSON.stringify(body)}`)
  return body
}

const task = (json: Record<string, unknown> = {}) => opened(scene.broker, scene.agent('a'), json)
const refused = ({ certificate }: Certified, options?: { scope: string }) =>
  certificateRefusal(verifier, certificate, options)

async function feedIs(there: boolean): Promise<void> {
  cut.feed = !there
  if (!there) for (const connection of connections) connection.abort()
  connections = []
  await until(() => verifier.state().fresh === there)
}

test('a certificate that the broker made is verified, and tells what the broker told', async () => {
  const parent = await task()
  const child = await task({ parent_id: parent.id })
  const made = await certified(child.id)
  const auth = await verifier.verifyCertificate(made.certificate, { scope: 'deploy:prod' })
  expect(auth).toMatchObject({
    taskId: child.id,
    taskVer: 1,
    taskPath: [{ id: parent.id, ver: 1 }],
    jti: made.jti,
    serial: made.serial,
    spiffeId: `spiffe://hallpass.example/task/${child.id}`,
    audience: ['https://deploy.example'],
    scopes: ['deploy:prod', 'read'],
    expiresAt: new Date(made.expires_at),
  })
  expect(await certificateRefusal(verifier, [made.certificate, ...made.chain].join(''))).toBeNull()
  expect(await refused(made, { scope: 'admin' })).toBe('scope_insufficient')
})

test('nor is one that is for somebody else, or for servers, or the authority’s own', async () => {
  const { id } = await task()
  expect(await refused(await certified(id, { audience: 'https://other.example' }))).toBe('audience_wrong')
  const server = await certified(id, { usages: ['serverAuth'] })
  expect(await refused(server)).toBe('certificate_usage_wrong')
  expect(await certificateRefusal(verifier, server.certificate, { usage: 'serverAuth' })).toBeNull()
  expect(await certificateRefusal(verifier, server.chain[0] as string)).not.toBeNull()
})

test('it dies with its task, whoever watches is told, and one that is suspended comes back', async () => {
  const [dying, sleeping] = [await task(), await task()]
  const [one, two] = [await certified(dying.id), await certified(sleeping.id)]
  const { signal } = await verifier.verifyCertificate(one.certificate)
  await act(scene.broker, scene.agent('a'), dying.id, 'close')
  await until(() => signal.aborted)
  expect(await refused(one)).toBe('task_closed')
  await act(scene.broker, scene.agent('a'), sleeping.id, 'suspend')
  await until(async () => (await refused(two)) === 'task_suspended')
  await act(scene.broker, scene.agent('a'), sleeping.id, 'resume')
  await until(async () => (await refused(two)) === null)
})

test('a changed context of a task above it kills it', async () => {
  const parent = await task({ context: { ticket: 'x' }, bind: ['ticket'] })
  const child = await task({ parent_id: parent.id })
  const made = await certified(child.id)
  expect(await refused(made)).toBeNull()
  await patchContext(scene.broker, scene.agent('a'), parent.id, { ticket: 'y' })
  await until(async () => (await refused(made)) === 'task_changed')
  expect(await refused(await certified(child.id))).toBeNull()
})

test('one that is revoked dies alone', async () => {
  const { id } = await task()
  const [one, two] = [await certified(id), await certified(id)]
  await scene.broker.client.request('POST', `/v1/credentials/${one.jti}/revoke`, {
    token: await scene.broker.operatorToken(),
    json: {},
  })
  await until(async () => (await refused(one)) === 'credential_revoked')
  expect(await refused(two)).toBeNull()
})

test('the feed is away: the revocation list says which live, and both away: none does', async () => {
  verifier.close()
  verifier = await followed({ maxStaleness: 3_000 })
  const [dying, sleeping, living] = [await task(), await task(), await task()]
  const made = [await certified(dying.id), await certified(sleeping.id), await certified(living.id)] as const
  await feedIs(false)
  expect(await Promise.all(made.map(one => refused(one)))).toEqual([null, null, null])
  await act(scene.broker, scene.agent('a'), dying.id, 'close')
  await act(scene.broker, scene.agent('a'), sleeping.id, 'suspend')
  await until(async () => (await refused(made[0])) !== null && (await refused(made[1])) !== null)
  expect(await Promise.all(made.map(one => refused(one)))).toEqual([
    'credential_revoked',
    'credential_suspended',
    null,
  ])
  const { signal } = await verifier.verifyCertificate(made[2].certificate)
  cut.everything = true
  await until(() => signal.aborted)
  expect(await refused(made[2])).toMatch(/^(crl_unreachable|authorities_unavailable)$/)
  cut.everything = false
  await feedIs(true)
  expect(await Promise.all(made.map(one => refused(one)))).toEqual(['task_closed', 'task_suspended', null])
})

test('an authority that is withdrawn takes all that it signed with it, and its successor’s are taken', async () => {
  // By then the next authority has been published for long enough to sign.
  scene.broker.clock.advance(600_000)
  verifier.close()
  verifier = await followed()
  const { id } = await task({ ref: randomUUID() })
  const made = await certified(id)
  const kid = await authorityOf(made)
  expect(await refused(made)).toBeNull()
  const { status } = await scene.broker.client.request('POST', `/v1/keys/${kid}/withdraw`, {
    token: await scene.broker.operatorToken(),
    json: {},
  })
  expect(status).toBe(200)
  await until(async () => (await refused(made)) !== null)
  expect(await refused(made)).toMatch(/^(key_withdrawn|authority_unknown)$/)
  const next = await certified(id)
  expect(await authorityOf(next)).not.toBe(kid)
  await until(async () => (await refused(next)) === null)
})

/** By the address of its revocation list. */
async function authorityOf({ certificate }: Certified): Promise<string> {
  const der = Buffer.from(certificate.replace(/-----[^-]+-----|\s/g, ''), 'base64').toString('latin1')
  return /\/pki\/crl\/([A-Za-z0-9_-]{43})/.exec(der)?.[1] as string
}
