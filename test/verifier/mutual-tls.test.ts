import { createHash, randomUUID } from 'node:crypto'
import {
  type Agent,
  createServer,
  Agent as HttpsAgent,
  request as httpsRequest,
  type Server,
} from 'node:https'
import type { AddressInfo } from 'node:net'
import express from 'express'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { oids } from '../../src/der/oids.ts'
import { writePem } from '../../src/der/pem.ts'
import { authOf, requireTask } from '../../src/verifier/express.ts'
import { dns, type Leaf, newKeyPair, newLeaf, type Signer, uri } from './certificate-maker.ts'
import { type Followed, startFollowed, until } from './verifiers.ts'

let followed: Followed
let authority: Signer
let server: Server
let stop: AbortSignal | null = null
const handled: string[] = []

beforeAll(async () => {
  followed = await startFollowed()
  const { broker, verifier } = followed
  authority = await broker.withAuthority()
  const app = express()
  const scope = 'deploy:prod'
  app.get('/token', requireTask(verifier, { scope }), (request, response) => {
    response.json({ client: authOf(request).clientId })
  })
  app.get(
    '/certificate',
    requireTask(verifier, { scope, credentials: ['certificate'] }),
    (request, response) => {
      response.json({ spiffeId: authOf(request, 'certificate').spiffeId })
    },
  )
  app.get(
    '/both',
    requireTask(verifier, { scope, credentials: ['token', 'certificate'] }),
    (request, response) => {
      const auth = authOf(request, 'token', 'certificate')
      handled.push(auth.credential)
      response.json({ by: auth.credential === 'token' ? auth.clientId : auth.spiffeId })
    },
  )
  app.get('/long', requireTask(verifier, { credentials: ['certificate'] }), async (request, response) => {
    const { signal } = authOf(request, 'certificate')
    stop = signal
    response.write('begun')
    await new Promise(resolve => signal.addEventListener('abort', resolve))
    response.end(signal.reason.code)
  })
  app.get('/careless', requireTask(verifier, { credentials: ['certificate'] }), (request, response) => {
    response.json({ claims: authOf(request).claims })
  })
  app.use((error: Error, _request: unknown, response: express.Response, _next: unknown) => {
    response.status(500).json({ fault: error.message })
  })
  const certificate = newLeaf({
    now: Date.now(),
    by: authority,
    purposes: [oids.serverAuth],
    names: [uri('spiffe://hallpass.example/service'), dns('localhost')],
  })
  server = createServer(
    {
      key: certificate.privateKey.export({ type: 'pkcs8', format: 'pem' }),
      cert: certificate.pem + writePem('CERTIFICATE', authority.certificate),
      // Whom to believe is the verifier's to say.
      requestCert: true,
      rejectUnauthorized: false,
      minVersion: 'TLSv1.3',
    },
    app,
  )
  await new Promise<void>(listening => server.listen(0, '127.0.0.1', listening))
})
afterAll(async () => {
  server.closeAllConnections()
  await new Promise(closed => server.close(closed))
  await followed.close()
})

const agentOf = (leaf: Leaf | null): Agent =>
  new HttpsAgent({
    ca: writePem('CERTIFICATE', followed.broker.published[0]?.certificate as Buffer),
    servername: 'localhost',
    ...(leaf && { cert: leaf.pem, key: leaf.privateKey.export({ type: 'pkcs8', format: 'pem' }) }),
  })

interface Answer {
  status: number
  challenge: string | undefined
  body: unknown
}

function ask(path: string, leaf: Leaf | null, headers: Record<string, string> = {}, agent = agentOf(leaf)) {
  return new Promise<Answer>((resolve, reject) => {
    const { port } = server.address() as AddressInfo
    const asked = httpsRequest({ host: '127.0.0.1', port, path, agent, headers }, response => {
      let text = ''
      response.on('data', chunk => {
        text += chunk
      })
      response.on('end', () =>
        resolve({
          status: response.statusCode as number,
          challenge: response.headers['www-authenticate'],
          body: text.startsWith('{') ? JSON.parse(text) : text,
        }),
      )
    })
    asked.on('error', reject)
    asked.end()
  })
}

const tokenFor = (leaf: Leaf) =>
  followed.broker.token({ cnf: { 'x5t#S256': createHash('sha256').update(leaf.der).digest('base64url') } })
const bearer = async (text: string | Promise<string>) => ({ authorization: `Bearer ${await text}` })

describe('over mutual TLS', () => {
  test('a token that is bound to the certificate of the connection is taken', async () => {
    const leaf = followed.broker.certificate()
    expect(await ask('/token', leaf, await bearer(tokenFor(leaf)))).toEqual({
      status: 200,
      challenge: undefined,
      body: { client: 'github:repo:acme/api' },
    })
  })

  test('whoever else has got hold of it is refused', async () => {
    const headers = await bearer(tokenFor(followed.broker.certificate()))
    const other = await ask('/token', followed.broker.certificate(), headers)
    expect([other.status, other.body]).toEqual([401, { error: 'invalid_token', reason: 'binding_wrong' }])
    const none = await ask('/token', null, headers)
    expect([none.status, none.body]).toEqual([401, { error: 'invalid_token', reason: 'binding_missing' }])
    expect(none.challenge).toContain('binding_missing')
  })

  test('a header that tells a certificate is ignored where none is named', async () => {
    const leaf = followed.broker.certificate()
    const headers = {
      ...(await bearer(tokenFor(leaf))),
      'client-cert': `:${leaf.der.toString('base64')}:`,
      'x-forwarded-client-cert': `Hash=${createHash('sha256').update(leaf.der).digest('hex')};Cert="${encodeURIComponent(leaf.pem)}"`,
    }
    expect((await ask('/token', null, headers)).body).toMatchObject({ reason: 'binding_missing' })
    expect((await ask('/token', followed.broker.certificate(), headers)).body).toMatchObject({
      reason: 'binding_wrong',
    })
    expect((await ask('/certificate', null, headers)).body).toEqual({ reason: 'certificate_missing' })
  })

  test('a certificate alone is taken where the route takes them', async () => {
    const leaf = followed.broker.certificate()
    expect((await ask('/certificate', leaf)).body).toEqual({ spiffeId: 'spiffe://hallpass.example/task/x' })
    expect((await ask('/token', leaf)).body).toEqual({ reason: 'token_missing' })
  })

  test('none at all: 401, and no error is told', async () => {
    expect(await ask('/certificate', null)).toEqual({
      status: 401,
      challenge: 'Bearer realm="hallpass"',
      body: { reason: 'certificate_missing' },
    })
    expect((await ask('/both', null)).body).toEqual({ reason: 'token_missing' })
  })

  test('one of another authority, one that is dead, and one without the scope are refused', async () => {
    const { broker, verifier } = followed
    const stranger = broker.certificate({ by: { ...authority, privateKey: newKeyPair().privateKey } })
    expect(await ask('/certificate', stranger)).toMatchObject({
      status: 401,
      body: { reason: 'signature_wrong' },
    })
    const dead = broker.certificate()
    const { seq } = verifier.state()
    broker.send(broker.event('credential', { jti: dead.jti, until: broker.until() }))
    await until(() => verifier.state().seq !== seq)
    expect(await ask('/certificate', dead)).toMatchObject({
      status: 401,
      body: { error: 'invalid_token', reason: 'credential_revoked' },
    })
    const narrow = broker.certificate({ task: { scopes: ['read'] } })
    expect(await ask('/certificate', narrow)).toMatchObject({
      status: 403,
      body: { error: 'insufficient_scope', reason: 'scope_insufficient' },
    })
  })

  test('with both, a token that is sent is judged, and the certificate is no second try', async () => {
    const leaf = followed.broker.certificate()
    expect((await ask('/both', leaf)).body).toEqual({ by: 'spiffe://hallpass.example/task/x' })
    expect((await ask('/both', leaf, await bearer(followed.broker.token()))).body).toEqual({
      by: 'github:repo:acme/api',
    })
    expect(handled).toEqual(['certificate', 'token'])
    expect((await ask('/both', leaf, await bearer(followed.broker.token({ exp: 1 })))).body).toMatchObject({
      reason: 'token_expired',
    })
    expect((await ask('/both', leaf, { authorization: 'Basic abc' })).body).toEqual({
      reason: 'token_missing',
    })
    expect(handled).toHaveLength(2)
  })

  test('a long request notices that its certificate dies', async () => {
    const { broker, verifier } = followed
    const leaf = broker.certificate({ task: { taskId: randomUUID() } })
    const answer = ask('/long', leaf)
    await until(() => stop)
    expect(verifier.state().signals).toBe(1)
    broker.send(broker.event('credential', { jti: leaf.jti, until: broker.until() }))
    expect((await answer).body).toBe('beguncredential_revoked')
    await until(() => verifier.state().signals === 0)
  })

  test('a route that takes certificates and asks only for tokens is a mistake that shows', async () => {
    const { status, body } = await ask('/careless', followed.broker.certificate())
    expect([status, body]).toEqual([500, { fault: expect.stringContaining('certificate') }])
  })

  test('a resumed session and a kept connection tell the certificate too', async () => {
    const leaf = followed.broker.certificate()
    const agent = agentOf(leaf)
    agent.options.keepAlive = true
    for (let tries = 0; tries < 3; tries++)
      expect((await ask('/certificate', leaf, {}, agent)).status).toBe(200)
    agent.destroy()
    const again = agentOf(leaf)
    for (let tries = 0; tries < 3; tries++)
      expect((await ask('/certificate', leaf, { connection: 'close' }, again)).status).toBe(200)
    again.destroy()
  })
})
