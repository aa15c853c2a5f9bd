import { createHash } from 'node:crypto'
import https from 'node:https'
import { connect } from 'node:tls'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type {
  Credential,
  Introspection,
  ServerMetadata,
  Task,
  TokenResponse,
} from '../../src/http/openapi.generated.d.ts'
import { spiffeSource, testIssuer } from '../support/broker.ts'
import type { ClientCertificate, MtlsClient } from '../support/mtls-client.ts'
import { claimsOf } from '../support/scene.ts'
import { selfSigned } from '../support/self-signed.ts'
import { createTrustDomain } from '../support/spiffe.ts'
import { createX509TrustDomain, type TestAuthority, type TestSvid } from '../support/x509.ts'
import { type MtlsWorld, ownDomain, startMtlsWorld } from './mtls-world.ts'
import { deploy, type OAuthError, type Problem, startWorld } from './world.ts'

let world: MtlsWorld
const once = createTrustDomain('once.example')
let onceBundle: Awaited<ReturnType<typeof once.serveBundle>>

beforeAll(async () => {
  onceBundle = await once.serveBundle()
  world = await startMtlsWorld({
    trust: [spiffeSource('once.example', { url: onceBundle.url }, { reuse: 'once' })],
  })
})
afterAll(async () => {
  await world?.close()
  await onceBundle?.close()
})

const sha256 = (der: Buffer) => createHash('sha256').update(der)

const open = async (client: MtlsClient, ref: string = crypto.randomUUID()): Promise<Task> => {
  const { status, body, text } = await client.request<Task>('POST', '/v1/tasks', {
    json: { kind: 'agent-run', ref },
  })
  if (status !== 201) throw new Error(text)
  return body
}
const clientCredentials = (client: Pick<MtlsClient, 'request'>, form: Record<string, string> = {}) =>
  client.request<TokenResponse & OAuthError>('POST', '/oauth2/token', {
    form: { grant_type: 'client_credentials', scope: 'deploy:prod', audience: deploy, ...form },
  })
/** The latest row of the decision log with this reason, as it is once it is written. */
const rowOf = async (reason: string) =>
  (
    await world.broker.sql<{ principal: string | null; attestation: string; decision: string; code: string }>(
      `SELECT principal, encode(attestation, 'hex') AS attestation, decision, code FROM decisions
       WHERE reason = $1 ORDER BY at DESC LIMIT 1`,
      [reason],
    )
  )[0]

describe('an X.509-SVID is as good as a bearer attestation', () => {
  it('to open a task, read, change and end it', async () => {
    const svid = world.svid('/agent')
    const client = world.with(svid.pem)
    const task = await open(client)
    expect(task).toMatchObject({ principal: svid.id, trust: 'prod-example' })
    const at = `/v1/tasks/${task.id}`
    const found = await client.request<{ items: Task[] }>('GET', '/v1/tasks')
    expect(found.body.items.map(({ id }) => id)).toContain(task.id)
    expect((await client.request('GET', at)).status).toBe(200)
    expect((await client.request('PATCH', `${at}/context`, { json: { ticket: '1' } })).status).toBe(200)
    const deadline = new Date(world.broker.clock.now() + 7_200_000).toISOString()
    expect((await client.request('POST', `${at}/extend`, { json: { deadline } })).status).toBe(200)
    for (const action of ['heartbeat', 'suspend', 'resume', 'close'])
      expect((await client.request('POST', `${at}/${action}`, { json: {} })).status, action).toBe(200)
  })

  it('to mint, by REST and as an OAuth client, to introspect, to revoke and to list', async () => {
    const client = world.with(world.svid('/agent').pem)
    const task = await open(client)
    const rest = await client.request<TokenResponse>('POST', `/v1/tasks/${task.id}/credentials`, {
      json: { type: 'jwt', scope: 'deploy:prod', audience: deploy },
    })
    expect(rest.status).toBe(201)
    const oauth = await clientCredentials(client, { task_id: task.id })
    expect(oauth.status).toBe(200)
    for (const { access_token: token } of [rest.body, oauth.body]) {
      const { jti } = claimsOf(token)
      const asked = await client.request<Introspection>('POST', '/oauth2/introspect', { form: { token } })
      expect(asked.body.active).toBe(true)
      expect((await client.request('GET', `/v1/credentials/${jti}`)).status).toBe(200)
    }
    const revoked = `/v1/credentials/${claimsOf(rest.body.access_token).jti}/revoke`
    expect((await client.request('POST', revoked, { json: {} })).status).toBe(200)
    const token = oauth.body.access_token
    expect((await client.request('POST', '/oauth2/revoke', { form: { token } })).status).toBe(200)
    expect(await world.live(token)).toBe(false)
    const { body } = await client.request<{ items: Credential[] }>('GET', `/v1/tasks/${task.id}/credentials`)
    expect(body.items.map(({ live }) => live)).toEqual([false, false])
  })

  it('to follow the feed as somebody', async () => {
    const svid = world.svid('/svc/deploy')
    expect((await world.with(svid.pem).request('GET', '/v1/revocations')).status).toBe(200)
    const [row] = await world.broker.sql(
      `SELECT principal FROM decisions WHERE action = 'follow' AND attestation = $1`,
      [sha256(svid.certificate).digest()],
    )
    expect(row).toEqual({ principal: svid.id })
  })

  it('with its digest in the log', async () => {
    const svid = world.svid('/agent')
    const task = await open(world.with(svid.pem))
    const [row] = await world.broker.sql(
      `SELECT principal, attestation FROM decisions WHERE task_id = $1 AND action = 'open'`,
      [task.id],
    )
    expect(row).toEqual({ principal: svid.id, attestation: sha256(svid.certificate).digest() })
  })

  it('with intermediates', async () => {
    const above = world.prod.x509.intermediate()
    const below = world.prod.x509.intermediate({ signer: above })
    const svid = world.prod.x509.svid('/agent', { signer: below, intermediates: [below, above] })
    expect((await open(world.with(svid.pem))).principal).toBe(svid.id)
  })

  it('beside attestations as tokens, which prove who asks where they are there', async () => {
    const client = world.with(world.svid('/one').pem)
    const token = world.as('/other')
    const { body } = await client.request<Task>('POST', '/v1/tasks', {
      token,
      json: { kind: 'agent-run', ref: 'both' },
    })
    expect(body.principal).toBe('spiffe://prod.example/other')
    // A client without a certificate, or with one that proves nothing, is as good with a token as on the other listener.
    for (const other of [world.with(), world.with(selfSigned())])
      expect((await other.request('GET', `/v1/tasks/${body.id}`, { token })).status).toBe(200)
  })

  it('and is counted against the limits of its principal', async () => {
    const limited = await startMtlsWorld({ config: { limits: { principal: 1, address: null } } })
    try {
      const client = limited.with(limited.svid('/busy').pem)
      const statuses = []
      for (let i = 0; i < 3; i++) statuses.push((await client.request('GET', '/v1/tasks')).status)
      expect(statuses).toContain(429)
      expect((await clientCredentials(client)).body.error).toBe('slow_down')
    } finally {
      await limited.close()
    }
  })

  it('as often as it likes, though its source’s tokens are good for one use: each handshake proves it anew', async () => {
    const client = world.with(once.x509.svid('/agent').pem)
    for (let time = 0; time < 2; time++) expect((await client.request('GET', '/v1/tasks')).status).toBe(200)
  })
})

describe('refused, with its digest in the log, is', () => {
  const now = Date.now()
  const impostor = createX509TrustDomain('prod.example')
  const clients: [string, string, () => ClientCertificate & { der: Buffer }][] = [
    ['a certificate that vouches for itself', 'uri', selfSigned],
    [
      'one of a domain that nobody trusts',
      'issuer_unknown',
      () => of(createX509TrustDomain('x.example').svid('/a')),
    ],
    [
      'one of the broker’s own domain',
      'own_certificate',
      () => of(createX509TrustDomain(ownDomain).svid('/a')),
    ],
    ['one that another authority signed for the domain', 'path', () => of(impostor.svid('/a'))],
    [
      'one that has expired',
      'expired',
      () => of(world.prod.x509.svid('/a', { notBefore: now - 7_200_000, notAfter: now - 3_600_000 })),
    ],
    [
      'one that is not valid yet',
      'not_yet_valid',
      () => of(world.prod.x509.svid('/a', { notBefore: now + 3_600_000, notAfter: now + 7_200_000 })),
    ],
    [
      'one with a chain as long as a novel',
      'chain_size',
      () => {
        let [signer] = world.prod.x509.roots as [TestAuthority]
        const above = Array.from({ length: 20 }, () => {
          signer = world.prod.x509.intermediate({ signer })
          return signer
        })
        return of(world.prod.x509.svid('/a', { signer, intermediates: above.toReversed() }))
      },
    ],
  ]
  const of = ({ pem, certificate }: TestSvid) => ({ ...pem, der: certificate })

  it.each(clients)('%s', async (_, reason, make) => {
    const shown = make()
    const client = world.with(shown)
    // Of one reason a row is written each second.
    await expect
      .poll(
        async () => {
          const { status, body, headers } = await client.request<Problem>('GET', '/v1/tasks')
          expect([status, body.code]).toEqual([401, 'attestation_invalid'])
          expect(headers.get('WWW-Authenticate')).toMatch(/^Bearer /)
          return rowOf(reason)
        },
        { timeout: 5_000, interval: 300 },
      )
      .toEqual({
        principal: null,
        attestation: sha256(shown.der).digest('hex'),
        decision: 'deny',
        code: 'attestation_invalid',
      })
    const oauth = await clientCredentials(client)
    expect(oauth).toMatchObject({
      status: 401,
      body: { error: 'invalid_client', code: 'attestation_invalid' },
    })
    expect((await client.request('GET', '/v1/revocations')).status).toBe(401)
  })

  it('nobody at all: who shows no certificate and says nothing', async () => {
    const client = world.with()
    const { status, body } = await client.request<Problem>('GET', '/v1/tasks')
    expect([status, body.code]).toEqual([401, 'attestation_missing'])
    expect((await clientCredentials(client)).body).toMatchObject({
      error: 'invalid_request',
      code: 'malformed',
    })
    // What is public is public here too.
    expect((await client.request('GET', '/.well-known/jwks.json')).status).toBe(200)
    expect((await client.request('GET', '/v1/revocations')).status).toBe(200)
  })

  it.each(['Bearer nonsense', 'Bearer', 'Basic YTpi'])(
    'whoever comes with Authorization: %s, whatever the certificate says',
    async Authorization => {
      const client = world.with(world.svid('/agent').pem)
      const { status, body } = await client.request<Problem>('GET', '/v1/tasks', {
        headers: { Authorization },
      })
      expect([status, body.code]).toEqual([401, 'attestation_invalid'])
    },
  )

  it('a certificate in a header, for nobody in front of the broker has checked it', async () => {
    const { pem } = world.svid('/agent')
    const text = encodeURIComponent(pem.cert)
    for (const client of [world.broker.client, world.with()])
      for (const name of ['X-Forwarded-Client-Cert', 'Client-Cert', 'X-SSL-Client-Cert', 'X-Client-Cert'])
        expect((await client.request('GET', '/v1/tasks', { headers: { [name]: text } })).status).toBe(401)
  })

  it('the next request on an open connection, once the domain has another authority', async () => {
    const client = world.with(world.svid('/agent').pem)
    expect((await client.request('GET', '/v1/tasks')).status).toBe(200)
    const socket = client.socket()
    world.prod.x509.rotate()
    world.prod.sequence += 1
    await world.prod.writeBundle(world.bundle)
    world.broker.clock.advance(61_000)
    const { status, body } = await client.request<Problem>('GET', '/v1/tasks')
    expect([status, body.code]).toEqual([401, 'attestation_invalid'])
    expect(client.socket()).toBe(socket)
    expect((await world.with(world.svid('/agent').pem).request('GET', '/v1/tasks')).status).toBe(200)
  })
})

describe('the listener', () => {
  it('shows a certificate that the broker made for its issuer’s host, where none is configured', async () => {
    const made = await startWorld({
      config: {
        listen: {
          host: '127.0.0.1',
          port: 0,
          metricsPort: null,
          mtls: { port: 0, cert: null, key: null },
          trustedProxies: [],
        },
        pki: { trustDomain: ownDomain, path: '/task/{task_id}' },
      },
    })
    try {
      const { text: roots } = await made.broker.client.request('GET', '/pki/ca.pem')
      const { port } = new URL(made.broker.mtlsUrl ?? '')
      const { cert, key } = made.prod.x509.svid('/agent').pem
      const socket = connect({
        host: '127.0.0.1',
        port: Number(port),
        servername: 'hallpass.test',
        ca: roots,
        cert,
        key,
      })
      await new Promise((resolve, reject) => socket.once('secureConnect', resolve).once('error', reject))
      expect(socket.authorized).toBe(true)
      socket.destroy()
    } finally {
      await made.close()
    }
  })

  it('streams the feed, and cuts it off with the certificate', async () => {
    const { broker } = world
    const ends = broker.clock.now() + 4_000
    const { pem } = world.prod.x509.svid('/svc/deploy', { notAfter: ends })
    const told = await new Promise<string>((resolve, reject) => {
      let text = ''
      https
        .get(
          `${broker.mtlsUrl}/v1/revocations`,
          { ...pem, agent: false, rejectUnauthorized: false },
          answer => {
            answer.on('data', chunk => {
              text += chunk
            })
            answer.once('close', () => resolve(text))
            answer.once('error', () => resolve(text))
          },
        )
        .once('error', reject)
    })
    expect(told).toContain('event: snapshot')
    expect(broker.clock.now() - ends).toBeLessThan(5_000)
  })

  it('ends with the broker, once what is under way is answered', async () => {
    const other = await startMtlsWorld()
    const client = other.with(other.svid('/agent').pem)
    expect((await client.request('GET', '/v1/tasks')).status).toBe(200)
    const socket = client.socket()
    await other.close()
    expect(socket.destroyed).toBe(true)
  })
})

describe('a client in its own name (RFC 8705 §2.1)', () => {
  it('may say who it is, and must not say that it is another', async () => {
    const svid = world.svid('/agent')
    const client = world.with(svid.pem)
    const { id } = await open(client)
    expect((await clientCredentials(client, { task_id: id, client_id: svid.id })).status).toBe(200)
    const other = await clientCredentials(client, { task_id: id, client_id: 'spiffe://prod.example/other' })
    expect(other).toMatchObject({
      status: 401,
      body: { error: 'invalid_client', code: 'attestation_invalid' },
    })
    expect(other.body.decision_id).toBeDefined()
  })

  it('brings one proof: a certificate, an assertion or nothing else', async () => {
    const client = world.with(world.svid('/one').pem)
    const { id: task_id } = await open(client)
    const type = 'urn:ietf:params:oauth:client-assertion-type:jwt-spiffe'
    // The assertion is the client's authentication where there is one.
    const { body } = await clientCredentials(client, {
      task_id,
      client_assertion: world.as('/other'),
      client_assertion_type: type,
    })
    expect(body.code).toBe('task_unknown')
    for (const form of [{ client_assertion_type: type }, { client_assertion: world.as('/one') }])
      expect((await clientCredentials(client, { task_id, ...form })).body).toMatchObject({
        error: 'invalid_request',
        code: 'malformed',
      })
    const both = await client.request<OAuthError>('POST', '/oauth2/token', {
      token: world.as('/one'),
      form: { grant_type: 'client_credentials', scope: 'deploy:prod', audience: deploy, task_id },
    })
    expect([both.status, both.body.code]).toEqual([400, 'malformed'])
  })

  it('is the only one whose certificate stands in for a token', async () => {
    const client = world.with(world.svid('/agent').pem)
    const { id: task_id } = await open(client)
    const grants = ['token-exchange', 'jwt-bearer'].map(name => `urn:ietf:params:oauth:grant-type:${name}`)
    for (const grant_type of grants) {
      const { status, body } = await clientCredentials(client, { grant_type, task_id })
      expect([status, body.code]).toEqual([400, 'malformed'])
    }
  })

  it('finds all this in the metadata, where there is such a listener', async () => {
    const path = '/.well-known/oauth-authorization-server'
    const { body } = await world.broker.client.request<ServerMetadata>('GET', path)
    const { port } = new URL(world.broker.mtlsUrl ?? '')
    expect(body).toMatchObject({
      token_endpoint: `${testIssuer}/oauth2/token`,
      token_endpoint_auth_methods_supported: ['private_key_jwt', 'none', 'tls_client_auth'],
      tls_client_certificate_bound_access_tokens: true,
      mtls_endpoint_aliases: {
        token_endpoint: `https://hallpass.test:${port}/oauth2/token`,
        introspection_endpoint: `https://hallpass.test:${port}/oauth2/introspect`,
        revocation_endpoint: `https://hallpass.test:${port}/oauth2/revoke`,
      },
    })
    const plain = await startWorld()
    try {
      const { body } = await plain.broker.client.request<ServerMetadata>('GET', path)
      expect(body.token_endpoint_auth_methods_supported).toEqual(['private_key_jwt', 'none'])
      expect(Object.keys(body).filter(name => /tls/.test(name))).toEqual([])
    } finally {
      await plain.close()
    }
  })
})
