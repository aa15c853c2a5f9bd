import { once } from 'node:events'
import type { Socket } from 'node:net'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { allowAll, startTestBroker, type TestBroker } from '../support/broker.ts'
import { openFeedDoor } from '../support/feed-door.ts'
import { databaseRestarted, replicasKilled } from '../support/feed-storm.ts'
import { type ProcessBroker, processBroker } from '../support/process-broker.ts'
import { anEnd } from '../support/record.ts'

let broker: TestBroker
let own: ProcessBroker
beforeAll(async () => {
  broker = await startTestBroker()
  own = await processBroker({ policies: allowAll, yaml: '' })
  await own.start()
})
afterAll(async () => {
  await own?.close()
  await broker?.close()
})

test('invariant 12: replicas that are killed 20 times while they publish cost their readers no event', () =>
  replicasKilled(broker, { rounds: 20, readers: 50 }))

test('invariant 12: a PostgreSQL that is restarted 20 times under 50 readers costs them nothing', async () => {
  await databaseRestarted(own, { rounds: 20, readers: 50 })
  expect(own.lastWords()).not.toContain('went back in time')
})

test('a reader that takes a snapshot in drops, each in time, is cut off all the same: it would keep it in memory', async () => {
  const door = await openFeedDoor({
    before: async record => {
      for (let n = 0; n < 200; n++) await record.append(Array.from({ length: 1_000 }, () => anEnd()))
    },
  })
  try {
    const client = await door.connect()
    const [socket] = door.sockets as [Socket]
    const begun = performance.now()
    const dripping = setInterval(() => client.read(16 * 1024), 100)
    await once(socket, 'close')
    clearInterval(dripping)
    expect(door.cutOff).toBe(1)
    // Not for a pause of its own, which would have been ten seconds.
    expect(performance.now() - begun).toBeGreaterThan(30_000)
  } finally {
    await door.close()
  }
})
