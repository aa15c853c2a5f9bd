import pino from 'pino'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startBroker } from '../../src/app.ts'
import { watchClock } from '../../src/clock-watch.ts'
import { startTestBroker, type TestBroker } from '../support/broker.ts'
import { createClient } from '../support/client.ts'

describe('the clock watch', () => {
  const log = pino({ level: 'silent' })
  const watch = (machine: () => number, there: number) =>
    watchClock({ machine, database: async () => there, tolerance: 5_000, log })

  it.each([
    ['ahead', 10_000, 4_000],
    ['behind', 4_000, 10_000],
  ])('stops a replica that is %s by more than the tolerance', async (_, here, there) => {
    const clock = watch(() => here, there)
    await clock.look()
    expect(() => clock.mustBeRight()).toThrow('clock differs')
  })

  it('does not count the time that the question took', async () => {
    const readings = [1_000, 60_000]
    const clock = watch(() => readings.shift() ?? 0, 30_000)
    await clock.look()
    expect(() => clock.mustBeRight()).not.toThrow()
  })

  it('lets it serve again once the clock is right', async () => {
    let here = 600_000
    const clock = watch(() => here, 0)
    await clock.look()
    expect(() => clock.mustBeRight()).toThrow()
    here = 1_000
    await clock.look()
    expect(() => clock.mustBeRight()).not.toThrow()
  })

  it('takes a database that tells no time for one that differs', async () => {
    const clock = watch(() => 0, Number.NaN)
    await clock.look()
    expect(() => clock.mustBeRight()).toThrow()
  })
})

describe.each([
  ['ahead', 600_000],
  ['behind', -600_000],
])('a replica whose machine is ten minutes %s', (_, off) => {
  let right: TestBroker
  let wrong: Awaited<ReturnType<typeof startBroker>>
  beforeAll(async () => {
    right = await startTestBroker()
    const log = pino({ level: 'silent' })
    const machineClock = () => Date.now() + off
    const config = { ...right.config, listen: { ...right.config.listen, port: 0 } }
    wrong = await startBroker(config, { log, clock: machineClock, machineClock, sweeps: false })
  })
  afterAll(async () => {
    await wrong?.close()
    await right?.close()
  })

  it('serves nothing, and says so to whoever asks whether it is ready', async () => {
    const client = createClient({ baseUrl: wrong.url })
    for (const path of ['/v1/tasks', '/readyz']) {
      const reply = await client.request('GET', path)
      expect(reply.status).toBe(503)
      expect(reply.headers.get('Retry-After')).toBe('10')
    }
    const form = { grant_type: 'client_credentials', scope: 'a' }
    expect((await client.request('POST', '/oauth2/token', { form })).status).toBe(503)
    expect((await client.request('GET', '/healthz')).status).toBe(200)
  })

  it('sweeps nothing', async () => {
    await expect(wrong.sweep()).rejects.toThrow('clock differs')
  })
})
