import { afterAll, beforeAll, expect, it, vi } from 'vitest'
import type { Credential, KeyList } from '../../src/http/openapi.generated.d.ts'
import type { TestBroker } from '../support/broker.ts'
import { derOf, faultOf, fetchTrust, mintCertificate, pki } from '../support/certificate-scene.ts'
import { readFeed } from '../support/feed-reader.ts'
import { isActive, minted, opened, type Scene, startScene, type TaskBody } from '../support/scene.ts'

const minute = 60_000
const day = 86_400_000
let scene: Scene
let one: TestBroker
let two: TestBroker
let task: TaskBody
beforeAll(async () => {
  scene = await startScene({
    replicas: 2,
    config: {
      pki,
      tasks: { deadlineDefault: 80 * day, deadlineMax: 90 * day, depthMax: 3, retention: 90 * day },
    },
  })
  ;[one, two] = scene.replicas as [TestBroker, TestBroker]
  one.clock.advance(10 * minute)
  task = await opened(one, scene.agent('runner'))
})
afterAll(() => scene?.close())

const keys = async (use: 'jwt' | 'x509', on = one) => {
  const { body } = await on.client.request<KeyList>('GET', '/v1/keys', { token: await one.operatorToken() })
  return body.items.filter(key => key.use === use)
}
const withdraw = async (kid: string, on = one) =>
  on.client.request<KeyList>('POST', `/v1/keys/${kid}/withdraw`, {
    token: await one.operatorToken(),
    json: { reason: 'seen in a backup' },
  })
const certificate = async (on = one) => {
  const { status, body, text } = await mintCertificate(on, scene.agent('runner'), task, { ttl: 900 })
  expect(status, text).toBe(201)
  return { jti: body.jti, der: derOf(body.certificate), chain: body.chain.map(derOf) }
}
const lives = (jti: string) =>
  Promise.all(
    scene.replicas.map(
      async on =>
        (
          await on.client.request<Credential>('GET', `/v1/credentials/${jti}`, {
            token: scene.agent('runner'),
          })
        ).body.live,
    ),
  )

it('kills at once what the authority signed, on every replica; the next one takes over; keys of tokens stay as they are', async () => {
  const tokens = await keys('jwt')
  const [first, second] = await keys('x509')
  const dead = await certificate()
  const { access_token } = await minted(one, scene.agent('runner'), { task_id: task.id })
  expect(await lives(dead.jti)).toEqual([true, true])
  const feed = await readFeed(two.url)

  const { status, body } = await withdraw(first!.kid)
  expect(status).toBe(200)
  expect(body.items.filter(({ use }) => use === 'x509').map(({ kid, state }) => [kid, state])).toEqual([
    [first!.kid, 'withdrawn'],
    [second!.kid, 'active'],
    [expect.any(String), 'prepared'],
  ])
  expect(await lives(dead.jti)).toEqual([false, false])
  expect((await feed.find(({ event }) => event === 'key')).data).toMatchObject({ kid: first!.kid })
  feed.cut()
  expect(await keys('jwt')).toEqual(tokens)
  expect(await isActive(two, scene.agent('service'), access_token)).toBe(true)

  // Out of ca.pem: here as it answers, there as soon as it hears of it.
  const gone = async (on: TestBroker) =>
    expect((await fetchTrust(on)).authorities.some(der => der.equals(dead.chain[0]!))).toBe(false)
  await gone(one)
  await vi.waitFor(() => gone(two), 2_000)
  for (const on of [two, one]) {
    const { jti, der, chain } = await certificate(on)
    expect(chain).not.toEqual(dead.chain)
    expect(await lives(jti)).toEqual([true, true])
    expect(faultOf(der, await fetchTrust(on), one.clock.now())).toBe(null)
  }
})

it('leaves one row in the record and one in the log; repeating it changes nothing', async () => {
  const [withdrawn] = await keys('x509')
  const rows = () => one.sql<{ until: Date }>('SELECT * FROM revocations WHERE kid = $1', [withdrawn!.kid])
  const [row] = await rows()
  // Whoever has its key can sign with it until its own certificate ends.
  expect(row!.until.getTime()).toBe(Date.parse(withdrawn!.last_day!))
  expect((await withdraw(withdrawn!.kid, two)).status).toBe(200)
  expect(await rows()).toHaveLength(1)
})

it('keeps its row until its own certificate ends, and never takes it for good again', async () => {
  const [withdrawn, ...others] = await keys('x509')
  const end = Date.parse(withdrawn!.last_day!)
  expect(end).toBeGreaterThan(one.clock.now() + 55 * day)
  // Whoever writes to the database alone has replicas that run believe nothing else.
  await one.sql(
    'UPDATE signing_keys SET withdrawn_at = NULL, retired_at = NULL, last_day = NULL WHERE kid = $1',
    [withdrawn!.kid],
  )
  for (const on of scene.replicas) {
    await on.sweep()
    expect((await keys('x509', on)).find(({ kid }) => kid === withdrawn!.kid)?.state).toBe('withdrawn')
    const { chain } = await certificate(on)
    expect((await fetchTrust(on)).authorities.some(der => der.equals(chain[0]!))).toBe(true)
  }
  await one.sql(
    'UPDATE signing_keys SET withdrawn_at = now(), retired_at = now(), last_day = $2 WHERE kid = $1',
    [withdrawn!.kid, new Date(end)],
  )
  one.clock.advance(end - one.clock.now() - day)
  for (const on of scene.replicas) await on.sweep()
  expect((await keys('x509')).map(({ kid }) => kid)).toContain(withdrawn!.kid)
  one.clock.advance(2 * day)
  for (const on of scene.replicas) await on.sweep()
  expect(await one.sql('SELECT kid FROM signing_keys WHERE kid = $1', [withdrawn!.kid])).toEqual([])
  expect(others.length).toBeGreaterThan(1)
})

it('a key of tokens, withdrawn, leaves the authorities as they are; rotation by hand rotates both', async () => {
  for (let i = 0; i < 8; i++) {
    one.clock.advance(minute)
    for (const on of scene.replicas) await on.sweep()
  }
  task = await opened(one, scene.agent('runner'))
  const before = await keys('x509')
  const { jti } = await certificate()
  const token = (await keys('jwt')).find(({ state }) => state === 'active')
  expect((await withdraw(token!.kid)).status).toBe(200)
  expect(await keys('x509')).toEqual(before)
  expect(await lives(jti)).toEqual([true, true])
  one.clock.advance(7 * minute)
  for (const on of scene.replicas) await on.sweep()

  const now = [await keys('x509'), await keys('jwt')]
  const { status, body } = await two.client.request<KeyList>('POST', '/v1/keys/rotate', {
    token: await one.operatorToken(),
    json: {},
  })
  expect(status).toBe(200)
  for (const [i, use] of (['x509', 'jwt'] as const).entries()) {
    const active = now[i]!.find(({ state }) => state === 'active')
    const next = now[i]!.find(({ state }) => state === 'prepared')
    const after = body.items.filter(key => key.use === use)
    expect(after.find(({ kid }) => kid === active!.kid)?.retired_at).not.toBe(active!.retired_at)
    expect(Date.parse(after.find(({ kid }) => kid === next!.kid)!.active_at)).toBeLessThan(
      one.clock.now() + 7 * minute,
    )
  }
})

it('an authority that signs no more, and is published no more, can be withdrawn as long as its certificate has not ended', async () => {
  const past = (await keys('x509')).find(({ state }) => state === 'active')!
  one.clock.advance(32 * day)
  for (const on of scene.replicas) await on.sweep()
  one.clock.advance(2 * 3_600_000)
  for (const on of scene.replicas) await on.sweep()
  expect((await keys('x509')).map(({ kid }) => kid)).not.toContain(past.kid)
  expect((await withdraw(past.kid)).status).toBe(200)
  for (const on of scene.replicas) {
    await on.sweep()
    expect((await keys('x509', on)).find(({ kid }) => kid === past.kid)?.state).toBe('withdrawn')
  }
})

it('an authority that another replica has just made is found, and one that does not open too', async () => {
  for (let i = 0; i < 8; i++) {
    one.clock.advance(minute)
    await one.sweep()
  }
  // The second replica has not looked since.
  const known = await keys('x509', two)
  const fresh = (await keys('x509')).find(({ kid }) => !known.some(one => one.kid === kid))
  if (fresh) expect((await withdraw(fresh.kid, two)).status).toBe(200)
  const [row] = await one.sql<{ kid: string }>(
    `INSERT INTO signing_keys (kid, alg, published_at, active_at, ttl_max, private_key, wrapped_by, use, chain, root_kid)
      SELECT 'damaged', alg, published_at, active_at, ttl_max, private_key, wrapped_by, use, ARRAY['\\x00'::bytea], root_kid
      FROM signing_keys WHERE use = 'x509' LIMIT 1 RETURNING kid`,
  )
  expect((await withdraw(row!.kid)).status).toBe(200)
  expect(
    await one.sql(`SELECT kid FROM signing_keys WHERE kid = 'damaged' AND withdrawn_at IS NULL`),
  ).toEqual([])
  await one.sql(`DELETE FROM signing_keys WHERE kid = 'damaged'`)
})

it('invariant 3: mints that race with a withdrawal leave no live certificate of that authority', {
  timeout: 120_000,
}, async () => {
  let [before, after] = [0, 0]
  for (let round = 0; round < 4; round++) {
    for (let i = 0; i < 8; i++) {
      one.clock.advance(minute)
      for (const on of scene.replicas) await on.sweep()
    }
    const kid = (await keys('x509')).find(({ state }) => state === 'active')!.kid
    const attestation = scene.agent('runner')
    const launch = () =>
      Array.from({ length: 30 }, (_, i) => mintCertificate(scene.replicas[i % 2]!, attestation, task))
    const answers = launch()
    // Once at least there is something to kill, however slow the machine is.
    const soon = round === 0 ? [] : [new Promise(resolve => setTimeout(resolve, Math.random() * 20))]
    await Promise.race([...answers, ...soon])
    const withdrawing = withdraw(kid)
    answers.push(...launch())
    expect((await withdrawing).status).toBe(200)
    answers.push(...launch().slice(0, 2))
    const of = () => one.sql<{ jti: string }>('SELECT jti FROM credentials WHERE kid = $1', [kid])
    const committed = await of()
    const jtis = (await Promise.all(answers)).flatMap(({ status, body }) =>
      status === 201 ? [body.jti] : [],
    )
    expect(await of()).toHaveLength(committed.length)
    const dead = jtis.filter(jti => committed.some(row => row.jti === jti))
    const alive = jtis.filter(jti => !committed.some(row => row.jti === jti))
    for (const jti of dead.slice(-20)) expect(await lives(jti)).toEqual([false, false])
    for (const jti of alive.slice(-20)) expect(await lives(jti)).toEqual([true, true])
    before += dead.length
    after += alive.length
  }
  expect(Math.min(before, after)).toBeGreaterThan(0)
})
