import { writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type RequestListener } from 'node:http'
import { join } from 'node:path'
import { decodeJwt } from 'jose'
import { afterEach, expect, test } from 'vitest'
import { listen, shut } from '../support/issuer.ts'
import { folder, hallpass } from './command.ts'

const id = '019f1c52-6b1e-7c3a-9d2f-0b8f5a4c1e77'
const servers: ReturnType<typeof createServer>[] = []
afterEach(async () => {
  for (const server of servers.splice(0)) await shut(server)
})

/** Something on the broker's port that answers as it is told: what a client must bear. */
const start = async (answer: RequestListener) => {
  const requests: { line: string; authorization: string | undefined; body: string }[] = []
  const server = createServer(async (request, response) => {
    const line = `${request.method} ${request.url}`
    requests.push({ line, authorization: request.headers.authorization, body: await text(request) })
    answer(request, response)
  })
  servers.push(server)
  return { url: await listen(server), requests }
}

const text = async (request: IncomingMessage) => Buffer.concat(await request.toArray()).toString()

const json =
  (status: number, body: unknown): RequestListener =>
  (_, response) =>
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))

const call = (url: string, ...args: string[]) =>
  hallpass([...args, '--url', url], { env: { HALLPASS_TOKEN: 'token' } })

test('a problem document is one line, with code and request', async () => {
  const problem = {
    type: 'about:blank',
    title: 'Refused',
    status: 403,
    detail: 'Policy does not allow close on this task.',
    code: 'refused',
    request_id: id,
    decision_id: id,
  }
  const { url } = await start(json(403, problem))
  expect(await call(url, 'tasks', 'close', id)).toEqual({
    exitCode: 1,
    out: '',
    err: `hallpass: Policy does not allow close on this task. (status 403, code refused, request_id ${id}, decision_id ${id})`,
  })
})

test('each place that was wrong in the body is told', async () => {
  const errors = [{ path: '/reason', message: 'is too long' }]
  const { url } = await start(
    json(422, { detail: 'The body is wrong.', code: 'invalid', request_id: id, errors }),
  )
  expect((await call(url, 'tasks', 'suspend', id, '--reason', 'x')).err).toContain('/reason is too long')
})

test('requests go where the contract says, with the token and what was asked', async () => {
  const { url, requests } = await start(json(200, { items: [], next: null }))
  await call(url, 'tasks', 'list', '--state', 'open', '--ref', 'a/b c', '--limit', '5')
  await call(`${url}/`, 'tasks', 'show', id)
  await call(url, 'tasks', 'suspend', id, '--reason', 'odd')
  await call(url, 'tasks', 'resume', id)
  await call(url, 'tasks', 'close', id, '--outcome', 'revoked')
  await call(url, 'credentials', 'list', id)
  await call(url, 'credentials', 'show', id)
  await call(url, 'credentials', 'revoke', id)
  await call(url, 'decisions', 'list', '--task', id, '--decision', 'deny')
  await call(url, 'keys', 'list')
  await call(url, 'keys', 'rotate')
  await call(url, 'keys', 'withdraw', 'a-kid', '--reason', 'lost')
  await hallpass(['keys', 'withdraw', '--url', url, '--', '-b_'], { env: { HALLPASS_TOKEN: 'token' } })
  await call(url, 'revoke', '--principal', 'ci:x', '--reason', 'odd', '--dry-run')
  await call(url, 'revoke', '--trust', 'ci', '--until', '2099-01-01T00:00:00Z')
  await call(url, 'revoke', '--everything')
  await call(url, 'blocks', 'list', '--limit', '5')
  await call(url, 'blocks', 'lift', id)
  expect(requests.map(({ line, body }) => `${line} ${body}`.trim())).toEqual([
    'GET /v1/tasks?state=open&ref=a%2Fb+c&limit=5',
    `GET /v1/tasks/${id}`,
    `POST /v1/tasks/${id}/suspend {"reason":"odd"}`,
    `POST /v1/tasks/${id}/resume {}`,
    `POST /v1/tasks/${id}/close {"outcome":"revoked"}`,
    `GET /v1/tasks/${id}/credentials`,
    `GET /v1/credentials/${id}`,
    `POST /v1/credentials/${id}/revoke {}`,
    `GET /v1/decisions?task=${id}&decision=deny`,
    'GET /v1/keys',
    'POST /v1/keys/rotate',
    'POST /v1/keys/a-kid/withdraw {"reason":"lost"}',
    'POST /v1/keys/-b_/withdraw {}',
    'POST /v1/revocations {"principal":"ci:x","reason":"odd","dry_run":true}',
    'POST /v1/revocations {"trust":"ci","until":"2099-01-01T00:00:00Z"}',
    'POST /v1/revocations {"everything":true}',
    'GET /v1/blocks?limit=5',
    `DELETE /v1/blocks/${id}`,
  ])
  expect(new Set(requests.map(({ authorization }) => authorization))).toEqual(new Set(['Bearer token']))
})

test('a list is a table, and where there is more, how to get it is told apart', async () => {
  const items = [
    {
      kid: 'a',
      use: 'jwt',
      alg: 'ES256',
      state: 'active',
      published_at: 'p',
      active_at: 'q',
      retired_at: null,
      last_day: null,
    },
    {
      kid: 'bbb',
      use: 'x509',
      alg: 'RS256',
      state: 'prepared',
      published_at: 'p',
      active_at: 'q',
      retired_at: null,
      last_day: null,
    },
  ]
  const { url } = await start(json(200, { items, next: 'c1' }))
  expect(await call(url, 'keys', 'list')).toEqual({
    exitCode: 0,
    out: [
      'KID  USE   ALG    STATE     PUBLISHED_AT  ACTIVE_AT  RETIRED_AT  LAST_DAY',
      'a    jwt   ES256  active    p             q          -           -',
      'bbb  x509  RS256  prepared  p             q          -           -',
    ].join('\n'),
    err: 'There is more: --cursor c1',
  })
  const asJson = await call(url, 'keys', 'list', '--json')
  expect(JSON.parse(asJson.out)).toEqual({ items, next: 'c1' })
  expect(asJson.err).toBe('')
})

test('one thing is shown a line for each member', async () => {
  const { url } = await start(json(200, { id, context: { sha: 'x' }, bind: ['sha', 'env'], purpose: null }))
  expect((await call(url, 'tasks', 'show', id)).out).toBe(
    [`id       ${id}`, 'context  {"sha":"x"}', 'bind     sha env', 'purpose  -'].join('\n'),
  )
})

test('what comes from elsewhere is not obeyed by the terminal', async () => {
  const evil = 'x\u001b]0;y\u0007\u009b2J\u202e\n'
  const { url } = await start(json(200, { items: [{ kid: evil }], next: evil }))
  for (const args of [
    ['keys', 'list'],
    ['keys', 'list', '--json'],
  ]) {
    const { out, err } = await call(url, ...args)
    for (const char of ['\u001b', '\u0007', '\u009b', '\u202e']) expect(`${out}${err}`).not.toContain(char)
  }
  expect(JSON.parse((await call(url, 'keys', 'list', '--json')).out).items[0].kid).toBe(evil)
})

test.each<[string, RequestListener]>([
  ['a page of HTML', (_, response) => response.writeHead(502).end('<html>')],
  ['nothing', (_, response) => response.writeHead(200).end()],
  ['a list where an object belongs', json(200, [])],
  ['an object without items', json(200, {})],
  ['items that are no objects', json(200, { items: [1] })],
  ['a hang-up', (_, response) => response.destroy()],
])('an answer that is %s ends the command with 1', async (_, answer) => {
  const { url } = await start(answer)
  const { exitCode, out, err } = await call(url, 'keys', 'list')
  expect([exitCode, out]).toEqual([1, ''])
  expect(err).toMatch(/^hallpass: The broker /)
})

test('a redirection is not followed: the token is for this broker', async () => {
  const elsewhere = await start(json(200, { items: [], next: null }))
  const { url } = await start((_, response) => response.writeHead(307, { location: elsewhere.url }).end())
  expect((await call(url, 'keys', 'list')).exitCode).toBe(1)
  expect(elsewhere.requests).toEqual([])
})

test('a broker that is not there ends the command with 1', async () => {
  const server = createServer()
  const url = await listen(server)
  await shut(server)
  const { exitCode, err } = await call(url, 'keys', 'list')
  expect(exitCode).toBe(1)
  expect(err).toMatch(/cannot be reached \(ECONNREFUSED\)/)
})

test("without a token, one is made from the master key, for the configuration's issuer", async () => {
  const { url, requests } = await start(json(200, { items: [], next: null }))
  const cwd = folder()
  writeFileSync(join(cwd, 'hallpass.yaml'), `issuer: ${url}`)
  const env = { HALLPASS_MASTER_KEY: Buffer.alloc(32, 7).toString('base64') }
  expect((await hallpass(['keys', 'list'], { cwd, env })).exitCode).toBe(0)
  expect(decodeJwt(requests[0]!.authorization!.slice('Bearer '.length))).toMatchObject({ iss: url, aud: url })
})

test('without a token and without a master key it says what is missing', async () => {
  expect((await hallpass(['keys', 'list'])).err).toMatch(/no master key/)
})
