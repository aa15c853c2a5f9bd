import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { spiffeSource, startTestBroker, type TestBroker, testIssuer } from '../support/broker.ts'
import { createTrustDomain } from '../support/spiffe.ts'

const domain = createTrustDomain('prod.example')
let bundle: Awaited<ReturnType<typeof domain.serveBundle>>
let broker: TestBroker

beforeAll(async () => {
  bundle = await domain.serveBundle()
  broker = await startTestBroker({
    trust: [spiffeSource('prod.example', { url: bundle.url })],
    policies: '@id("open") permit (principal is Workload, action == Action::"open", resource);',
  })
})
afterAll(async () => {
  await broker?.close()
  await bundle?.close()
})

const open = (ref: string, more: Record<string, unknown> = {}) =>
  broker.client.request('POST', '/v1/tasks', {
    token: domain.svid('/agent', { audience: testIssuer, now: broker.clock.now() }),
    json: { kind: 'agent-run', ref, ...more },
  })

describe('opening a task', () => {
  it('tells an operator who may not open one nothing of the names that are taken', async () => {
    await open('taken')
    const probe = async (ref: string) => {
      const reply = await broker.client.request('POST', '/v1/tasks', {
        token: await broker.operatorToken(),
        json: { kind: 'agent-run', ref, principal: 'spiffe://prod.example/agent' },
      })
      return [reply.status, reply.body.code, reply.body.detail]
    }
    expect(await probe('taken')).toEqual(await probe('free'))
    expect((await probe('taken'))[0]).toBe(403)
  })

  it('under a name whose task is past its deadline opens a new one, though no sweeper has come by', async () => {
    const deadline = new Date(broker.clock.now() + 60_000).toISOString()
    const first = await open('again', { deadline })
    broker.clock.advance(61_000)
    const second = await open('again')
    expect([first.status, second.status]).toEqual([201, 201])
    expect(second.body.id).not.toBe(first.body.id)
    const [row] = await broker.sql('SELECT state, close_reason FROM tasks WHERE id = $1', [first.body.id])
    expect(row).toEqual({ state: 'closed', close_reason: 'expired' })
    const ends = await broker.sql('SELECT reason FROM revocations WHERE task_id = $1', [first.body.id])
    expect(ends).toEqual([{ reason: 'expired' }])
  })

  it('answers the one that is open under that name, and says so in the log', async () => {
    const first = await open('same')
    const second = await open('same')
    expect([second.status, second.body.id]).toEqual([200, first.body.id])
    const rows = await broker.sql(`SELECT decision FROM decisions WHERE action = 'open' AND task_id = $1`, [
      first.body.id,
    ])
    expect(rows).toHaveLength(2)
  })

  it('that is refused has one row in the log, however many stories were told', async () => {
    const reply = await broker.client.request('POST', '/v1/tasks', {
      token: await broker.operatorToken(),
      json: { kind: 'agent-run', ref: 'once', principal: 'spiffe://prod.example/agent' },
    })
    const rows = await broker.sql('SELECT id FROM decisions WHERE request_id = $1', [
      reply.headers.get('X-Request-Id'),
    ])
    expect(rows).toEqual([{ id: reply.body.decision_id }])
  })
})
