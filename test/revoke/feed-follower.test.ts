import pino from 'pino'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { createFeed } from '../../src/revoke/feed/feed.ts'
import { createFollower } from '../../src/revoke/feed/follower.ts'
import { type Listener, openListener } from '../../src/store/listener.ts'
import { recordChannel } from '../../src/store/revocations.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { anEnd, openRecord, type TestRecord } from '../support/record.ts'

/** A bound for a machine that does much else besides. */
const soon = { timeout: 10_000 }

let database: TestDatabase
let record: TestRecord
beforeAll(async () => {
  database = await createTestDatabase()
  record = openRecord(database.url)
})
afterAll(async () => {
  await record?.close()
  await database?.drop()
})

it('a reading that was under way when somebody came does not count: what was committed meanwhile is not in it', async () => {
  /** What the database answers is held back for as long as there is one. */
  let gate: Promise<void> | null = null
  let held = 0
  const query: (listener: Listener) => Listener['query'] = listener => async (statement, values) => {
    const rows = await listener.query(statement, values)
    if (statement.name === 'record_read' && gate) {
      held++
      await gate
    }
    return rows as never
  }
  let seq = -1
  const feed = createFeed({
    log: pino({ level: 'silent' }),
    connect: async events => {
      const listener = await openListener({ url: database.url, channel: recordChannel, ...events })
      return { ...listener, query: query(listener) }
    },
    onRead: place => {
      seq = place.seq
    },
  })
  feed.start()
  try {
    await feed.ready()
    expect(seq).toBe(0)
    for (let round = 1; round <= 5; round++) {
      const { promise, resolve } = Promise.withResolvers<void>()
      gate = promise
      held = 0
      await expect.poll(() => held, { ...soon, interval: 5 }).toBe(1)
      // It has read, and does not know of this.
      await record.append([anEnd()])
      const ready = feed.ready()
      gate = null
      resolve()
      await ready
      expect(seq).toBe(round)
    }
  } finally {
    await feed.stop()
  }
})

it('nobody waits for ever: not for a database that is away, nor for a feed that stops', async () => {
  const feed = createFeed({
    log: pino({ level: 'silent' }),
    connect: () => new Promise((_, reject) => setTimeout(reject, 20, new Error('away'))),
  })
  await expect(feed.ready()).rejects.toMatchObject({ code: 'unavailable', retryAfter: 1 })
  feed.start()
  const waiting = feed.ready()
  await Promise.all([expect(waiting).rejects.toMatchObject({ code: 'unavailable' }), feed.stop()])
  await expect(feed.ready()).rejects.toMatchObject({ code: 'unavailable' })
  expect(() =>
    feed.follow(() => expect.unreachable(), { view: 'anonymous', lastEventId: undefined }),
  ).toThrow()
})

it('handing on that takes long leaves others as much time, whatever there is to read', async () => {
  const turns: { begun: number; ended: number }[] = []
  const follower = createFollower({
    log: pino({ level: 'silent' }),
    connect: events => openListener({ url: database.url, channel: recordChannel, ...events }),
    onHistory: () => {},
    onRows(rows) {
      const begun = performance.now()
      // As thousands of readers would.
      while (rows.length > 0 && performance.now() < begun + 40);
      if (rows.length > 0) turns.push({ begun, ended: performance.now() })
    },
    onWhole: () => {},
  })
  follower.start()
  try {
    await follower.fresh()
    const before = turns.length
    for (const until = performance.now() + 800; performance.now() < until; ) await record.append([anEnd()])
    await follower.fresh()
    const [, ...later] = turns.slice(before)
    expect(later.length).toBeGreaterThan(3)
    for (const [i, { begun }] of later.entries())
      expect(begun - turns[before + i]!.ended).toBeGreaterThanOrEqual(30)
  } finally {
    await follower.stop()
  }
})
