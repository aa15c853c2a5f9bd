import { afterAll, beforeAll, expect, test } from 'vitest'
import { allowAll, startTestBroker, type TestBroker } from '../support/broker.ts'
import { databaseRestarted, replicasKilled } from '../support/feed-storm.ts'
import { type ProcessBroker, processBroker } from '../support/process-broker.ts'

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
