import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createClient } from './client.ts'

interface Answer {
  status: number
  headers?: Record<string, string>
  body?: string
}

const id = '019f1c52-6b1e-7c3a-9d2f-0b8f5a4c1e77'

const task = {
  id,
  kind: 'ci-job',
  ref: 'r',
  purpose: null,
  principal: 'github:x',
  subject: 'github:x',
  trust: 'github',
  parent_id: null,
  state: 'open',
  close_reason: null,
  context: {},
  bind: [],
  ver: 1,
  opened_at: '2026-07-01T11:00:00.000Z',
  deadline: '2026-07-01T12:00:00.000Z',
  heartbeat_timeout: null,
  last_heartbeat_at: null,
  closed_at: null,
}

const problem = (status: number, more = {}) => ({
  type: 'urn:hallpass:problem',
  title: 't',
  status,
  detail: 'd',
  code: 'not_found',
  request_id: id,
  ...more,
})

const json = (status: number, value: unknown, headers: Record<string, string> = {}): Answer => ({
  status,
  headers: {
    'Content-Type': status >= 400 ? 'application/problem+json' : 'application/json; charset=utf-8',
    ...headers,
  },
  body: JSON.stringify(value),
})

/** Answers whatever the test put here; the request's own words come back in `seen`. */
let answer: Answer = { status: 200 }
let seen = { method: '', url: '', authorization: '', contentType: '', body: '' }

const server = createServer((request, response) => {
  const chunks: Buffer[] = []
  request.on('data', chunk => chunks.push(chunk))
  request.on('end', () => {
    const { authorization = '', 'content-type': contentType = '' } = request.headers
    const { method = '', url = '' } = request
    seen = { method, url, authorization, contentType, body: Buffer.concat(chunks).toString() }
    response.writeHead(answer.status, answer.headers).end(answer.body)
  })
})

let client: ReturnType<typeof createClient>
beforeAll(async () => {
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  client = createClient({ baseUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}` })
})
afterAll(() => {
  server.close()
})

const ask = (method: string, path: string, given: Answer) => {
  answer = given
  return client.request(method, path)
}

describe('the client rejects an answer', () => {
  const etag = { ETag: '"1"' }
  const noStore = { 'Cache-Control': 'no-store' }
  const path = `/v1/tasks/${id}`
  it.each<[string, string, string, Answer, string]>([
    [
      'with a status that is not documented',
      'GET',
      path,
      json(418, problem(418)),
      'status 418 is not documented',
    ],
    ['with a fault of the server', 'GET', path, json(500, problem(500)), 'status 500 is not documented'],
    ['without a header that must be there', 'GET', path, json(200, task), 'header ETag is missing'],
    ['with a malformed header', 'GET', path, json(200, task, { ETag: '1' }), 'header ETag: 1 must match'],
    [
      'with a Retry-After that is no number',
      'GET',
      path,
      json(503, problem(503), { 'Retry-After': 'soon' }),
      'header Retry-After: soon must be integer',
    ],
    ['with 401 and no challenge', 'GET', path, json(401, problem(401)), 'header WWW-Authenticate is missing'],
    [
      'of another media type',
      'GET',
      path,
      { ...json(200, task), headers: { ...etag, 'Content-Type': 'text/html' } },
      'media type text/html is not documented',
    ],
    ['of no media type', 'GET', path, { status: 200, headers: etag, body: '{}' }, 'media type (none)'],
    ['that is no JSON', 'GET', path, { ...json(200, {}, etag), body: '{' }, 'not JSON'],
    ['without a member', 'GET', path, json(200, { ...task, ver: undefined }, etag), 'body /ver: is required'],
    [
      'with a member too many',
      'GET',
      path,
      json(200, { ...task, secret: 1 }, etag),
      'body /secret: is not known',
    ],
    [
      'with a member of another type',
      'GET',
      path,
      json(200, { ...task, ver: '1' }, etag),
      'body /ver: must be integer',
    ],
    [
      'with a member too many, deep in a list',
      'GET',
      '/v1/tasks?limit=1',
      json(200, { items: [{ ...task, rev: 7 }], next: null }),
      'body /items/0/rev: is not known',
    ],
    [
      'with a time that is none',
      'GET',
      path,
      json(200, { ...task, deadline: 'x' }, etag),
      'body /deadline: must match',
    ],
    [
      'with a code outside the set',
      'GET',
      path,
      json(404, problem(404, { code: 'oops' })),
      'body /code: must be one of',
    ],
    ['with a problem of another status', 'GET', path, json(404, problem(400)), 'another status'],
    [
      'that tells more of a dead token than that it is dead',
      'POST',
      '/oauth2/introspect',
      json(200, { active: false, sub: 'x' }, noStore),
      'body /sub: is not known',
    ],
    [
      'with a token that may be kept',
      'POST',
      '/oauth2/introspect',
      json(200, { active: false }, { 'Cache-Control': 'public' }),
      'header Cache-Control: public must be "no-store"',
    ],
    [
      'with a private key',
      'GET',
      '/.well-known/jwks.json',
      json(
        200,
        { keys: [{ kty: 'EC', kid: 'k', use: 'sig', alg: 'ES256', d: 'x' }] },
        { 'Cache-Control': 'public, max-age=60' },
      ),
      'body /keys/0/d: is not known',
    ],
    ['with a body where none is', 'POST', '/oauth2/revoke', json(200, {}), 'has a body'],
    ['from a path that is not in the contract', 'GET', '/v1/rooms', json(200, {}), 'not in the contract'],
    ['to a method that is not in the contract', 'DELETE', path, json(200, task, etag), 'not in the contract'],
    ['404 that is no problem document', 'GET', '/nosuch', { status: 404, body: 'no' }, 'media type'],
    [
      '404 with a body too loose',
      'GET',
      '/nosuch',
      json(404, problem(404, { stack: 'x' })),
      'body /stack: is not known',
    ],
    [
      'to OPTIONS that does not say which methods there are',
      'OPTIONS',
      path,
      { status: 200 },
      'header Allow is missing',
    ],
    [
      'that leads elsewhere',
      'GET',
      path,
      { status: 302, headers: { Location: '/' } },
      'status 302 is not documented',
    ],
  ])('%s', async (_, method, where, given, message) => {
    await expect(ask(method, where, given)).rejects.toThrow(message)
  })

  it('and says what was asked, and everything that is wrong', async () => {
    const wrong = ask('GET', `/v1/tasks/${id}`, json(200, { ...task, ver: 0, kind: 'A' }))
    await expect(wrong).rejects.toThrow(/GET \/v1\/tasks\/019f.* answered 200.*ETag.*\/kind.*\/ver/s)
  })
})

describe('the client takes', () => {
  it('an answer that agrees with the contract, and parses it', async () => {
    const reply = await ask('GET', `/v1/tasks/${id}?`, json(200, task, { ETag: '"1"' }))
    expect(reply.status).toBe(200)
    expect(reply.headers.get('ETag')).toBe('"1"')
    expect(reply.body).toEqual(task)
    expect(reply.text).toBe(JSON.stringify(task))
  })

  it('an answer without a body where none is documented', async () => {
    expect((await ask('POST', '/oauth2/revoke', { status: 200 })).body).toBeUndefined()
  })

  it('text as text', async () => {
    const yaml = { status: 200, headers: { 'Content-Type': 'application/yaml' }, body: 'openapi: 3.1.1' }
    expect((await ask('GET', '/openapi.yaml', yaml)).body).toBe('openapi: 3.1.1')
  })

  it('404 and 405 for what the contract does not have', async () => {
    expect((await ask('GET', '/nosuch', json(404, problem(404)))).status).toBe(404)
    expect((await ask('DELETE', '/v1/tasks', json(405, problem(405)))).status).toBe(405)
  })
})

describe('the client sends', () => {
  const send = async (method: string, path: string, options: Parameters<typeof client.request>[2]) => {
    answer = json(404, problem(404))
    await client.request(method, path, options)
    return seen
  }

  it('JSON, of the media type that the operation has', async () => {
    const path = `/v1/tasks/${id}/context`
    expect(await send('PATCH', path, { json: { a: null }, token: 't' })).toEqual({
      method: 'PATCH',
      url: path,
      authorization: 'Bearer t',
      contentType: 'application/merge-patch+json',
      body: '{"a":null}',
    })
  })

  it('JSON of another media type, where the test says so', async () => {
    const options = { json: {}, headers: { 'Content-Type': 'text/plain' } }
    expect((await send('PATCH', `/v1/tasks/${id}/context`, options)).contentType).toBe('text/plain')
  })

  it('forms, repeating what is a list', async () => {
    const { body, contentType } = await send('POST', '/v1/nosuch', { form: { a: '1 2', b: ['3', '4'] } })
    expect(body).toBe('a=1+2&b=3&b=4')
    expect(contentType).toContain('application/x-www-form-urlencoded')
  })

  it('any body as it is', async () => {
    const { body } = await send('POST', '/v1/nosuch', { body: '{"a":1,"a":2}' })
    expect(body).toBe('{"a":1,"a":2}')
  })
})
