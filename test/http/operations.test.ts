import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ifMatch } from '../../src/http/if-match.ts'
import { startTestBroker, type TestBroker } from '../support/broker.ts'

describe('If-Match', () => {
  it.each([
    ['"3"', '"3"', true],
    ['"2"', '"3"', false],
    ['"2", "3"', '"3"', true],
    ['*', '"3"', true],
    ['W/"3"', '"3"', false],
  ])('%s against %s', (header, tag, fits) => {
    expect(ifMatch(header)(tag)).toBe(fits)
  })

  it.each(['3', '"3', '""3""', 'W/3', ','])('refuses %s, which is no list of entity tags', header => {
    expect(() => ifMatch(header)).toThrow('not a list of entity tags')
  })
})

describe('running a broker', () => {
  let broker: TestBroker
  beforeAll(async () => {
    broker = await startTestBroker({
      config: {
        listen: { host: '127.0.0.1', port: 0, metricsPort: 0, mtls: null, trustedProxies: ['127.0.0.1'] },
        limits: { principal: null, address: 5 },
      },
    })
  })
  afterAll(() => broker?.close())

  const get = (path: string, address: string, headers: Record<string, string> = {}) =>
    broker.client.request('GET', path, { headers: { 'X-Forwarded-For': address, ...headers } })

  it('answers too many requests of one address with 429, and others as before', async () => {
    const replies = await Promise.all(Array.from({ length: 8 }, () => get('/v1/tasks', '192.0.2.1')))
    const limited = replies.filter(reply => reply.status === 429)
    expect(limited.length).toBe(3)
    expect(limited[0]?.body).toMatchObject({ code: 'rate_limited' })
    expect(limited[0]?.headers.get('Retry-After')).toMatch(/^[1-9]/)
    expect((await get('/v1/tasks', '192.0.2.2')).status).toBe(401)
  })

  it('never limits those who ask for its health', async () => {
    const replies = await Promise.all(Array.from({ length: 20 }, () => get('/healthz', '192.0.2.3')))
    expect(replies.every(reply => reply.status === 200)).toBe(true)
    expect((await get('/readyz', '192.0.2.3')).body).toEqual({ status: 'ok' })
  })

  it('shows its metrics on their own listener only, and no label that a caller can choose', async () => {
    await get('/v1/tasks/anything-at-all', '192.0.2.4')
    await get('/nowhere/secret-path', '192.0.2.4')
    const text = await (await fetch(broker.metricsUrl ?? '')).text()
    expect(text).toContain('hallpass_http_request_seconds_count{operation="GET /v1/tasks",status="401"}')
    expect(text).toContain('hallpass_unproven_total{reason="attestation_missing"}')
    expect(text).not.toMatch(/anything-at-all|secret-path/)
    expect((await get('/metrics', '192.0.2.4')).status).toBe(404)
  })
})
