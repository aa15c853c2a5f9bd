import { randomUUID } from 'node:crypto'
import { expect, test } from 'vitest'
import type { VerifierEvent } from '../../src/verifier/options.ts'
import { frame } from './frames.ts'
import { newKey } from './scripted-broker.ts'
import { type Followed, refusal, startFollowed, until } from './verifiers.ts'

const reasons = (events: VerifierEvent[]) =>
  events.flatMap(event => (event.type === 'disconnected' ? [event.reason] : []))

const closed = (followed: Followed, task_id: string, more: object = {}) =>
  followed.broker.event('task', { task_id, state: 'closed', ver: 1, until: followed.broker.until(), ...more })

test('createVerifier answers once revocations are known', async () => {
  const dead = randomUUID()
  const followed = await startFollowed({
    script(broker) {
      broker.onFeed = connection =>
        connection.write(
          broker.snapshot({ tasks: [{ task_id: dead, state: 'closed', ver: 1, until: broker.until() }] }) +
            broker.tick(),
        )
    },
  })
  const { verifier, broker } = followed
  expect(verifier.state()).toMatchObject({ fresh: true, seq: 7, dead: 1, readAt: expect.any(Date) })
  expect(await refusal(verifier, await broker.token({ task_id: dead }))).toBe('task_closed')
  expect(await refusal(verifier, await broker.token())).toBeNull()
  await followed.close()
})

test('what the feed tells is refused from then on, each with its reason', async () => {
  const [jti, other] = [randomUUID(), await newKey()]
  const followed = await startFollowed({ script: broker => void broker.jwks.push(other.jwk) })
  const { verifier, broker } = followed
  const [closedTask, suspended, changed, parent] = [randomUUID(), randomUUID(), randomUUID(), randomUUID()]
  const tokens = {
    closed: await broker.token({ task_id: closedTask }),
    suspended: await broker.token({ task_id: suspended }),
    old: await broker.token({ task_id: changed, task_ver: 1 }),
    current: await broker.token({ task_id: changed, task_ver: 2 }),
    child: await broker.token({ task_path: [`${randomUUID()}:1`, `${parent}:1`] }),
    single: await broker.token({ jti }),
    ofKey: await broker.token({}, { key: other }),
    alive: await broker.token(),
  }
  const codes = async () =>
    Object.fromEntries(
      await Promise.all(
        Object.entries(tokens).map(async ([name, token]) => [name, await refusal(verifier, token)]),
      ),
    )
  expect(Object.values(await codes())).toEqual(Array(8).fill(null))
  const soon = broker.until()
  broker.send(
    closed(followed, closedTask) +
      closed(followed, suspended, { state: 'suspended' }) +
      closed(followed, changed, { state: 'open', ver: 2 }) +
      closed(followed, parent) +
      broker.event('credential', { jti, until: soon }) +
      broker.event('key', { kid: other.kid }),
  )
  await until(() => verifier.state().seq === 13)
  expect(await codes()).toEqual({
    closed: 'task_closed',
    suspended: 'task_suspended',
    old: 'task_changed',
    current: null,
    child: 'task_closed',
    single: 'credential_revoked',
    ofKey: 'key_withdrawn',
    alive: null,
  })
  broker.send(closed(followed, suspended, { state: 'open' }))
  await until(() => verifier.state().seq === 14)
  expect(await refusal(verifier, tokens.suspended)).toBeNull()
  await followed.close()
})

test('a key that is withdrawn makes the keys be loaded again, so that its successor is known', async () => {
  const followed = await startFollowed()
  const { verifier, broker } = followed
  await verifier.verify(await broker.token())
  const next = await newKey()
  broker.jwks = [next.jwk]
  followed.time.pass(1)
  broker.send(broker.event('key', { kid: broker.key.kid }))
  await until(async () => (await refusal(verifier, await broker.token({}, { key: next }))) === null)
  expect(await refusal(verifier, await broker.token())).toMatch(/^key_(unknown|withdrawn)$/)
  await followed.close()
})

test('a connection that breaks off is made again, and goes on where it was', async () => {
  const followed = await startFollowed()
  const { verifier, broker, events } = followed
  const task = randomUUID()
  broker.onFeed = connection => {
    expect(connection.lastEventId).toBe(`${broker.epoch}-8`)
    connection.write(closed(followed, task) + broker.tick())
  }
  broker.send(closed(followed, randomUUID()))
  await until(() => verifier.state().seq === 8)
  broker.feeds[0]?.cut()
  await until(() => verifier.state().seq === 9)
  expect(verifier.state()).toMatchObject({ fresh: true, dead: 2 })
  expect(events.map(event => event.type)).toEqual(['connected', 'fresh', 'disconnected', 'connected'])
  await followed.close()
})

test('a stream that ends well is followed again as well', async () => {
  const followed = await startFollowed()
  const { broker, events } = followed
  broker.feeds[0]?.end()
  await until(() => events.filter(event => event.type === 'connected').length === 2)
  expect(reasons(events)).toEqual(['ended'])
  await followed.close()
})

test.each<[string, string, (followed: Followed) => string]>([
  [
    'a number that goes back',
    'out_of_order',
    ({ broker }) => {
      broker.seq = 3
      return broker.event('key', { kid: 'x' })
    },
  ],
  [
    'a tick that goes back',
    'out_of_order',
    ({ broker }) => {
      broker.seq = 3
      return broker.tick()
    },
  ],
  [
    'a number left out',
    'out_of_order',
    ({ broker }) => {
      broker.seq += 1
      return broker.event('key', { kid: 'x' })
    },
  ],
  [
    'a tick about what was never told',
    'out_of_order',
    ({ broker }) => {
      broker.seq += 1
      return broker.tick()
    },
  ],
  [
    'another epoch',
    'other_epoch',
    ({ broker }) => {
      broker.epoch = 'fedcba9876543210'
      return broker.event('key', { kid: 'x' })
    },
  ],
  ['a malformed event', 'malformed', ({ broker }) => broker.event('task', { task_id: 'x' })],
  [
    'a tick from the future',
    'clocks',
    ({ broker, time }) => {
      time.setDatabase(60_000)
      return broker.tick()
    },
  ],
])('%s: not fresh any more, refused meanwhile, and begun anew with a snapshot', async (_, fault, script) => {
  const followed = await startFollowed()
  const { verifier, broker, events } = followed
  const { token, began } = { token: await broker.token(), began: [] as (string | undefined)[] }
  expect(await refusal(verifier, token)).toBeNull()
  let isBack = false
  broker.onFeed = connection => {
    began.push(connection.lastEventId)
    if (isBack) connection.write(broker.snapshot() + broker.tick())
  }
  broker.send(script(followed))
  await until(() => events.some(event => event.type === 'stale'))
  expect(reasons(events)).toEqual([fault])
  expect(verifier.state().fresh).toBe(false)
  // The token names no status list.
  expect(await refusal(verifier, token)).toBe('status_missing')
  isBack = true
  await until(() => began.length > 0)
  broker.feeds[0]?.cut()
  await until(() => verifier.state().fresh)
  expect(began.every(id => id === undefined)).toBe(true)
  expect(await refusal(verifier, token)).toBeNull()
  await followed.close()
})

test('what was dead stays dead over a fault, until a snapshot of the new epoch says otherwise', async () => {
  const followed = await startFollowed()
  const { verifier, broker } = followed
  const task_id = randomUUID()
  const token = await broker.token({ task_id })
  broker.send(closed(followed, task_id))
  await until(() => verifier.state().seq === 8)
  let isBack = false
  broker.onFeed = connection => isBack && connection.write(broker.snapshot() + broker.tick())
  broker.epoch = 'fedcba9876543210'
  broker.send(broker.event('key', { kid: 'x' }))
  await until(() => !verifier.state().fresh)
  expect(await refusal(verifier, token)).toBe('task_closed')
  isBack = true
  await until(() => broker.feeds.length > 0)
  broker.feeds[0]?.cut()
  await until(() => verifier.state().fresh)
  expect(await refusal(verifier, token)).toBeNull()
  await followed.close()
})

test('a line that never ends is given up, and nothing of it is kept', async () => {
  const followed = await startFollowed()
  const { verifier, broker, events } = followed
  const connection = broker.feeds[0]
  let asked: string | undefined = 'nothing yet'
  broker.onFeed = again => {
    asked = again.lastEventId
    again.write(broker.snapshot() + broker.tick())
  }
  const megabyte = 'x'.repeat(1024 * 1024)
  connection?.write('event: task\ndata: ')
  for (let written = 0; written < 66; written++) {
    connection?.write(megabyte)
    await new Promise(resolve => setImmediate(resolve))
  }
  await until(() => reasons(events).includes('too_large'))
  // What it would have said is not known: fresh again only by a snapshot.
  await until(() => verifier.state().fresh && asked === undefined)
  expect(events.map(event => event.type).slice(2)).toEqual(['disconnected', 'stale', 'connected', 'fresh'])
  await followed.close()
})

test.each([
  ['an error', { status: 503 }],
  ['too many requests', { status: 429, headers: { 'retry-after': '1' } }],
  ['a redirect', { status: 302, headers: { location: '/elsewhere' } }],
  ['another type', { status: 200, headers: { 'content-type': 'text/html' } }],
  ['no content', { status: 204 }],
  ['what a cache had kept', { status: 200, headers: { 'content-type': 'text/event-stream', age: '30' } }],
] as [string, { status: number; headers?: Record<string, string> }][])(
  '%s in place of the feed is refused',
  async (_, { status, headers }) => {
    const followed = await startFollowed()
    const { broker, events, verifier } = followed
    let isBack = false
    let calls = 0
    const real = await startFollowed({
      issuer: broker.issuer,
      onEvent: event => events.push(event),
      async fetch(url, init) {
        if (!String(url).endsWith('/v1/revocations')) return fetch(url, init)
        calls++
        if (isBack) return fetch(url, init)
        const body = status === 204 ? null : broker.snapshot() + broker.tick()
        setTimeout(() => {
          isBack = true
        }, 500)
        return new Response(body, { status, ...(headers && { headers }) })
      },
    })
    expect(reasons(events)[0]).toBe('refused')
    expect(real.verifier.state().fresh).toBe(true)
    // Where it is told when to come back, it keeps to that.
    if (status === 429) expect(calls).toBe(2)
    expect(broker.asked['/elsewhere']).toBeUndefined()
    expect(verifier.state().fresh).toBe(true)
    await real.close()
    await followed.close()
  },
)

test('a redirect is not followed, wherever it leads', async () => {
  const followed = await startFollowed({
    script(broker) {
      broker.answers.set('/v1/revocations', (_, response) =>
        response.writeHead(302, { location: '/elsewhere' }).end(),
      )
      broker.answers.set('/elsewhere', (_, response) =>
        response
          .writeHead(200, { 'content-type': 'text/event-stream' })
          .write(broker.snapshot() + broker.tick()),
      )
    },
  })
  const { verifier, broker, events } = followed
  expect(verifier.state().fresh).toBe(false)
  expect(new Set(reasons(events))).toEqual(new Set(['refused']))
  expect(broker.asked['/elsewhere']).toBeUndefined()
  await followed.close()
})

test.each([
  ['says something once more', true],
  ['falls silent for ever', false],
])(
  'a connection that was given up is heard no more, though its fetch does not end it: it %s',
  async (_, speaks) => {
    const followed = await startFollowed()
    const { broker, time } = followed
    let deaf = 0
    const events: VerifierEvent[] = []
    const other = await startFollowed({
      issuer: broker.issuer,
      time,
      onEvent: event => events.push(event),
      async fetch(url, init) {
        if (!String(url).endsWith('/v1/revocations') || deaf++ > 0) return fetch(url, init)
        const body = new ReadableStream<Uint8Array>({
          start(controller) {
            controller.enqueue(Buffer.from(broker.snapshot() + broker.tick()))
            init?.signal?.addEventListener('abort', () => {
              if (speaks) controller.enqueue(Buffer.from('event: task\ndata: {}\nid: 0123456789abcdef-8\n\n'))
            })
          },
        })
        return new Response(body, { headers: { 'content-type': 'text/event-stream' } })
      },
    })
    expect(other.verifier.state().fresh).toBe(true)
    time.pass(11_000)
    await until(() => reasons(events).length === 1)
    expect(reasons(events)).toEqual(['silent'])
    await until(() => other.verifier.state().fresh)
    await other.close()
    await followed.close()
  },
)

test('the feed is asked for as it should be, and with a token where there is one', async () => {
  let calls = 0
  const followed = await startFollowed({ token: async () => `attestation-${++calls}` })
  const { broker } = followed
  const { headers } = broker.feeds[0]?.request ?? {}
  expect(headers).toMatchObject({
    accept: 'text/event-stream',
    'cache-control': 'no-cache',
    authorization: 'Bearer attestation-1',
  })
  expect(headers?.['last-event-id']).toBeUndefined()
  broker.feeds[0]?.cut()
  await until(() => calls === 2)
  await followed.close()
  const anonymous = await startFollowed()
  expect(anonymous.broker.feeds[0]?.request.headers.authorization).toBeUndefined()
  await anonymous.close()
})

test('a token that cannot be had is a connection that cannot be made: it is tried again', async () => {
  let calls = 0
  const followed = await startFollowed({
    token() {
      if (++calls < 3) throw new Error('not now')
      return 'attestation'
    },
  })
  expect(reasons(followed.events)).toEqual(['unreachable', 'unreachable'])
  expect(followed.verifier.state().fresh).toBe(true)
  await followed.close()
})

test.each(['token', 'fetch'])('a %s that never answers is waited for no longer than 5 s', async what => {
  let calls = 0
  const never = new Promise<never>(() => {})
  const followed = await startFollowed(
    what === 'token'
      ? { token: () => (++calls === 1 ? never : 'attestation') }
      : {
          fetch: (url, init) =>
            String(url).endsWith('/v1/revocations') && ++calls === 1 ? never : fetch(url, init),
        },
  )
  await until(() => followed.verifier.state().fresh)
  expect(reasons(followed.events)).toEqual(['unreachable'])
  await followed.close()
})

test('what the callback throws is dropped', async () => {
  const followed = await startFollowed({
    onEvent() {
      throw new Error('a log that is full')
    },
  })
  expect(followed.verifier.state().fresh).toBe(true)
  await followed.close()
})

test('a broker that is away keeps no service from starting; when it comes, everything works', async () => {
  const followed = await startFollowed({
    script: broker => {
      broker.onFeed = connection => connection.cut()
    },
  })
  const { verifier, broker } = followed
  expect(verifier.state()).toMatchObject({ fresh: false, seq: null, readAt: null })
  // It asks less and less often.
  expect(broker.asked['/v1/revocations']).toBeLessThan(60)
  const token = await broker.token()
  expect(await refusal(verifier, token)).toBe('status_missing')
  broker.onFeed = connection => connection.write(broker.snapshot() + broker.tick())
  await until(() => verifier.state().fresh)
  expect(await refusal(verifier, token)).toBeNull()
  await followed.close()
})

test('silent for longer than allowed: refused, connected anew, and fresh again', async () => {
  const followed = await startFollowed()
  const { verifier, broker, events, time } = followed
  const token = await broker.token()
  const asked = broker.asked['/v1/revocations']
  time.pass(8_000)
  expect(await refusal(verifier, token)).toBeNull()
  time.pass(3_000)
  expect(await refusal(verifier, token)).toBe('status_missing')
  await until(() => verifier.state().fresh)
  expect(reasons(events)).toEqual(['silent'])
  expect(broker.asked['/v1/revocations']).toBe((asked ?? 0) + 1)
  // It had ticked, and fell silent: how the clocks stand is learned anew.
  expect(broker.feeds[0]?.lastEventId).toBeUndefined()
  expect(await refusal(verifier, token)).toBeNull()
  await followed.close()
})

test('a connection on which nothing ever came is given up, and the next one goes on where the last one was', async () => {
  const followed = await startFollowed()
  const { broker, events, time, verifier } = followed
  const ids: (string | undefined)[] = []
  broker.onFeed = connection => {
    ids.push(connection.lastEventId)
    if (ids.length > 1) connection.write(broker.tick())
  }
  broker.feeds[0]?.cut()
  await until(() => ids.length === 1)
  time.pass(11_000)
  await until(() => ids.length === 2)
  expect(reasons(events)).toEqual(['unreachable', 'silent'])
  expect(ids).toEqual([`${broker.epoch}-7`, `${broker.epoch}-7`])
  await until(() => verifier.state().fresh)
  await followed.close()
})

test('a connection that died on the way is given up, however much staleness is allowed', async () => {
  const followed = await startFollowed({ maxStaleness: 300_000 })
  const { verifier, broker, events, time } = followed
  time.pass(12_000)
  await new Promise(resolve => setTimeout(resolve, 1_500))
  expect(reasons(events)).toEqual([])
  time.pass(4_000)
  await until(() => reasons(events).length === 1)
  expect(reasons(events)).toEqual(['silent'])
  expect(verifier.state().fresh).toBe(true)
  expect(await refusal(verifier, await broker.token())).toBeNull()
  await followed.close()
})

test('a proxy that holds everything back: ticks that are late prove nothing', async () => {
  const followed = await startFollowed({
    script(broker) {
      broker.onFeed = connection => {
        const held = broker.snapshot() + broker.tick()
        broker.time.pass(30_000)
        connection.write(held)
      }
    },
  })
  const { verifier, broker, time } = followed
  const token = await broker.token()
  expect(verifier.state()).toMatchObject({ fresh: false, seq: 7 })
  expect(new Set(reasons(followed.events))).toEqual(new Set(['silent']))
  expect(await refusal(verifier, token)).toBe('status_missing')
  // It lets go of it.
  broker.onFeed = connection => {
    connection.write(broker.snapshot() + broker.tick())
    time.pass(100)
  }
  await until(() => verifier.state().fresh)
  await followed.close()
})

test('three quarters of an hour of ticks without a break; then the clocks are learned anew, and nothing is lost', async () => {
  const followed = await startFollowed()
  const { verifier, broker, events, time } = followed
  const token = () => broker.token().then(text => refusal(verifier, text))
  for (let seconds = 0; seconds < 2_640; seconds += 60) {
    for (let ticks = 0; ticks < 12; ticks++) {
      time.pass(5_000)
      broker.send(broker.tick())
    }
    const seen = time.database()
    await until(() => verifier.state().readAt?.getTime() === seen)
  }
  expect(reasons(events)).toEqual([])
  expect(await token()).toBeNull()
  // Between three quarters of an hour and a whole one.
  for (let ticks = 0; ticks < 200; ticks++) {
    time.pass(5_000)
    broker.send(broker.tick())
    await until(() => verifier.state().readAt?.getTime() === time.database() || reasons(events).length === 1)
  }
  await until(() => reasons(events).length === 1)
  expect(reasons(events)).toEqual(['renewed'])
  await until(() => events.filter(event => event.type === 'connected').length === 2)
  expect(await token()).toBeNull()
  expect(events.some(event => event.type === 'stale')).toBe(false)
  await followed.close()
})

test('closed: the connection ends, nothing is made again, and everything is refused', async () => {
  const closing = new AbortController()
  const followed = await startFollowed({ signal: closing.signal })
  const { verifier, broker } = followed
  const token = await broker.token()
  expect(await refusal(verifier, token)).toBeNull()
  closing.abort()
  expect(await refusal(verifier, token)).toBe('verifier_closed')
  expect(verifier.state().fresh).toBe(false)
  await until(() => broker.feeds.length === 0)
  const { asked } = broker
  const before = { ...asked }
  await new Promise(resolve => setTimeout(resolve, 300))
  expect(asked).toEqual(before)
  verifier.close()
  await followed.close()
})

test('a signal that has fired already closes it at once', async () => {
  const followed = await startFollowed({ signal: AbortSignal.abort() })
  expect(await refusal(followed.verifier, await followed.broker.token())).toBe('verifier_closed')
  await followed.close()
})

test('unknown events, comments and a retry field are no fault', async () => {
  const followed = await startFollowed()
  const { verifier, broker, events } = followed
  broker.send(`: keep open\n\nretry: 60000\n\n${frame('weather', { rain: true })}${broker.tick()}`)
  broker.send(closed(followed, randomUUID()))
  await until(() => verifier.state().seq === 8)
  expect(reasons(events)).toEqual([])
  // Not waited out: nothing would be heard meanwhile.
  broker.feeds[0]?.cut()
  await until(() => events.filter(event => event.type === 'connected').length === 2)
  await followed.close()
})
