import { randomUUID } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { deflateSync } from 'node:zlib'
import { type CryptoKey, exportJWK, generateKeyPair, type JWK, SignJWT } from 'jose'
import { writePem } from '../../src/der/pem.ts'
import {
  type CrlOptions,
  type Leaf,
  type LeafOptions,
  newAuthority,
  newCrl,
  newLeaf,
  type Signer,
} from './certificate-maker.ts'
import { frame } from './frames.ts'
import { createWorldTime, type WorldTime } from './world-time.ts'

/** A connection to the feed, in the test's hands. */
export interface FeedConnection {
  request: IncomingMessage
  lastEventId: string | undefined
  write(bytes: string | Uint8Array): void
  /** Ends the stream; `cut` breaks the connection off. */
  end(): void
  cut(): void
}

type Handler = (request: IncomingMessage, response: ServerResponse) => void

export interface SigningKey {
  kid: string
  alg: string
  privateKey: CryptoKey
  jwk: JWK
}

/** What a broker says, and does, as the test wants it: whatever a good one never would. */
export interface ScriptedBroker {
  issuer: string
  audience: string
  time: WorldTime
  key: SigningKey
  /** What is published. */
  jwks: JWK[]
  epoch: string
  /** Number of the record so far. */
  seq: number
  /** What a new connection gets; a snapshot and a tick, unless the test has it otherwise. */
  onFeed: (connection: FeedConnection) => void
  feeds: FeedConnection[]
  /** How often each path was asked for. */
  asked: Record<string, number>
  /** Answers of other paths than the feed's: the keys, and lists that the test made. */
  answers: Map<string, Handler>
  tick(): string
  snapshot(members?: { tasks?: object[]; credentials?: object[]; keys?: object[] }): string
  /** The next event of the record. */
  event(type: 'task' | 'credential' | 'key', data: object): string
  /** To whoever listens. */
  send(text: string): void
  sign(claims: object, options?: { key?: SigningKey; typ?: string }): Promise<string>
  token(
    claims?: Record<string, unknown>,
    options?: { key?: SigningKey; typ?: string; header?: object },
  ): Promise<string>
  /** A status list, served under its own address, which is returned. */
  list(options?: ListOptions): Promise<string>
  /** Makes a root and an authority under it, publishes both, and serves the authority's empty list. */
  withAuthority(): Promise<Signer>
  /** What `/pki/ca.pem` has. */
  published: Signer[]
  /** The certificate of a task, by the authority that was made last unless another one is given. */
  certificate(options?: Partial<LeafOptions>): Leaf
  /** Serves a revocation list of an authority, made anew for whoever asks, under its own address, which is returned. */
  crl(options?: Partial<CrlOptions> & { at?: Signer }): string
  until(ms?: number): string
  close(): Promise<void>
}

export interface ListOptions {
  id?: string
  /** Statuses by index. */
  statuses?: number[]
  bits?: number
  key?: SigningKey
  typ?: string
  claims?: Record<string, unknown>
  lst?: string
}

export const newKey = async (alg = 'ES256', kid: string = randomUUID()): Promise<SigningKey> => {
  const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true })
  return { kid, alg, privateKey, jwk: { ...(await exportJWK(publicKey)), kid, alg, use: 'sig' } }
}

/** Statuses packed as a status list has them, by the book and slowly: the test's own reading of the draft. */
export function packed(statuses: number[], bits: number): Buffer {
  const bytes = Buffer.alloc(Math.ceil((statuses.length * bits) / 8))
  statuses.forEach((status, index) => {
    for (let bit = 0; bit < bits; bit++) {
      const at = index * bits + bit
      if (status & (1 << bit)) bytes[at >> 3] = (bytes[at >> 3] ?? 0) | (1 << (at & 7))
    }
  })
  return bytes
}

export async function startScriptedBroker(time: WorldTime = createWorldTime()): Promise<ScriptedBroker> {
  const key = await newKey()
  const server = createServer((request, response) => {
    const path = (request.url ?? '').split('?')[0] as string
    broker.asked[path] = (broker.asked[path] ?? 0) + 1
    const answer = broker.answers.get(path)
    if (answer) return answer(request, response)
    if (path === '/v1/revocations') return follow(request, response)
    response.writeHead(404).end()
  })
  await new Promise<void>(listening => server.listen(0, '127.0.0.1', listening))
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`

  function follow(request: IncomingMessage, response: ServerResponse): void {
    const connection: FeedConnection = {
      request,
      lastEventId: request.headers['last-event-id'] as string | undefined,
      write: bytes => void response.write(bytes),
      end: () => void response.end(),
      cut: () => void request.socket.resetAndDestroy(),
    }
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' })
    response.flushHeaders()
    broker.feeds.push(connection)
    response.once('close', () => {
      broker.feeds = broker.feeds.filter(other => other !== connection)
    })
    broker.onFeed(connection)
  }

  let authority: Signer | null = null
  const seconds = (ms: number) => Math.floor(ms / 1000)

  const broker: ScriptedBroker = {
    issuer,
    audience: 'https://deploy.example',
    time,
    key,
    jwks: [key.jwk],
    epoch: '0123456789abcdef',
    seq: 7,
    onFeed: connection => connection.write(broker.snapshot() + broker.tick()),
    feeds: [],
    asked: {},
    answers: new Map(),
    tick: () => frame('tick', { seq: broker.seq, at: new Date(time.database()).toISOString() }),
    snapshot: ({ tasks = [], credentials = [], keys = [] } = {}) =>
      frame(
        'snapshot',
        { tasks, credentials, keys, seq: broker.seq, at: new Date(time.database()).toISOString() },
        `${broker.epoch}-${broker.seq}`,
      ),
    event(type, data) {
      broker.seq++
      const at = new Date(time.database()).toISOString()
      return frame(type, { at, ...data }, `${broker.epoch}-${broker.seq}`)
    },
    send(text) {
      for (const feed of broker.feeds) feed.write(text)
    },
    sign: (claims, { key: by = key, typ = 'at+jwt' } = {}) =>
      new SignJWT({ ...claims }).setProtectedHeader({ alg: by.alg, kid: by.kid, typ }).sign(by.privateKey),
    token(claims = {}, { key: by = key, typ = 'at+jwt', header = {} } = {}) {
      const now = seconds(time.clocks.wall())
      const all: Record<string, unknown> = {
        iss: issuer,
        sub: 'github:repo:acme/api',
        client_id: 'github:repo:acme/api',
        aud: broker.audience,
        iat: now,
        exp: now + 300,
        jti: randomUUID(),
        scope: 'deploy:prod read',
        task_id: randomUUID(),
        task_ver: 1,
        ...claims,
      }
      for (const [name, value] of Object.entries(all)) if (value === undefined) delete all[name]
      return new SignJWT(all)
        .setProtectedHeader({ alg: by.alg, kid: by.kid, typ, ...header })
        .sign(by.privateKey, { crit: { x: true } })
    },
    async list({ id = randomUUID(), statuses = [0, 0, 0, 0], bits = 2, key: by = key, ...options } = {}) {
      const uri = `${issuer}/status-lists/${id}`
      const { typ = 'statuslist+jwt', lst = deflateSync(packed(statuses, bits)).toString('base64url') } =
        options
      broker.answers.set(`/status-lists/${id}`, async (_, response) => {
        const iat = seconds(time.database())
        const claims: Record<string, unknown> = {
          iss: issuer,
          sub: uri,
          iat,
          exp: iat + 60,
          ttl: 5,
          status_list: { bits, lst },
          ...options.claims,
        }
        for (const [name, value] of Object.entries(claims)) if (value === undefined) delete claims[name]
        response
          .writeHead(200, { 'content-type': 'application/statuslist+jwt' })
          .end(await broker.sign(claims, { key: by, typ }))
      })
      return uri
    },
    published: [],
    async withAuthority() {
      const now = time.database()
      const root = await newAuthority({ now })
      authority = await newAuthority({ now, by: root, pathLength: 0 })
      broker.published.push(root, authority)
      broker.crl()
      return authority
    },
    certificate: options => newLeaf({ now: time.database(), by: authority as Signer, ...options }),
    crl({ at = authority as Signer, ...options } = {}) {
      const path = `/pki/crl/${at.kid}`
      broker.answers.set(path, (_, response) => {
        const crl = newCrl({ by: at, thisUpdate: time.database(), ...options })
        response.writeHead(200, { 'content-type': 'application/pkix-crl' }).end(crl)
      })
      return `${issuer}${path}`
    },
    until: (ms = 600_000) => new Date(time.database() + ms).toISOString(),
    async close() {
      server.closeAllConnections()
      await new Promise(closed => server.close(closed))
    },
  }
  broker.answers.set('/.well-known/jwks.json', (_, response) => {
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ keys: broker.jwks }))
  })
  broker.answers.set('/pki/ca.pem', (_, response) => {
    const pem = broker.published.map(({ certificate }) => writePem('CERTIFICATE', certificate)).join('')
    response.writeHead(200, { 'content-type': 'application/x-pem-file' }).end(pem)
  })
  return broker
}
