import { decodeProtectedHeader } from 'jose'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { newId } from '../../src/ids.ts'
import {
  act,
  claimsOf,
  headerOf,
  isActive,
  minted,
  opened,
  type Scene,
  startScene,
} from '../support/scene.ts'
import { getList, listPath, placeOf, readList, statusOf } from '../support/status-list-reader.ts'

let scene: Scene
let broker: Scene['broker']
let token: string
let uri: string
beforeAll(async () => {
  scene = await startScene()
  broker = scene.broker
  // So that it can be set back, and the key was signing then.
  broker.clock.advance(60_000)
  token = await mint()
  uri = placeOf(token).uri
})
afterAll(() => scene?.close())

async function mint({ broker: on, agent } = scene): Promise<string> {
  const task = await opened(on, agent('a'))
  return (await minted(on, agent('a'), { task_id: task.id })).access_token
}
const get = (headers: Record<string, string> = {}, query = '') =>
  broker.client.request<string>('GET', `${listPath(broker, uri)}${query}`, { headers })

const patiently = { timeout: 20_000 }

/** Not from before it was asked for, but for the second that it may be served again, and not from the future. */
function mustBeOf(iat: number | undefined, asked: number): void {
  expect(iat).toBeGreaterThanOrEqual(Math.floor((asked - 1_000) / 1000))
  expect(iat).toBeLessThanOrEqual(broker.clock.now() / 1000)
}

describe('the token of a list', () => {
  test('is the standard’s: type, key, subject, times, two bits for each of a million', async () => {
    const asked = broker.clock.now()
    const { claims, reply, statusAt } = await readList(broker, uri)
    mustBeOf(claims.iat, asked)
    const { alg, kid, typ, ...others } = decodeProtectedHeader(reply.text)
    expect({ alg, kid, typ, others }).toEqual({ ...headerOf(token), typ: 'statuslist+jwt', others: {} })
    const { iat, ...rest } = claims
    expect(rest).toEqual({
      iss: broker.issuer,
      sub: uri,
      exp: (iat as number) + 60,
      ttl: 5,
      status_list: { bits: 2, lst: expect.stringMatching(/^[\w-]+$/) },
    })
    expect(statusAt(2 ** 20 - 1)).toBe(0)
    expect(() => statusAt(2 ** 20)).toThrow(RangeError)
  })

  test('is no access token, and proves nothing to the broker', async () => {
    const list = (await get()).text
    expect(await isActive(broker, scene.agent('service'), list)).toBe(false)
    expect((await broker.client.request('GET', '/v1/tasks', { token: list })).status).toBe(401)
  })

  test('is signed again when it is a second old, and at once when something in it has changed', async () => {
    // Unless a second went by just then.
    const first = await vi.waitUntil(async () => {
      const [before, after] = [await get(), await get()]
      return before.text === after.text && after.text
    }, patiently)
    broker.clock.advance(1_000)
    const second = await readList(broker, uri)
    expect(second.reply.text).not.toBe(first)
    const other = await mint()
    const [task] = await broker.sql<{ task_id: string }>(
      'SELECT task_id FROM credentials WHERE status_idx = $1',
      [placeOf(other).idx],
    )
    expect(await statusOf(broker, other)).toBe(0)
    await act(broker, scene.agent('a'), task!.task_id, 'close')
    expect(await statusOf(broker, other)).toBe(1)
  })

  test('carries the time of its clock, however that jumps', async () => {
    for (const jump of [-7_000, 3_000, -3_000, 7_000]) {
      broker.clock.advance(jump)
      const asked = broker.clock.now()
      mustBeOf((await readList(broker, uri)).claims.iat, asked)
    }
  })
})

describe('the answer', () => {
  test('may be kept for no longer than the ttl, by anybody, and read by any page', async () => {
    const { headers } = await get()
    expect(headers.get('Content-Type')).toBe('application/statuslist+jwt')
    expect(headers.get('Cache-Control')).toMatch(/^public, max-age=[0-5]$/)
    expect(headers.get('Access-Control-Allow-Origin')).toBe('*')
    expect(headers.get('Vary')).toBe('Accept-Encoding')
  })

  test('is compressed for those who ask for it, and each form has an entity tag of its own', async () => {
    const forms = async () => {
      const zipped = await get({ 'Accept-Encoding': 'gzip' })
      const plain = await get({ 'Accept-Encoding': 'identity' })
      const refused = await get({ 'Accept-Encoding': 'gzip;q=0, br' })
      return {
        zipped,
        plain,
        refused,
        isOne: new Set([zipped, plain, refused].map(({ text }) => text)).size === 1,
      }
    }
    // Unless it was signed again in between.
    const { zipped, plain, refused } = await vi.waitUntil(async () => {
      const all = await forms()
      return all.isOne && all
    }, patiently)
    expect(zipped.headers.get('Content-Encoding')).toBe('gzip')
    for (const { headers } of [plain, refused]) expect(headers.get('Content-Encoding')).toBeNull()
    expect(plain.headers.get('ETag')).toBe(refused.headers.get('ETag'))
    expect(plain.headers.get('ETag')).not.toBe(zipped.headers.get('ETag'))
    expect(Number(plain.headers.get('Content-Length'))).toBe(plain.text.length)
  })

  test('is 304 for those who have these very bytes, with the same headers', async () => {
    const forms = (etag: string) => [etag, `W/${etag}`, `"other", ${etag}`, '*']
    for (const [n] of forms('').entries()) {
      const [first, again] = await vi.waitUntil(async () => {
        const before = await get()
        const tags = forms(before.headers.get('ETag') as string)[n] as string
        const after = await get({ 'If-None-Match': tags })
        return after.headers.get('ETag') === before.headers.get('ETag') && ([before, after] as const)
      }, patiently)
      expect([again.status, again.text]).toEqual([304, ''])
      expect(again.headers.get('Cache-Control')).toMatch(/^public, max-age=[0-5]$/)
      for (const name of ['Vary', 'Access-Control-Allow-Origin'])
        expect(again.headers.get(name)).toBe(first.headers.get(name))
    }
    const etag = (await get()).headers.get('ETag') as string
    for (const tags of ['"other"', etag.slice(0, -1), etag.replaceAll('"', '')])
      expect((await get({ 'If-None-Match': tags })).status).toBe(200)
    broker.clock.advance(1_000)
    const signedAgain = await get({ 'If-None-Match': etag })
    expect(signedAgain.status).toBe(200)
    expect(signedAgain.headers.get('ETag')).not.toBe(etag)
  })

  test('has no body for HEAD, and all else', async () => {
    const head = await broker.client.request('HEAD', listPath(broker, uri))
    expect([head.status, head.text]).toEqual([200, ''])
    expect(head.headers.get('Content-Type')).toBe('application/statuslist+jwt')
    expect(Number(head.headers.get('Content-Length'))).toBeGreaterThan(0)
  })

  test('is a JWT whatever is accepted: there is nothing else', async () => {
    const { status, headers } = await get({ Accept: 'application/statuslist+cwt' })
    expect([status, headers.get('Content-Type')]).toEqual([200, 'application/statuslist+jwt'])
  })

  test('is for a time at which the list holds, and 404 for any other: what was is not kept', async () => {
    const { iat, exp } = (await readList(broker, uri)).claims as { iat: number; exp: number }
    const at = async (time: number | string) => (await get({}, `?time=${time}`)).status
    expect([await at(iat + 1), await at(exp - 3)]).toEqual([200, 200])
    expect([await at(iat - 60), await at(exp + 60), await at(0)]).toEqual([404, 404, 404])
    for (const time of ['', '-1', '1e9', ' 1', '01', 'now', `${iat}.5`]) expect(await at(time)).toBe(400)
    expect((await get({}, `?time=${iat}&time=${iat}`)).status).toBe(400)
    expect((await get({}, '?at=1')).status).toBe(400)
  })

  test('is 404 for a list that there is not', async () => {
    for (const id of [newId(), uri.slice(-36).toUpperCase(), 'x', '%00', `${uri.slice(-36)}0`]) {
      const reply = await broker.client.request<{ code: string }>('GET', `/status-lists/${id}`)
      expect([reply.status, reply.body.code]).toEqual([404, 'not_found'])
      expect(reply.headers.get('Cache-Control')).toBe('no-store')
    }
  })

  test('is one for all who ask at once: the list is built and signed once', async () => {
    broker.clock.advance(1_000)
    const replies = await Promise.all(Array.from({ length: 64 }, () => getList(broker, uri)))
    // An ES256 signature is another each time, and whatever is signed again is a second younger.
    const texts = new Set(replies.map(({ text }) => text))
    expect(new Set([...texts].map(text => claimsOf(text).iat)).size).toBe(texts.size)
  })
})

test('tokens of another algorithm have lists of their own, which are signed with that one too', async () => {
  const credentials = {
    ttlDefault: 300_000,
    ttlMax: 900_000,
    signingAlg: 'EdDSA' as const,
    signingAlgFor: { 'https://es.example': 'ES256' as const },
  }
  const other = await startScene({ config: { credentials, issuer: 'https://hallpass.test/some/path' } })
  const task = await opened(other.broker, other.agent('a', { aud: 'https://hallpass.test' }))
  const [eddsa, es256] = await Promise.all(
    ['https://deploy.example', 'https://es.example'].map(audience =>
      minted(other.broker, other.agent('a'), { task_id: task.id, audience }),
    ),
  )
  const places = [eddsa, es256].map(({ access_token } = { access_token: '' } as never) =>
    placeOf(access_token),
  )
  expect(places[0]!.uri).not.toBe(places[1]!.uri)
  for (const place of places) {
    const { reply, statusAt } = await readList(other.broker, place.uri)
    expect(decodeProtectedHeader(reply.text).alg).toBe(place === places[0] ? 'EdDSA' : 'ES256')
    expect(statusAt(place.idx)).toBe(0)
    // At its full address too, where the proxy in front leaves the path as it is.
    const below = await fetch(new URL(new URL(place.uri).pathname, other.broker.url))
    expect(claimsOf(await below.text()).sub).toBe(place.uri)
  }
  // Where that algorithm signs no more, the configured one does.
  await other.broker.sql(
    `UPDATE signing_keys SET retired_at = now(), active_at = now() + '1 day' WHERE alg = 'ES256'`,
  )
  await other.broker.sweep().catch(() => {})
  const { reply, statusAt } = await readList(other.broker, places[1]!.uri)
  expect([decodeProtectedHeader(reply.text).alg, statusAt(places[1]!.idx)]).toEqual(['EdDSA', 0])
  await other.close()
})

test('those who ask too often are told so', async () => {
  const limited = await startScene({ config: { limits: { principal: null, address: 20 } } })
  const list = placeOf(await mint(limited)).uri
  const statuses = async () => {
    const replies = await Promise.all(Array.from({ length: 40 }, () => getList(limited.broker, list)))
    return replies.map(({ status }) => status)
  }
  await expect.poll(statuses, { timeout: 10_000 }).toContain(429)
  await limited.close()
})
