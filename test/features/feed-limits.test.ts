import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { type FeedReader, readFeed } from '../support/feed-reader.ts'
import { type Scene, startScene, subjectClaims } from '../support/scene.ts'

/** A bound for a machine that does much else besides. */
const soon = { timeout: 10_000 }

const limits = { readers: 8, anonymous: 5, perAddress: 2, perPrincipal: 2 }

let scene: Scene
beforeAll(async () => {
  scene = await startScene({
    config: {
      feed: limits,
      listen: { host: '127.0.0.1', port: 0, metricsPort: 0, mtls: null, trustedProxies: ['127.0.0.1'] },
    },
  })
})
afterAll(() => scene?.close())

const all: FeedReader[] = []
async function reader(options: Parameters<typeof readFeed>[1]): Promise<FeedReader> {
  const one = await readFeed(scene.broker.url, options)
  all.push(one)
  return one
}
const from = (address: string) => reader({ headers: { 'X-Forwarded-For': address } })
const as = (name: string) => reader({ token: scene.agent(name) })
const statuses = (readers: FeedReader[]) => readers.map(({ status }) => status)
const metric = async (name: string) => {
  const text = await (await fetch(scene.broker.metricsUrl ?? '')).text()
  return Number(
    text
      .split('\n')
      .find(line => line.startsWith(`${name} `))
      ?.split(' ')[1] ?? 0,
  )
}
const readers = () =>
  Promise.all(['anonymous', 'authenticated'].map(view => metric(`hallpass_feed_readers{view="${view}"}`)))

afterEach(async () => {
  for (const one of all.splice(0)) one.cut()
  await expect.poll(readers, soon).toEqual([0, 0])
})

test('one address has a number of places for readers who do not say who they are, and others have theirs', async () => {
  const one = [await from('192.0.2.1'), await from('192.0.2.1'), await from('192.0.2.1')]
  expect(statuses(one)).toEqual([200, 200, 429])
  expect(one[2]?.headers['retry-after']).toMatch(/^[1-9]/)
  expect((await from('192.0.2.2')).status).toBe(200)
  // A place that is left is free again.
  one[0]?.cut()
  await expect.poll(async () => (await from('192.0.2.1')).status, soon).toBe(200)
})

test('an IPv6 network of 64 bits is one address', async () => {
  const one = [await from('2001:db8::1'), await from('2001:db8::ffff:1'), await from('2001:db8:0:0:1::')]
  expect(statuses(one)).toEqual([200, 200, 429])
  expect((await from('2001:db8:0:1::1')).status).toBe(200)
})

test('a principal has a number of places, however many attestations it brings, and others have theirs', async () => {
  const one = [await as('a'), await as('a'), await as('a')]
  expect(statuses(one)).toEqual([200, 200, 429])
  expect((await as('b')).status).toBe(200)
  one[0]?.cut()
  await expect.poll(async () => (await as('a')).status, soon).toBe(200)
})

test('a reader who said who it is keeps its place no longer than its attestation is good for', async () => {
  const expired = scene.agents.sign(subjectClaims('brief', { now: Date.now() - 327_000 }))
  const brief = await reader({ token: expired })
  expect(brief.status).toBe(200)
  await expect.poll(readers, soon).toEqual([0, 0])
})

test('readers who do not say who they are never take the places that are kept for those who do', async () => {
  const anonymous: FeedReader[] = []
  for (let n = 1; n <= 7; n++) anonymous.push(await from(`198.51.100.${n}`))
  expect(statuses(anonymous)).toEqual([200, 200, 200, 200, 200, 429, 429])
  const known = [await as('a'), await as('b'), await as('c')]
  expect(statuses(known)).toEqual([200, 200, 200])
  expect(await readers()).toEqual([5, 3])

  const full = await scene.broker.client.request('GET', '/v1/revocations', { token: scene.agent('b') })
  expect([full.status, full.body.code, full.headers.get('Retry-After')]).toEqual([503, 'unavailable', '5'])
  const refused = await scene.broker.client.request('GET', '/v1/revocations')
  expect([refused.status, refused.body.code, refused.headers.get('Retry-After')]).toEqual([
    429,
    'rate_limited',
    '5',
  ])
  // HEAD takes none.
  expect((await scene.broker.client.request('HEAD', '/v1/revocations')).status).toBe(200)
})

test('those who say who they are may have them all, from one address, and then there are none for others', async () => {
  const known = await Promise.all(Array.from({ length: 8 }, (_, n) => as(`a-${n}`)))
  expect(new Set(statuses(known))).toEqual(new Set([200]))
  expect((await from('203.0.113.1')).status).toBe(429)
})

test('a stream is in no metric of how long requests take, and the record is in those of what was read', async () => {
  const one = await from('203.0.113.7')
  await one.find(({ event }) => event === 'tick')
  one.cut()
  await expect.poll(readers, soon).toEqual([0, 0])
  const text = await (await fetch(scene.broker.metricsUrl ?? '')).text()
  expect(text).not.toContain('operation="GET /v1/revocations",status="200"')
  expect(text).toContain('operation="GET /v1/revocations",status="429"')
  expect(await metric('hallpass_record_seq')).toBe(0)
  expect(await metric('hallpass_record_read_timestamp_seconds')).toBeGreaterThan(Date.now() / 1000 - 60)
})
