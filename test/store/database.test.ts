import type pg from 'pg'
import pino from 'pino'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { openDatabase } from '../../src/store/database.ts'
import { allowAll, ciSource, startTestBroker, type TestBroker, testIssuer } from '../support/broker.ts'
import { asAdmin } from '../support/database.ts'
import { startIssuer, type TestIssuer } from '../support/issuer.ts'

let ci: TestIssuer
let broker: TestBroker
beforeAll(async () => {
  ci = await startIssuer()
  broker = await startTestBroker({ trust: [ciSource(ci.issuer)], policies: allowAll })
})
afterAll(async () => {
  await broker?.close()
  await ci?.close()
})

const now = () => Math.floor(Date.now() / 1000)
const attestation = (run: number) =>
  ci.sign({
    sub: 'job',
    aud: testIssuer,
    iat: now(),
    exp: now() + 300,
    repository: 'a',
    run_id: String(run),
    run_attempt: '1',
    check_run_id: '1',
  })

/** What a failover of PostgreSQL does to every connection of the broker. */
const terminate = () =>
  asAdmin(broker.databaseUrl, (client: pg.Client) =>
    client.query(
      'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()',
    ),
  )

it('gives the statements of a patient transaction longer, and those after it no longer', async () => {
  const db = openDatabase({ url: broker.databaseUrl, log: pino({ level: 'silent' }), connections: 1 })
  const read = {
    name: 'read_timeouts',
    text: `SELECT current_setting('statement_timeout') AS statement, current_setting('lock_timeout') AS lock`,
  }
  const sleep = { name: 'sleep', text: 'SELECT pg_sleep($1)' }
  try {
    expect(await db.transaction(tx => tx.query(read, []), { patience: 60_000 })).toEqual([
      { statement: '1min', lock: '1min' },
    ])
    expect(await db.transaction(tx => tx.query(read, []))).toEqual([{ statement: '10s', lock: '5s' }])
    const short = db.transaction(tx => tx.query(sleep, [5]), { patience: 100 })
    await expect(short).rejects.toMatchObject({ code: 'unavailable' })
    expect(await db.query(read, [])).toEqual([{ statement: '10s', lock: '5s' }])
  } finally {
    await db.close()
  }
})

it('survives connections that are lost in the middle of transactions and of searches', async () => {
  const uncaught: unknown[] = []
  const listener = (error: unknown) => uncaught.push(error)
  process.on('uncaughtException', listener)
  try {
    let run = 0
    for (let round = 0; round < 8; round++) {
      const mints = Array.from({ length: 8 }, () =>
        broker.client.request('POST', '/oauth2/token', {
          form: {
            grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer',
            assertion: attestation(run++),
            scope: 'a',
            audience: 'b',
          },
        }),
      )
      const searches = Array.from({ length: 4 }, () =>
        broker.client.request('GET', '/v1/tasks', { token: attestation(1) }),
      )
      await new Promise(resolve => setTimeout(resolve, round * 3))
      await terminate().catch(() => {})
      const statuses = (await Promise.all([...mints, ...searches])).map(reply => reply.status)
      expect(statuses.every(status => status === 200 || status === 503)).toBe(true)
    }
    const after = await broker.client.request('GET', '/v1/tasks', { token: attestation(1) })
    expect(after.status).toBe(200)
  } finally {
    process.off('uncaughtException', listener)
  }
  expect(uncaught).toEqual([])
})
