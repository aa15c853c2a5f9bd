import { randomBytes, randomUUID } from 'node:crypto'
import { deflateRawSync, deflateSync, gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { statusAt } from '../../src/verifier/status-list.ts'
import { type ListOptions, newKey, packed, type SigningKey } from './scripted-broker.ts'
import { type Followed, refusal, startFollowed, until } from './verifiers.ts'

let other: SigningKey
beforeAll(async () => {
  other = await newKey()
})

let followed: Followed
/** The broker's lists can be had, its feed cannot. */
beforeEach(async () => {
  followed = await startFollowed()
  const { broker, time, verifier } = followed
  broker.onFeed = connection => connection.cut()
  for (const feed of broker.feeds) feed.cut()
  await until(() => broker.feeds.length === 0)
  time.pass(20_000)
  expect(verifier.state().fresh).toBe(false)
})
afterEach(() => followed.close())

const token = (uri: string, idx = 0, claims: object = {}) =>
  followed.broker.token({ status: { status_list: { idx, uri } }, ...claims })

/** How a token fares whose status list is made so. */
async function with_(options: ListOptions, idx = 0): Promise<string | null> {
  return refusal(followed.verifier, await token(await followed.broker.list(options), idx))
}

describe('the feed is silent: the status list is asked', () => {
  test.each([
    [0, null],
    [1, 'credential_revoked'],
    [2, 'credential_suspended'],
    [3, 'status_unknown'],
  ])('status %i: %s', async (status, code) => {
    const around = [1, 3, 2]
    for (let idx = 0; idx < 4; idx++)
      expect(await with_({ statuses: [...around.slice(0, idx), status, 1, 2, 3] }, idx)).toBe(code)
  })

  test('of 1, 2, 4 or 8 bits', async () => {
    for (const bits of [1, 2, 4, 8]) {
      const statuses = Array.from({ length: 16 }, (_, index) => index % 2)
      for (const idx of [0, 1, 7, 8, 14, 15])
        expect(await with_({ bits, statuses }, idx)).toBe(idx % 2 ? 'credential_revoked' : null)
    }
    expect(await with_({ bits: 8, statuses: [0x0b] })).toBe('status_unknown')
  })

  test('what is known to be dead in memory stays refused, whatever the list says', async () => {
    const { broker, verifier } = followed
    const task_id = randomUUID()
    broker.onFeed = connection => {
      const held = broker.snapshot({
        tasks: [{ task_id, state: 'closed', ver: 1, until: broker.until() }],
      })
      connection.write(held)
      broker.onFeed = again => again.cut()
      setTimeout(connection.cut, 50)
    }
    await until(() => verifier.state().dead === 1)
    const text = await token(await broker.list(), 0, { task_id })
    expect(await refusal(verifier, text)).toBe('task_closed')
  })

  test('it is fetched once for many, and kept for as long as it may be', async () => {
    const { broker, verifier, time } = followed
    const id = randomUUID()
    const uri = await broker.list({ id, claims: { ttl: 5 } })
    const path = `/status-lists/${id}`
    const texts = await Promise.all(Array.from({ length: 40 }, (_, idx) => token(uri, idx % 4)))
    const codes = () => Promise.all(texts.map(text => refusal(verifier, text)))
    expect(await codes()).toEqual(texts.map(() => null))
    expect(broker.asked[path]).toBe(1)
    time.pass(4_900)
    await codes()
    expect(broker.asked[path]).toBe(1)
    // ttl
    time.pass(200)
    await codes()
    expect(broker.asked[path]).toBe(2)
  })

  test('without a ttl it is kept for no longer than `maxStaleness`', async () => {
    const { broker, verifier, time } = followed
    const id = randomUUID()
    const text = await token(await broker.list({ id, claims: { ttl: undefined } }))
    expect(await refusal(verifier, text)).toBeNull()
    time.pass(9_000)
    expect(await refusal(verifier, text)).toBeNull()
    expect(broker.asked[`/status-lists/${id}`]).toBe(1)
    time.pass(1_100)
    expect(await refusal(verifier, text)).toBeNull()
    expect(broker.asked[`/status-lists/${id}`]).toBe(2)
  })

  test('a wall clock that was set back keeps no list for longer', async () => {
    const { broker, verifier, time } = followed
    const id = randomUUID()
    const text = await token(await broker.list({ id }))
    expect(await refusal(verifier, text)).toBeNull()
    time.setWall(-3_600_000)
    time.pass(5_100)
    await refusal(verifier, text)
    expect(broker.asked[`/status-lists/${id}`]).toBe(2)
  })

  test('nor does it make an old list young: the database’s clock is remembered', async () => {
    const { broker, verifier, time } = followed
    const iat = Math.floor(time.database() / 1000)
    const text = await token(await broker.list({ claims: { iat, exp: undefined } }))
    expect(await refusal(verifier, text)).toBeNull()
    time.pass(60_000)
    time.setWall(-60_000)
    expect(await refusal(verifier, text)).toBe('status_stale')
  })

  test('of many large ones the oldest make way', async () => {
    const { broker, verifier } = followed
    const lst = deflateSync(Buffer.alloc(16 * 1024 * 1024)).toString('base64url')
    const ids = Array.from({ length: 5 }, () => randomUUID())
    for (const id of [...ids, ids[4], ids[0]] as string[]) {
      const uri = broker.answers.has(`/status-lists/${id}`)
        ? `${broker.issuer}/status-lists/${id}`
        : await broker.list({ id, bits: 8, lst })
      expect(await refusal(verifier, await token(uri))).toBeNull()
    }
    expect(ids.map(id => broker.asked[`/status-lists/${id}`])).toEqual([2, 1, 1, 1, 1])
  })

  test('when the feed comes back, it is trusted again', async () => {
    const { broker, verifier } = followed
    const text = await broker.token()
    expect(await refusal(verifier, text)).toBe('status_missing')
    broker.onFeed = connection => connection.write(broker.snapshot() + broker.tick())
    await until(() => verifier.state().fresh)
    expect(await refusal(verifier, text)).toBeNull()
  })

  test('a feed that comes back while a list is waited for is believed', async () => {
    const { broker, verifier } = followed
    const id = randomUUID()
    const uri = await broker.list({ id })
    let answer = () => {}
    broker.answers.set(`/status-lists/${id}`, (_, response) => {
      answer = () => response.writeHead(503).end()
    })
    const refused = refusal(verifier, await token(uri))
    await until(() => broker.asked[`/status-lists/${id}`])
    broker.onFeed = connection => connection.write(broker.snapshot() + broker.tick())
    await until(() => verifier.state().fresh)
    answer()
    expect(await refused).toBeNull()
  })

  test('what dies while a list is waited for is refused', async () => {
    const { broker, verifier } = followed
    const id = randomUUID()
    const task_id = randomUUID()
    const uri = await broker.list({ id })
    const good = broker.answers.get(`/status-lists/${id}`)
    let answer = () => {}
    broker.answers.set(`/status-lists/${id}`, (request, response) => {
      answer = () => good?.(request, response)
    })
    const refused = refusal(verifier, await token(uri, 0, { task_id }))
    await until(() => broker.asked[`/status-lists/${id}`])
    broker.onFeed = connection =>
      connection.write(
        broker.snapshot() + broker.event('task', { task_id, state: 'closed', ver: 1, until: broker.until() }),
      )
    await until(() => verifier.state().dead === 1)
    answer()
    expect(await refused).toBe('task_closed')
  })
})

describe('a list is refused', () => {
  const now = () => Math.floor(followed.time.database() / 1000)

  test('that is older than allowed, by what it says itself', async () => {
    expect(await with_({ claims: { iat: now() - 14 } })).toBeNull()
    expect(await with_({ claims: { iat: now() - 17 } })).toBe('status_stale')
    expect(await with_({ claims: { iat: now() - 3_600, exp: now() + 60 } })).toBe('status_stale')
  })

  test('that is from the future', async () => {
    expect(await with_({ claims: { iat: now() + 4 } })).toBeNull()
    expect(await with_({ claims: { iat: now() + 7 } })).toBe('status_stale')
  })

  test('that has expired', async () => {
    expect(await with_({ claims: { exp: now() } })).toBe('status_stale')
    expect(await with_({ claims: { exp: now() - 100 } })).toBe('status_stale')
  })

  test('that does not say when it was made', async () => {
    expect(await with_({ claims: { iat: undefined } })).toBe('status_malformed')
    expect(await with_({ claims: { iat: 'now' } })).toBe('status_malformed')
  })

  test('that is signed by a key that is not published', async () => {
    expect(await with_({ key: other })).toBe('status_key_refused')
  })

  test('that is signed by another key under a published name', async () => {
    expect(await with_({ key: await newKey('ES256', followed.broker.key.kid) })).toBe('status_key_refused')
  })

  test('that is signed by a key that was withdrawn, as the feed told before it fell silent', async () => {
    const { broker, verifier, time } = followed
    broker.jwks.push(other.jwk)
    broker.onFeed = connection => {
      connection.write(broker.snapshot({ keys: [{ kid: other.kid }] }) + broker.tick())
    }
    await until(() => verifier.state().fresh)
    broker.onFeed = connection => connection.cut()
    for (const feed of broker.feeds) feed.cut()
    time.pass(20_000)
    expect(await with_({ key: other })).toBe('status_key_refused')
    expect(await with_({})).toBeNull()
  })

  test('that is signed by a key that was withdrawn since: the published keys tell', async () => {
    const { broker, verifier, time } = followed
    broker.jwks.push(other.jwk)
    time.pass(20_000)
    const text = await token(await broker.list({ key: other }))
    expect(await refusal(verifier, text)).toBeNull()
    broker.jwks.pop()
    time.pass(11_000)
    expect(await refusal(verifier, text)).toBe('status_key_refused')
  })

  test('that is for another URI', async () => {
    const { issuer } = followed.broker
    expect(await with_({ claims: { sub: `${issuer}/status-lists/other` } })).toBe('status_other')
    expect(await with_({ claims: { sub: undefined } })).toBe('status_other')
    expect(await with_({ claims: { iss: 'https://other.example' } })).toBe('status_other')
    expect(await with_({ claims: { iss: undefined } })).toBeNull()
  })

  test('that has no such index', async () => {
    expect(await with_({ statuses: [0, 0, 0, 0] }, 3)).toBeNull()
    expect(await with_({ statuses: [0, 0, 0, 0] }, 4)).toBe('status_out_of_range')
    expect(await with_({ statuses: [0, 0, 0, 0] }, 2 ** 40)).toBe('status_out_of_range')
    expect(await with_({ statuses: [] }, 0)).toBe('status_out_of_range')
  })

  test.each<[string, ListOptions]>([
    ['is no status list', { typ: 'at+jwt' }],
    ['is no status list', { typ: 'JWT' }],
    ['has bits of another number', { claims: { status_list: { bits: 3, lst: 'eJxjYGAAAAADAAE' } } }],
    ['has no bits', { claims: { status_list: { lst: 'eJxjYGAAAAADAAE' } } }],
    ['has no list', { claims: { status_list: { bits: 2 } } }],
    ['has no list', { claims: { status_list: null } }],
    ['has no list', { claims: { status_list: undefined } }],
    ['has no list', { claims: { status_list: 'x' } }],
    ['is not compressed', { lst: Buffer.alloc(8).toString('base64url') }],
    ['is compressed otherwise', { lst: gzipSync(Buffer.alloc(8)).toString('base64url') }],
    ['is compressed otherwise', { lst: deflateRawSync(Buffer.alloc(8)).toString('base64url') }],
    ['is cut off', { lst: deflateSync(randomBytes(90)).subarray(0, 50).toString('base64url') }],
    ['is damaged', { lst: deflateSync(Buffer.alloc(8)).fill(7, 6).toString('base64url') }],
    ['is no base64url', { lst: '????' }],
    ['has a ttl that is none', { claims: { ttl: 'long' } }],
    ['has a ttl that is none', { claims: { ttl: 0 } }],
    ['has a ttl that is none', { claims: { ttl: -1 } }],
  ])('that %s: %j', async (_, options) => {
    expect(await with_(options)).toBe('status_malformed')
  })

  test('that unpacks to more than 16 MiB', async () => {
    const most = 16 * 1024 * 1024
    expect(await with_({ bits: 8, lst: deflateSync(Buffer.alloc(most)).toString('base64url') })).toBeNull()
    const bomb = deflateSync(Buffer.alloc(most + 1)).toString('base64url')
    expect(await with_({ bits: 8, lst: bomb })).toBe('status_malformed')
    const larger = deflateSync(Buffer.alloc(600 * 1024 * 1024)).toString('base64url')
    expect(await with_({ bits: 8, lst: larger })).toBe('status_malformed')
  })

  test.each([
    ['away', 503, ''],
    ['gone', 404, ''],
    ['elsewhere', 302, ''],
    ['empty', 200, ''],
    ['no token', 200, 'hello'],
    ['no token', 200, 'a.b.c'],
  ])('that is %s (%i)', async (_, status, body) => {
    const { broker, verifier } = followed
    const id = randomUUID()
    const text = await token(await broker.list({ id }))
    broker.answers.set('/elsewhere', broker.answers.get(`/status-lists/${id}`) ?? (() => {}))
    broker.answers.set(`/status-lists/${id}`, (_, response) =>
      response.writeHead(status, status === 302 ? { location: '/elsewhere' } : {}).end(body),
    )
    expect(await refusal(verifier, text)).toBe(status === 200 ? 'status_malformed' : 'status_unreachable')
    expect(broker.asked['/elsewhere']).toBeUndefined()
  })

  test('that is too long, or never ends', async () => {
    const { broker, verifier } = followed
    const id = randomUUID()
    const text = await token(await broker.list({ id }))
    broker.answers.set(`/status-lists/${id}`, (_, response) => {
      const megabyte = Buffer.alloc(1024 * 1024, 'x')
      const write = () => {
        if (!response.destroyed) response.write(megabyte, () => setImmediate(write))
      }
      write()
    })
    expect(await refusal(verifier, text)).toBe('status_unreachable')
  })

  test('that is not answered in time', async () => {
    const { broker, verifier } = followed
    const id = randomUUID()
    const text = await token(await broker.list({ id }))
    broker.answers.set(`/status-lists/${id}`, () => {})
    expect(await refusal(verifier, text)).toBe('status_unreachable')
  })

  test('without asking again and again for one that is too old', async () => {
    const { broker, verifier } = followed
    const id = randomUUID()
    const text = await token(await broker.list({ id, claims: { iat: now() - 60 } }))
    for (let tries = 0; tries < 30; tries++) expect(await refusal(verifier, text)).toBe('status_stale')
    expect(broker.asked[`/status-lists/${id}`]).toBe(1)
  })

  test('without asking again and again for one that could not be had', async () => {
    const { broker, verifier, time } = followed
    const id = randomUUID()
    const text = await token(await broker.list({ id }))
    const good = broker.answers.get(`/status-lists/${id}`)
    broker.answers.set(`/status-lists/${id}`, (_, response) => response.writeHead(503).end())
    for (let tries = 0; tries < 30; tries++) expect(await refusal(verifier, text)).toBe('status_unreachable')
    expect(broker.asked[`/status-lists/${id}`]).toBe(1)
    broker.answers.set(`/status-lists/${id}`, good ?? (() => {}))
    time.pass(1_001)
    expect(await refusal(verifier, text)).toBeNull()
  })

  test('of whatever is not the issuer’s: it is not even asked', async () => {
    const { broker, verifier } = followed
    const { issuer } = broker
    const elsewhere = await startFollowed()
    const foreign = await elsewhere.broker.list()
    const good = await broker.list({ id: 'good' })
    for (const uri of [
      foreign,
      `${issuer}/status-lists/`,
      `${issuer}/status-lists`,
      `${issuer}/status-lists/../secret`,
      `${issuer}/status-lists/%2e%2e/secret`,
      `${issuer}/status-lists/a/b`,
      `${good}?x`,
      `${good}#x`,
      `${good}/`,
      `${good} `,
      `${issuer}/status-listsgood`,
      good.replace('http://', 'http://a:b@'),
      good.replace('http:', 'HTTP:'),
      good.replace('127.0.0.1', 'localhost'),
      good.replace('/status-lists', '//status-lists'),
      good.replace('http:', 'file:'),
      'x',
    ])
      expect(await refusal(verifier, await token(uri)), uri).toBe('status_foreign')
    expect(elsewhere.broker.asked[new URL(foreign).pathname]).toBeUndefined()
    expect(Object.keys(broker.asked).filter(path => path !== '/v1/revocations')).toEqual([
      '/.well-known/jwks.json',
    ])
    expect(await refusal(verifier, await token(good))).toBeNull()
    await elsewhere.close()
  })
})

describe('both are away', () => {
  test('refused, and again when they are back', async () => {
    const { broker, verifier } = followed
    const text = await token(await broker.list())
    expect(await refusal(verifier, text)).toBeNull()
    await broker.close()
    followed.time.pass(11_000)
    expect(await refusal(verifier, text)).toBe('keys_unavailable')
  })

  test('a token is never asked about before its signature is verified', async () => {
    const { broker, verifier } = followed
    const id = randomUUID()
    const uri = await broker.list({ id })
    const forged = await broker.token(
      { status: { status_list: { idx: 0, uri } } },
      { key: await newKey('ES256', broker.key.kid) },
    )
    expect(await refusal(verifier, forged)).toBe('signature_wrong')
    expect(broker.asked[`/status-lists/${id}`]).toBeUndefined()
  })

  test('a token whose key was withdrawn since is refused by the published keys', async () => {
    const { broker, verifier, time } = followed
    const uri = await broker.list({ key: other })
    broker.jwks.push(other.jwk)
    time.pass(11_000)
    const text = await token(uri)
    expect(await refusal(verifier, text)).toBeNull()
    broker.jwks = [other.jwk]
    time.pass(11_000)
    expect(await refusal(verifier, text)).toBe('key_unknown')
  })

  test('keys out of a cache prove nothing', async () => {
    const { broker, verifier, time } = followed
    const text = await token(await broker.list())
    broker.answers.set('/.well-known/jwks.json', (_, response) =>
      response.writeHead(200, { age: '60' }).end(JSON.stringify({ keys: broker.jwks })),
    )
    time.pass(11_000)
    expect(await refusal(verifier, text)).toBe('keys_unavailable')
  })
})

test('each status is read back as it was packed: property', () => {
  fc.assert(
    fc.property(fc.constantFrom(1, 2, 4, 8), fc.array(fc.nat(255), { maxLength: 50 }), (bits, numbers) => {
      const statuses = numbers.map(number => number & (2 ** bits - 1))
      const list = { kid: 'k', issuedAt: 0, expiresAt: 1, ttl: 1, bits, bytes: packed(statuses, bits) }
      expect(statuses.map((_, idx) => statusAt(list, idx))).toEqual(statuses)
      expect(() => statusAt(list, list.bytes.length * (8 / bits))).toThrow()
    }),
  )
})

test('the list of the draft’s example (§4.1) reads as the draft says', () => {
  const list = { kid: 'k', issuedAt: 0, expiresAt: 1, ttl: 1 }
  const one = { ...list, bits: 1, bytes: Uint8Array.of(0xb9, 0xa3) }
  expect(Array.from({ length: 16 }, (_, idx) => statusAt(one, idx))).toEqual([
    1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 1, 0, 1,
  ])
  const two = { ...list, bits: 2, bytes: Uint8Array.of(0xc9, 0x44, 0xf9) }
  expect(Array.from({ length: 12 }, (_, idx) => statusAt(two, idx))).toEqual([
    1, 2, 0, 3, 0, 1, 0, 1, 1, 2, 3, 3,
  ])
})
