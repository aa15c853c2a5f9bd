import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createDeadRecord } from '../../src/verifier/dead.ts'
import { followFeed } from '../../src/verifier/feed.ts'
import { createFreshness } from '../../src/verifier/freshness.ts'
import { createFeedRecord } from '../../src/verifier/record.ts'
import { frame } from './frames.ts'
import { startScriptedBroker } from './scripted-broker.ts'
import { until } from './verifiers.ts'

/** A record that everybody knows, and each event of it as it goes over the wire. */
function history(length: number): { ids: string[]; wire: Buffer[] } {
  const ids = Array.from({ length }, (_, index) => `task-${index + 1}`)
  const until = new Date(Date.now() + 600_000).toISOString()
  const wire = ids.map((task_id, index) =>
    Buffer.from(
      frame(
        'task',
        { task_id, state: 'closed', ver: 1, reason: 'größer 🗝', until },
        `0123456789abcdef-${index + 1}`,
      ),
    ),
  )
  return { ids, wire }
}

/** Follows a broker that has the whole record, and cuts each connection after so many bytes. What was applied, in its order. */
async function follow({ ids, wire }: ReturnType<typeof history>, cuts: number[]): Promise<string[]> {
  const broker = await startScriptedBroker()
  const { time } = broker
  broker.epoch = '0123456789abcdef'
  const left = [...cuts]
  broker.onFeed = connection => {
    const from = Number(connection.lastEventId?.split('-')[1] ?? 0)
    broker.seq = 0
    const begin = connection.lastEventId === undefined ? broker.snapshot() : ''
    broker.seq = ids.length
    const stream = Buffer.concat([Buffer.from(begin), ...wire.slice(from), Buffer.from(broker.tick())])
    const cut = left.shift()
    connection.write(cut === undefined ? stream : stream.subarray(0, cut % stream.length))
    if (cut !== undefined) connection.end()
    // Long enough to be called a good connection, after which the next one is made soon.
    time.pass(1_000)
  }

  const applied: string[] = []
  const closing = new AbortController()
  const freshness = createFreshness({ clocks: time.clocks, maxStaleness: 10_000 })
  const dead = createDeadRecord()
  const record = createFeedRecord({
    dead,
    freshness,
    changes: { task: id => applied.push(id), credential() {}, key() {}, everything() {} },
  })
  const disconnections: string[] = []
  followFeed({
    url: `${broker.issuer}/v1/revocations`,
    fetch,
    token: undefined,
    record,
    freshness,
    maxStaleness: 10_000,
    onConnected() {},
    onDisconnected: reason => disconnections.push(reason),
    onHeard() {},
    signal: closing.signal,
  })
  await until(() => freshness.isFresh())
  closing.abort()
  await broker.close()
  expect(disconnections).toEqual(cuts.map(() => 'ended'))
  expect(dead.size()).toBe(ids.length)
  return applied
}

test('10,000 events through 50 random cuts: nothing missed, nothing applied twice', async () => {
  const record = history(10_000)
  const bytes = Buffer.concat(record.wire).length
  const cuts = Array.from({ length: 50 }, () => Math.floor((Math.random() * bytes) / 20))
  expect(await follow(record, cuts), `cut after ${cuts.join(', ')}`).toEqual(record.ids)
}, 60_000)

test('cut at any bytes: nothing missed, nothing applied twice', async () => {
  const record = history(6)
  await fc.assert(
    fc.asyncProperty(fc.array(fc.nat(2_000), { maxLength: 4 }), async cuts => {
      expect(await follow(record, cuts)).toEqual(record.ids)
    }),
    { numRuns: 40 },
  )
}, 60_000)

test('cut at every byte of three events, inside characters too', async () => {
  const record = history(3)
  const bytes = Buffer.concat(record.wire).length
  // Sixteen at a time: each has a broker of its own.
  const places = Array.from({ length: bytes + 120 }, (_, at) => at)
  while (places.length > 0)
    await Promise.all(
      places.splice(0, 16).map(async at => expect(await follow(record, [at])).toEqual(record.ids)),
    )
}, 120_000)
