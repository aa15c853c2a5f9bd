import { once } from 'node:events'
import { connect } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type FeedReader, readFeed } from '../support/feed-reader.ts'
import { aRevokedCredential, aWithdrawnKey, openRecord, type TestRecord } from '../support/record.ts'
import { act, claimsOf, minted, opened, patchContext, type Scene, startScene } from '../support/scene.ts'

/** A bound for a machine that does much else besides. */
const soon = { timeout: 10_000 }

let scene: Scene
let record: TestRecord
beforeAll(async () => {
  scene = await startScene({ replicas: 2 })
  record = openRecord(scene.broker.databaseUrl)
})
afterAll(async () => {
  await record?.close()
  await scene?.close()
})

const readers: FeedReader[] = []
afterAll(() => {
  for (const reader of readers) reader.cut()
})

const follow = async (options: Parameters<typeof readFeed>[1] & { on?: number } = {}) => {
  const reader = await readFeed(scene.replicas[options.on ?? 0]!.url, options)
  readers.push(reader)
  return reader
}
const aTask = (context: Record<string, string> = { ticket: '1' }) =>
  opened(scene.broker, scene.agent('owner'), { context, bind: Object.keys(context) })
const owner = () => scene.agent('owner')
const taskOf = (reader: FeedReader, id: string, state?: string) =>
  reader.find(
    ({ event, data }) => event === 'task' && data.task_id === id && data.state === (state ?? data.state),
  )

describe('the head', () => {
  test('is of a stream that nobody is to keep or hold back', async () => {
    const { status, headers } = await follow()
    expect(status).toBe(200)
    expect(headers).toMatchObject({
      'content-type': 'text/event-stream',
      'cache-control': 'no-store',
      'x-accel-buffering': 'no',
      connection: 'close',
    })
    expect(headers['x-request-id']).toBeDefined()
    expect(headers).not.toHaveProperty('transfer-encoding')
    expect(headers).not.toHaveProperty('content-encoding')
  })

  test('is all that HEAD gets, and takes no place', async () => {
    const { status, headers, text } = await scene.broker.client.request('HEAD', '/v1/revocations')
    expect([status, headers.get('Content-Type'), text]).toEqual([200, 'text/event-stream', ''])
  })

  test('comes before everything else, with a time to come back after', async () => {
    const socket = connect(Number(new URL(scene.broker.url).port), '127.0.0.1')
    socket.write('GET /v1/revocations HTTP/1.1\r\nHost: hallpass\r\n\r\n')
    let text = ''
    socket.setEncoding('utf8').on('data', chunk => {
      text += chunk
    })
    await expect.poll(() => text, soon).toContain('event: tick')
    socket.destroy()
    const [, body = ''] = text.split('\r\n\r\n')
    expect(body).toMatch(
      /^retry: \d{3,4}\n\nid: [0-9a-f]{16}-\d+\nevent: snapshot\ndata: \{.*\}\n\nevent: tick\ndata: /,
    )
  })

  test('is refused to a request that shares its connection with one before it', async () => {
    const socket = connect(Number(new URL(scene.broker.url).port), '127.0.0.1')
    const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: hallpass\r\n\r\n`
    // The first one never ends, so that the second waits behind it.
    socket.write(get('/v1/revocations') + get('/v1/revocations'))
    let text = ''
    socket.setEncoding('utf8').on('data', chunk => {
      text += chunk
    })
    await expect.poll(() => text, soon).toContain('event: tick')
    expect(text.match(/HTTP\/1\.1/g)).toHaveLength(1)
    expect(text.match(/event: snapshot/g)).toHaveLength(1)
    socket.destroy()
  })

  test.each([['?since=1'], ['?lastEventId=x']])('is not given to %s', async query => {
    const { status, body } = await scene.broker.client.request('GET', `/v1/revocations${query}`)
    expect([status, body.code]).toEqual([400, 'malformed'])
  })
})

describe('each kind of end', () => {
  test('of a task: suspended, resumed, changed, closed, each with its own state and version', async () => {
    const reader = await follow({ token: owner() })
    const { id, deadline } = await aTask()
    await act(scene.broker, owner(), id, 'suspend')
    await act(scene.broker, owner(), id, 'resume')
    await patchContext(scene.broker, owner(), id, { ticket: '2' })
    await act(scene.broker, owner(), id, 'close', { outcome: 'failed' })
    await taskOf(reader, id, 'closed')
    const events = reader.events.filter(({ data }) => data.task_id === id)
    expect(events.map(({ data: { state, ver, reason } }) => [state, ver, reason])).toEqual([
      ['suspended', 1, undefined],
      ['open', 1, undefined],
      ['open', 2, 'context_changed'],
      ['closed', 2, 'failed'],
    ])
    // Ordered, without a gap, under one epoch.
    const numbers = events.map(({ id: name }) => Number(name?.split('-')[1]))
    expect(numbers).toEqual(numbers.map((_, i) => numbers[0]! + i))
    expect(new Set(events.map(({ id: name }) => name?.split('-')[0])).size).toBe(1)
    for (const { data } of events) {
      expect(Date.parse(data.until)).toBeGreaterThan(Date.parse(data.at))
      expect(Date.parse(data.until)).toBeLessThanOrEqual(Date.parse(deadline))
    }
  })

  test('of a credential', async () => {
    const reader = await follow({ token: owner() })
    const { id } = await aTask()
    const { access_token } = await minted(scene.broker, owner(), { task_id: id })
    const { jti, exp } = claimsOf(access_token)
    await act(scene.broker, owner(), id, 'heartbeat')
    await scene.broker.client.request('POST', `/v1/credentials/${jti}/revoke`, { token: owner(), json: {} })
    const { event, data } = await reader.find(one => one.data.jti === jti)
    expect(event).toBe('credential')
    expect(data).toEqual({ jti, reason: 'revoked', at: data.at, until: new Date(exp * 1000).toISOString() })
  })

  test('of everything that a key signed', async () => {
    const reader = await follow({ token: owner() })
    const withdrawn = aWithdrawnKey('a-key')
    await record.append([withdrawn])
    const { event, data } = await reader.find(one => one.data.kid === 'a-key')
    expect([event, data]).toEqual(['key', { kid: 'a-key', at: withdrawn.at.toISOString() }])
    const later = await (await follow()).find(one => one.event === 'snapshot')
    expect(later.data.keys).toEqual([data])
  })

  test('is told on every replica under the same id, whichever it happened on', async () => {
    const both = await Promise.all([follow({ on: 0 }), follow({ on: 1 })])
    const { id } = await aTask()
    await act(scene.replicas[1]!, owner(), id, 'close')
    const [one, two] = await Promise.all(both.map(reader => taskOf(reader, id)))
    expect(one).toEqual(two)
  })
})

describe('a snapshot', () => {
  test('has all that still matters, of each task the latest, and nothing else', async () => {
    const [closed, suspended, resumed, changed, changedAndClosed, changedAndResumed, untouched] =
      await Promise.all(Array.from({ length: 7 }, () => aTask())).then(
        tasks => tasks.map(({ id }) => id) as [string, string, string, string, string, string, string],
      )
    const { access_token } = await minted(scene.broker, owner(), { task_id: untouched })
    const { jti } = claimsOf(access_token)
    for (const [id, ...steps] of [
      [closed, 'close'],
      [suspended, 'suspend'],
      [resumed, 'suspend', 'resume'],
      [changed, 'change'],
      [changedAndClosed, 'change', 'close'],
      [changedAndResumed, 'change', 'suspend', 'resume'],
    ] as [string, ...string[]][]) {
      for (const step of steps)
        if (step === 'change') await patchContext(scene.broker, owner(), id, { ticket: '2' })
        else await act(scene.broker, owner(), id, step)
    }
    await scene.broker.client.request('POST', `/v1/credentials/${jti}/revoke`, { token: owner(), json: {} })

    const reader = await follow({ token: owner() })
    const { data, id } = await reader.find(({ event }) => event === 'snapshot')
    const told = (taskId: string) =>
      data.tasks.filter(task => task.task_id === taskId).map(({ state, ver }) => [state, ver])
    expect(told(closed)).toEqual([['closed', 1]])
    expect(told(suspended)).toEqual([['suspended', 1]])
    expect(told(resumed)).toEqual([])
    expect(told(changed)).toEqual([['open', 2]])
    expect(told(changedAndClosed)).toEqual([['closed', 2]])
    expect(told(changedAndResumed)).toEqual([['open', 2]])
    expect(told(untouched)).toEqual([])
    expect(data.credentials.filter(credential => credential.jti === jti)).toMatchObject([
      { reason: 'revoked' },
    ])
    expect(id).toMatch(new RegExp(`^[0-9a-f]{16}-${data.seq}$`))
    expect(reader.events[0]?.event).toBe('snapshot')
  })

  test('has what was ended a moment before the connection, on another replica', async () => {
    for (let round = 0; round < 10; round++) {
      const { id } = await aTask()
      await act(scene.replicas[round % 2]!, owner(), id, 'close')
      const reader = await follow({ on: (round + 1) % 2 })
      // In it, or, where it was taken before, in the events after it that come before the first tick.
      await reader.find(({ event }) => event === 'tick')
      const known = reader.events.flatMap(({ event, data }) => (event === 'snapshot' ? data.tasks : [data]))
      expect(known.filter(({ task_id }) => task_id === id)).toMatchObject([{ state: 'closed' }])
      reader.cut()
    }
  })

  test('forgets what can matter no more', async () => {
    // What is past is told for a while: readers' clocks may be behind.
    const [gone, kept] = [200_000, 30_000].map(ago =>
      aRevokedCredential({ until: new Date(Date.now() - ago) }),
    )
    await record.append([gone!, kept!])
    // A replica that starts reads the record from its beginning.
    const third = await scene.broker.replica()
    try {
      const { data } = await (await readFeed(third.url)).find(({ event }) => event === 'snapshot')
      const jtis = data.credentials.map(({ jti }) => jti)
      expect([gone, kept].map(one => jtis.includes((one as { jti: string }).jti))).toEqual([false, true])
    } finally {
      await third.close()
    }
  })
})

describe('who comes back with the last id it saw', () => {
  test('gets what came after it, once, on any replica', async () => {
    const reader = await follow({ on: 0 })
    const tasks = await Promise.all(Array.from({ length: 6 }, () => aTask()))
    for (const { id } of tasks.slice(0, 3)) await act(scene.broker, owner(), id, 'close')
    await taskOf(reader, tasks[2]!.id)
    reader.cut()
    for (const { id } of tasks.slice(3)) await act(scene.broker, owner(), id, 'close')

    const again = await follow({ on: 1, lastEventId: reader.lastEventId })
    await taskOf(again, tasks[5]!.id)
    expect(again.events.map(({ event, data }) => [event, data.task_id])).toEqual(
      tasks.slice(3).map(({ id }) => ['task', id]),
    )
  })

  test('gets a tick at once, so that it knows that there was nothing', async () => {
    const reader = await follow()
    await reader.find(({ event }) => event === 'tick')
    const again = await follow({ lastEventId: reader.lastEventId })
    const tick = await again.find(({ event }) => event === 'tick')
    expect(again.events).toEqual([])
    expect(`${reader.lastEventId}`).toMatch(new RegExp(`-${tick.data.seq}$`))
    expect(tick.id).toBeNull()
  })

  test.each([
    ['of another epoch', (id: string) => `0123456789abcdef-${id.split('-')[1]}`],
    ['from the future', (id: string) => `${id.split('-')[0]}-${Number(id.split('-')[1]) + 1}`],
    ['of the far future', (id: string) => `${id.split('-')[0]}-999999999999999`],
    ['without a number', (id: string) => `${id.split('-')[0]}-`],
    ['with a number in another spelling', (id: string) => id.replace('-', '-0')],
    ['with a negative number', (id: string) => id.replace('-', '--')],
    ['with more after it', (id: string) => `${id}x`],
    ['of somebody else', () => '42'],
    ['that is enormous', () => 'x'.repeat(5_000)],
    ['that is empty', () => ''],
  ])('gets a snapshot for one %s', async (_, spoil) => {
    const before = await follow()
    await before.find(({ event }) => event === 'snapshot')
    const reader = await follow({ lastEventId: spoil(before.lastEventId!) })
    await reader.find(({ event }) => event === 'tick')
    expect(reader.events.map(({ event }) => event)).toEqual(['snapshot'])
  })
})

describe('reasons', () => {
  test('are told to those who say who they are, in events and snapshots, and to nobody else', async () => {
    const workload = await follow({ token: scene.agent('service') })
    const operator = await follow({ token: await scene.broker.operatorToken() })
    const anonymous = await follow()
    const { id } = await aTask()
    await act(scene.broker, await scene.broker.operatorToken(), id, 'close', {
      outcome: 'risk',
      reason: 'SEC-42',
    })
    for (const reader of [workload, operator]) expect((await taskOf(reader, id)).data.reason).toBe('risk')
    expect((await taskOf(anonymous, id)).data).not.toHaveProperty('reason')

    const later = async (token?: string) => {
      const { data } = await (await follow({ token })).find(({ event }) => event === 'snapshot')
      const events = [...data.tasks, ...data.credentials]
      return {
        of: data.tasks.find(task => task.task_id === id)?.reason,
        any: events.some(event => 'reason' in event),
      }
    }
    expect(await later(scene.agent('service'))).toEqual({ of: 'risk', any: true })
    expect(await later()).toEqual({ of: undefined, any: false })
    expect(JSON.stringify([workload.events, operator.events, anonymous.events])).not.toContain('SEC-42')
  })

  test('of a suspension are none', async () => {
    const reader = await follow({ token: owner() })
    const { id } = await aTask()
    await act(scene.broker, owner(), id, 'suspend', { reason: 'lunch' })
    expect((await taskOf(reader, id)).data).not.toHaveProperty('reason')
  })
})

describe('who proves nothing', () => {
  test.each([
    ['a token that is none', 'x'],
    ['an attestation that has expired', () => scene.agent('late', { now: Date.now() - 3_600_000 })],
    ['an attestation for somebody else', () => scene.agent('other', { aud: 'https://other.example' })],
  ])('is no anonymous reader with %s', async (_, token) => {
    const { client } = scene.broker
    const { status, body } = await client.request('GET', '/v1/revocations', {
      token: typeof token === 'string' ? token : token(),
    })
    expect([status, body.code]).toEqual([401, 'attestation_invalid'])
  })

  test('is no anonymous reader with another scheme', async () => {
    const headers = { Authorization: 'Basic eDp5' }
    expect((await scene.broker.client.request('GET', '/v1/revocations', { headers })).status).toBe(401)
  })
})

test('a Hallpass token does not follow: it is good for its own task and nothing more', async () => {
  const { id } = await aTask()
  const { access_token: token } = await minted(scene.broker, owner(), {
    task_id: id,
    audience: scene.broker.issuer,
  })
  const { status, body } = await scene.broker.client.request('GET', '/v1/revocations', { token })
  expect([status, body.code]).toEqual([403, 'refused'])
  const rows = await scene.broker.sql('SELECT action, decision FROM decisions WHERE id = $1', [
    body.decision_id,
  ])
  expect(rows).toEqual([{ action: 'follow', decision: 'deny' }])
})

test('who says who it is has its row in the log', async () => {
  const { headers } = await follow({ token: scene.agent('logged') })
  const rows = await scene.broker.sql(
    'SELECT action, decision, principal FROM decisions WHERE request_id = $1',
    [headers['x-request-id']],
  )
  expect(rows).toEqual([{ action: 'follow', decision: 'allow', principal: 'agent:logged' }])
})

test('ticks come every five seconds, with the time of the database, and never go back', async () => {
  const reader = await follow()
  await expect.poll(() => reader.ticks.length, { timeout: 25_000 }).toBeGreaterThanOrEqual(3)
  const at = reader.ticks.map(({ data }) => Date.parse(data.at))
  expect(at.toSorted((a, b) => a - b)).toEqual(at)
  // The first one is on top; between the others it is five seconds of the database's.
  for (const [i, now] of at.slice(2).entries()) expect(now - at[i + 1]!).toBeGreaterThan(4_000)
  const [row] = await scene.broker.sql<{ seq: string }>('SELECT seq FROM revocation_counter')
  expect(reader.ticks.at(-1)?.data.seq).toBe(Number(row?.seq))
})

test('invariant 3: an end is in the feed of every replica after its answer', async () => {
  const followers = await Promise.all([follow({ on: 0 }), follow({ on: 1 })])
  for (let round = 0; round < 20; round++) {
    const { id } = await aTask()
    const { status } = await act(scene.replicas[round % 2]!, owner(), id, 'close')
    expect(status).toBe(200)
    const found = await Promise.all(followers.map(reader => taskOf(reader, id, 'closed')))
    expect(found.map(({ data }) => data.state)).toEqual(['closed', 'closed'])
  }
})

test('a broker that stops ends its streams, and waits for none of them', async () => {
  const third = await scene.broker.replica()
  const followers = await Promise.all(Array.from({ length: 20 }, () => readFeed(third.url)))
  await third.close()
  await Promise.all(followers.map(reader => reader.ended))
})

test('connections that come and go leave nothing behind', async () => {
  const third = await startScene({
    config: { feed: { readers: 3, anonymous: 3, perAddress: 3, perPrincipal: 3 } },
  })
  try {
    const get = 'GET /v1/revocations HTTP/1.1\r\nHost: hallpass\r\n\r\n'
    for (let round = 0; round < 30; round++) {
      const socket = connect(Number(new URL(third.broker.url).port), '127.0.0.1')
      socket.on('error', () => {})
      // Some of them ask twice on one connection.
      socket.write(round % 3 === 0 ? get + get : get)
      // At any moment of its life, from before it was read.
      await new Promise(resolve => setTimeout(resolve, Math.random() * 8))
      if (round % 2 === 0) socket.resetAndDestroy()
      else socket.end().resume()
      await once(socket, 'close')
    }
    await expect
      .poll(async () => {
        const all = await Promise.all([1, 2, 3].map(() => readFeed(third.broker.url)))
        for (const reader of all) reader.cut()
        return all.map(({ status }) => status)
      }, soon)
      .toEqual([200, 200, 200])
  } finally {
    await third.close()
  }
})
