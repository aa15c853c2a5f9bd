import { afterAll, beforeAll, test } from 'vitest'
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

test(
  'invariant 12: a replica that is killed while it publishes costs its readers a connection, and no event',
  () => replicasKilled(broker, { rounds: 3, readers: 10 }),
  120_000,
)

test(
  'invariant 12: a PostgreSQL that is restarted under 50 readers costs them nothing',
  () => databaseRestarted(own, { rounds: 2, readers: 50 }),
  120_000,
)
