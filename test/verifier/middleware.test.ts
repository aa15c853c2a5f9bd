import { randomUUID } from 'node:crypto'
import { createServer, request as httpRequest, type Server } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import express from 'express'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Auth } from '../../src/verifier/auth.ts'
import { authOf, requireTask } from '../../src/verifier/express.ts'
import { withTask } from '../../src/verifier/fetch.ts'
import { refusalCodes, VerifierRefusal } from '../../src/verifier/refusal.ts'
import { type Followed, startFollowed, until } from './verifiers.ts'

let followed: Followed
let server: Server
let url: string
const seen: Auth[] = []
const failures: unknown[] = []
let hold: Promise<void> | null = null
let sign: AbortSignal | null = null

beforeAll(async () => {
  followed = await startFollowed()
  const { verifier } = followed
  const app = express()
  app.post('/deploy', requireTask(verifier, { scope: 'deploy:prod' }), (request, response) => {
    const auth = authOf(request)
    seen.push(auth)
    response.json({ task: auth.taskId })
  })
  app.get('/any', requireTask(verifier), (request, response) => void response.json(authOf(request).scopes))
  app.get('/long', requireTask(verifier), async (request, response) => {
    sign = authOf(request).signal
    response.write('begun')
    await hold
    response.end('done')
  })
  app.get('/forgotten', (request, response) => void response.json(authOf(request).jti))
  app.get(
    '/broken',
    requireTask({ verify: () => Promise.reject(new Error('a fault of ours')) }),
    (_, response) => void response.json({}),
  )
  app.use((error: unknown, _request: unknown, response: express.Response, _next: unknown) => {
    failures.push(error)
    response.status(500).end()
  })
  server = createServer(app)
  await new Promise<void>(listening => server.listen(0, '127.0.0.1', listening))
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})
afterAll(async () => {
  server.closeAllConnections()
  await new Promise(closed => server.close(closed))
  await followed.close()
})

/** Sends these bytes and gives the answer, whatever a client would make of either. */
function raw(lines: string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
    let answer = ''
    socket.on('data', chunk => {
      answer += chunk
    })
    socket.on('end', () => resolve(answer))
    socket.on('error', reject)
    socket.write(['POST /deploy HTTP/1.1', 'Host: x', 'Connection: close', ...lines, '', ''].join('\r\n'))
  })
}

const deploy = (authorization?: string) =>
  fetch(`${url}/deploy`, { method: 'POST', headers: authorization === undefined ? {} : { authorization } })

describe('requireTask', () => {
  test('lets a token pass, and tells the handler who asks', async () => {
    const task_id = randomUUID()
    const text = await followed.broker.token({ task_id })
    for (const scheme of ['Bearer', 'bearer', 'BEARER']) {
      const response = await deploy(`${scheme} ${text}`)
      expect([response.status, await response.json()]).toEqual([200, { task: task_id }])
    }
    expect(seen.at(-1)?.taskId).toBe(task_id)
  })

  test('without credentials, or with others than a token: 401, and no error is told', async () => {
    for (const authorization of [undefined, '', 'Basic dXNlcjpwYXNz', 'DPoP abc', 'Digest a="b", c="d"']) {
      const response = await deploy(authorization)
      expect(response.status).toBe(401)
      expect(response.headers.get('www-authenticate')).toBe('Bearer realm="hallpass"')
      expect(response.headers.get('cache-control')).toBe('no-store')
      expect(await response.json()).toEqual({ reason: 'token_missing' })
    }
  })

  test('a token that is refused: 401 invalid_token, with the reason', async () => {
    const response = await deploy(`Bearer ${await followed.broker.token({ exp: 1 })}`)
    expect(response.status).toBe(401)
    expect(response.headers.get('www-authenticate')).toBe(
      'Bearer realm="hallpass", error="invalid_token", error_description="token_expired: The token has expired."',
    )
    expect(response.headers.get('cache-control')).toBe('no-store')
    expect(response.headers.get('content-type')).toBe('application/json')
    expect(await response.json()).toEqual({ error: 'invalid_token', reason: 'token_expired' })
  })

  test('a missing scope: 403 insufficient_scope, and which', async () => {
    const response = await deploy(`Bearer ${await followed.broker.token({ scope: 'deploy:staging' })}`)
    expect(response.status).toBe(403)
    expect(response.headers.get('www-authenticate')).toBe(
      'Bearer realm="hallpass", error="insufficient_scope", error_description="scope_insufficient: The scope that is needed was not granted.", scope="deploy:prod"',
    )
    expect(await response.json()).toEqual({ error: 'insufficient_scope', reason: 'scope_insufficient' })
  })

  test('a header that cannot be read: 400 invalid_request', async () => {
    const text = await followed.broker.token()
    for (const authorization of [
      'Bearer',
      'Bearer ',
      'Bearer a b',
      `Bearer ${text} x`,
      'Bearer ä',
      'Bearer =',
      'Bearer a=b',
      'Bearer "a"',
      `Bearer ${text}, Bearer ${text}`,
      `Basic abc, Bearer ${text}`,
      `Bearer,${text}`,
      ': x',
    ]) {
      const response = await deploy(authorization)
      expect(response.status, authorization).toBe(400)
      expect(response.headers.get('www-authenticate')).toMatch(
        /^Bearer realm="hallpass", error="invalid_request", /,
      )
      expect(await response.json()).toEqual({ error: 'invalid_request', reason: 'request_malformed' })
    }
  })

  test('two headers: 400, though the first alone would do', async () => {
    const text = await followed.broker.token()
    expect(await raw([`Authorization: Bearer ${text}`])).toMatch(/^HTTP\/1.1 200 /)
    for (const second of [`Authorization: Bearer ${text}`, 'AUTHORIZATION: Basic abc', 'authorization:'])
      expect(await raw([`Authorization: Bearer ${text}`, second])).toMatch(/^HTTP\/1.1 400 /)
  })

  test('no other place than the header is looked at', async () => {
    const text = await followed.broker.token()
    const response = await fetch(`${url}/deploy?access_token=${text}`, {
      method: 'POST',
      body: new URLSearchParams({ access_token: text }),
    })
    expect(response.status).toBe(401)
  })

  test('without a scope any living task will do', async () => {
    const headers = { authorization: `Bearer ${await followed.broker.token({ scope: 'x y' })}` }
    expect(await (await fetch(`${url}/any`, { headers })).json()).toEqual(['x', 'y'])
  })

  test('what is no refusal is handed on as an error, and nothing passes', async () => {
    const headers = { authorization: `Bearer ${await followed.broker.token()}` }
    expect((await fetch(`${url}/broken`, { headers })).status).toBe(500)
    expect(failures.pop()).toMatchObject({ message: 'a fault of ours' })
  })

  test('a route that it does not stand before has nobody to ask', async () => {
    const headers = { authorization: `Bearer ${await followed.broker.token()}` }
    expect((await fetch(`${url}/forgotten`, { headers })).status).toBe(500)
    expect(failures.pop()).toMatchObject({ message: expect.stringContaining('requireTask') })
  })

  test('a scope that is none is a mistake, found when the routes are made', () => {
    for (const scope of ['', 'a"b', 'a  b', 7 as unknown as string])
      expect(() => requireTask(followed.verifier, { scope })).toThrow(TypeError)
  })

  test('a long request notices that its token dies', async () => {
    const { broker, verifier } = followed
    let go = () => {}
    hold = new Promise(resolve => {
      go = resolve
    })
    const task_id = randomUUID()
    const headers = { authorization: `Bearer ${await broker.token({ task_id })}` }
    const response = await fetch(`${url}/long`, { headers })
    expect(verifier.state().signals).toBe(1)
    broker.send(broker.event('task', { task_id, state: 'closed', ver: 1, until: broker.until() }))
    await until(() => sign?.aborted)
    expect(sign?.reason).toMatchObject({ code: 'task_closed' })
    go()
    expect(await response.text()).toBe('begundone')
  })

  test('when the response is done, or its connection gone, nothing is watched any more', async () => {
    const { broker, verifier } = followed
    let go = () => {}
    hold = new Promise(resolve => {
      go = resolve
    })
    const headers = { authorization: `Bearer ${await broker.token()}` }
    const [one, two] = await Promise.all([
      fetch(`${url}/long`, { headers }),
      fetch(`${url}/long`, { headers }),
    ])
    expect(verifier.state().signals).toBe(2)
    await two.body?.cancel()
    await until(() => verifier.state().signals === 1)
    go()
    await one.text()
    await until(() => verifier.state().signals === 0)
    expect(sign?.aborted).toBe(false)
  })

  test('nor where the connection was gone before the token was verified', async () => {
    const { broker } = followed
    let go = (_: Auth) => {}
    const auth = await followed.verifier.verify(await broker.token())
    let handled: Auth | null = null
    const late = express().get(
      '/',
      requireTask({
        verify: () =>
          new Promise<Auth>(resolve => {
            go = resolve
          }),
      }),
      request => {
        handled = authOf(request)
      },
    )
    const other = createServer(late)
    await new Promise<void>(listening => other.listen(0, '127.0.0.1', listening))
    let gone = false
    other.on('connection', socket =>
      socket.on('close', () => {
        gone = true
      }),
    )
    let verifying = false
    other.on('request', () => {
      verifying = true
    })
    const asked = httpRequest({
      port: (other.address() as AddressInfo).port,
      headers: { authorization: 'Bearer abc' },
    })
    asked.on('error', () => {})
    asked.end()
    await until(() => verifying)
    asked.destroy()
    await until(() => gone)
    go(auth)
    await until(() => handled)
    void (handled as unknown as Auth).signal
    expect(followed.verifier.state().signals).toBe(0)
    await new Promise(closed => other.close(closed))
  })
})

test('requireTask watches nothing for a response that was given up before it was called', async () => {
  const auth = await followed.verifier.verify(await followed.broker.token())
  const request = { headers: { authorization: 'Bearer abc' } }
  await new Promise<void>(next => {
    const gone = { destroyed: true, statusCode: 200, setHeader() {}, end() {}, once() {} }
    requireTask({ verify: async () => auth })(request, gone, () => next())
  })
  void authOf(request).signal
  expect(followed.verifier.state().signals).toBe(0)
})

describe('withTask', () => {
  const call = (
    handler: (request: Request, auth: Auth) => Response | Promise<Response>,
    authorization?: string,
  ) =>
    withTask(
      followed.verifier,
      { scope: 'deploy:prod' },
      handler,
    )(new Request('https://deploy.example/', { ...(authorization && { headers: { authorization } }) }))

  test('lets a token pass, with whatever else the runtime hands on', async () => {
    const authorization = `Bearer ${await followed.broker.token()}`
    const handler = withTask(
      followed.verifier,
      { scope: 'deploy:prod' },
      (request, auth, env: { name: string }, more: number) =>
        Response.json({ url: request.url, client: auth.clientId, name: env.name, more }),
    )
    const response = await handler(
      new Request('https://deploy.example/x', { headers: { authorization } }),
      { name: 'worker' },
      7,
    )
    expect(await response.json()).toEqual({
      url: 'https://deploy.example/x',
      client: 'github:repo:acme/api',
      name: 'worker',
      more: 7,
    })
  })

  test.each([
    [undefined, 401, 'Bearer realm="hallpass"', { reason: 'token_missing' }],
    ['Bearer a, Bearer b', 400, /invalid_request/, { error: 'invalid_request', reason: 'request_malformed' }],
    ['Bearer abc', 401, /invalid_token/, { error: 'invalid_token', reason: 'token_malformed' }],
  ])('%s: %i', async (authorization, status, challenge, body) => {
    const response = await call(() => Response.json({}), authorization)
    expect(response.status).toBe(status)
    expect(response.headers.get('www-authenticate')).toMatch(challenge)
    expect(response.headers.get('cache-control')).toBe('no-store')
    expect(await response.json()).toEqual(body)
  })

  test('a missing scope is told, as by requireTask', async () => {
    const response = await call(
      () => Response.json({}),
      `Bearer ${await followed.broker.token({ scope: 'x' })}`,
    )
    expect(response.status).toBe(403)
    expect(response.headers.get('www-authenticate')).toContain('scope="deploy:prod"')
  })

  test('a response that streams is watched to its end', async () => {
    const authorization = `Bearer ${await followed.broker.token()}`
    let more = () => {}
    const response = await call((_, auth) => {
      void auth.signal
      const body = new ReadableStream<Uint8Array>({
        async start(controller) {
          controller.enqueue(Buffer.from('one '))
          await new Promise<void>(resolve => {
            more = resolve
          })
          controller.enqueue(Buffer.from('two'))
          controller.close()
        },
      })
      return new Response(body, { status: 201, headers: { 'x-kept': 'yes' } })
    }, authorization)
    expect([response.status, response.headers.get('x-kept')]).toEqual([201, 'yes'])
    expect(followed.verifier.state().signals).toBe(1)
    more()
    expect(await response.text()).toBe('one two')
    expect(followed.verifier.state().signals).toBe(0)
  })

  test('one that is given up, fails, has no body, or never comes is watched no longer', async () => {
    const authorization = `Bearer ${await followed.broker.token()}`
    const watched = () => followed.verifier.state().signals
    let cancelled = false
    const endless = await call((_, auth) => {
      void auth.signal
      return new Response(
        new ReadableStream({
          cancel() {
            cancelled = true
          },
        }),
      )
    }, authorization)
    expect(watched()).toBe(1)
    await endless.body?.cancel()
    expect([watched(), cancelled]).toEqual([0, true])

    // Nothing of its body is being waited for.
    const full = await call((_, auth) => {
      void auth.signal
      return new Response(new ReadableStream({ start: controller => controller.enqueue(Buffer.from('x')) }))
    }, authorization)
    await new Promise(resolve => setTimeout(resolve, 20))
    await full.body?.cancel()
    expect(watched()).toBe(0)

    const broken = await call((_, auth) => {
      void auth.signal
      return new Response(
        new ReadableStream({
          pull() {
            throw new Error('broken off')
          },
        }),
      )
    }, authorization)
    await expect(broken.text()).rejects.toThrow('broken off')
    expect(watched()).toBe(0)

    await call((_, auth) => {
      void auth.signal
      return new Response(null, { status: 204 })
    }, authorization)
    expect(watched()).toBe(0)

    await expect(
      call((_, auth) => {
        void auth.signal
        throw new Error('a fault of the handler')
      }, authorization),
    ).rejects.toThrow('a fault of the handler')
    expect(watched()).toBe(0)
  })

  test('a response of which nobody watches anything is handed on as it is', async () => {
    const own = Response.json({})
    expect(await call(() => own, `Bearer ${await followed.broker.token()}`)).toBe(own)
  })

  test('what is no refusal is thrown on', async () => {
    const handler = withTask({ verify: () => Promise.reject(new Error('ours')) }, {}, () => Response.json({}))
    await expect(
      handler(new Request('https://x.example', { headers: { authorization: 'Bearer abc' } })),
    ).rejects.toThrow('ours')
  })
})

describe('every refusal', () => {
  test.each(refusalCodes)('%s has a status, an error and a challenge by RFC 6750', code => {
    const refusal = new VerifierRefusal(code, code === 'scope_insufficient' ? { scope: 'a b' } : {})
    const { status, error, challenge, message } = refusal
    expect([status, error]).toEqual(
      code === 'token_missing' || code === 'certificate_missing'
        ? [401, null]
        : code === 'request_malformed' || code === 'forwarded_malformed'
          ? [400, 'invalid_request']
          : code === 'scope_insufficient'
            ? [403, 'insufficient_scope']
            : [401, 'invalid_token'],
    )
    const scope = code === 'scope_insufficient' ? ', scope="a b"' : ''
    expect(challenge).toBe(
      error === null
        ? 'Bearer realm="hallpass"'
        : `Bearer realm="hallpass", error="${error}", error_description="${code}: ${message}"${scope}`,
    )
    // RFC 6750 §3: neither quotation marks nor backslashes, nor anything beyond ASCII.
    expect(`${code}: ${message}`).toMatch(/^[\x20-\x21\x23-\x5b\x5d-\x7e]+$/)
  })

  test('says nothing of what really happened, but keeps it for the log', () => {
    const cause = new Error('connect ECONNREFUSED 10.0.0.7:443')
    const refusal = new VerifierRefusal('status_unreachable', { cause })
    expect(refusal.cause).toBe(cause)
    expect(JSON.stringify([refusal.message, refusal.challenge, refusal])).not.toContain('10.0.0.7')
  })
})
