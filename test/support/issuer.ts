import {
  constants,
  createHmac,
  generateKeyPairSync,
  type JsonWebKey,
  type KeyObject,
  randomUUID,
  sign,
} from 'node:crypto'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export type TestAlg =
  | 'RS256'
  | 'RS384'
  | 'RS512'
  | 'PS256'
  | 'PS384'
  | 'PS512'
  | 'ES256'
  | 'ES384'
  | 'ES512'
  | 'EdDSA'

export interface TestKey {
  kid: string
  alg: TestAlg
  privateKey: KeyObject
  publicKey: KeyObject
  /** The public JWK, with `kid`, `alg` and `use`. */
  jwk: JsonWebKey & { kid: string }
}

/** What the issuer's HTTP server does instead of answering well. */
export type Fault =
  | 'slow'
  | 'drip'
  | 'huge'
  | 'error'
  | 'not-found'
  | 'redirect'
  | 'not-json'
  | 'no-keys'
  | 'hang-up'

export interface TestIssuer {
  issuer: string
  jwksUri: string
  /** The published keys; change it freely. The first one signs by default. */
  keys: TestKey[]
  /** JWKs to publish besides them. */
  extraJwks: object[]
  /** Members that replace those of the discovery document. */
  discovery: Record<string, unknown>
  /** Sent with the key set. */
  cacheControl: string | null
  fault: { discovery?: Fault | undefined; jwks?: Fault | undefined }
  /** Requests seen so far. */
  requests: { discovery: number; jwks: number; other: string[] }
  /** Signs claims as they are; `iss` alone is filled in. */
  sign(claims: object, options?: SignOptions): string
  /** Publishes a new key, which signs from now on, in place of all others. */
  rotate(alg?: TestAlg): TestKey
  close(): Promise<void>
}

export interface SignOptions {
  key?: TestKey | undefined
  /** Members that replace those of `{ alg, kid, typ: 'JWT' }`; undefined takes one away. */
  header?: Record<string, unknown> | undefined
}

/** An OIDC issuer on loopback: real discovery, real keys, and any token and any fault that a test can ask for. */
export async function startIssuer(options: { alg?: TestAlg } = {}): Promise<TestIssuer> {
  const server = createServer((req, res) => {
    if (req.url === '/.well-known/openid-configuration') {
      self.requests.discovery++
      const document = { issuer: self.issuer, jwks_uri: self.jwksUri, ...self.discovery }
      answer(res, document, self.fault.discovery)
    } else if (req.url === '/jwks') {
      self.requests.jwks++
      if (self.cacheControl !== null) res.setHeader('cache-control', self.cacheControl)
      answer(res, { keys: [...self.keys.map(key => key.jwk), ...self.extraJwks] }, self.fault.jwks)
    } else {
      self.requests.other.push(req.url ?? '')
      res.writeHead(404).end()
    }
  })
  const issuer = await listen(server)
  const self: TestIssuer = {
    issuer,
    jwksUri: `${issuer}/jwks`,
    keys: [generateKey(options.alg ?? 'ES256')],
    extraJwks: [],
    discovery: {},
    cacheControl: null,
    fault: {},
    requests: { discovery: 0, jwks: 0, other: [] },
    sign(claims, { key = self.keys[0], header } = {}) {
      if (!key) throw new Error('the issuer has no key')
      return signJws(key, { iss: issuer, ...claims }, header)
    },
    rotate(alg = 'ES256') {
      const key = generateKey(alg)
      self.keys = [key]
      return key
    },
    close: () => shut(server),
  }
  return self
}

export function generateKey(
  alg: TestAlg,
  { kid = randomUUID(), bits = 2048, use = 'sig' }: { kid?: string; bits?: number; use?: string } = {},
): TestKey {
  const pair = generatePair(alg, bits)
  return { kid, alg, ...pair, jwk: { ...pair.publicKey.export({ format: 'jwk' }), kid, alg, use } }
}

function generatePair(alg: TestAlg, bits: number): { publicKey: KeyObject; privateKey: KeyObject } {
  if (alg === 'EdDSA') return generateKeyPairSync('ed25519')
  if (alg.startsWith('ES')) return generateKeyPairSync('ec', { namedCurve: curves[alg.slice(2)] ?? '' })
  return generateKeyPairSync('rsa', { modulusLength: bits })
}

const curves: Record<string, string> = { 256: 'P-256', 384: 'P-384', 512: 'P-521' }

/** Signs with the key's own algorithm, whatever the header then says. */
export function signJws(key: TestKey, payload: object, header: Record<string, unknown> = {}): string {
  const jose = { alg: key.alg, kid: key.kid, typ: 'JWT', ...header }
  return signText(key, JSON.stringify(jose), JSON.stringify(payload))
}

/** Signs header and payload exactly as written. */
export function signText(key: TestKey, header: string | Buffer, payload: string | Buffer): string {
  const input = `${encode(header)}.${encode(payload)}`
  return `${input}.${signBytes(key, input).toString('base64url')}`
}

/** What a forger makes: an HMAC keyed with whatever is public. */
export function hmacJws(secret: string | Buffer, payload: object, header: Record<string, unknown>): string {
  const input = `${encode(JSON.stringify(header))}.${encode(JSON.stringify(payload))}`
  return `${input}.${createHmac('sha256', secret).update(input).digest('base64url')}`
}

export function encode(text: string | Buffer): string {
  return Buffer.from(text).toString('base64url')
}

function signBytes({ alg, privateKey: key }: TestKey, input: string): Buffer {
  const data = Buffer.from(input)
  if (alg === 'EdDSA') return sign(null, data, key)
  const hash = `sha${alg.slice(2)}`
  if (alg.startsWith('ES')) return sign(hash, data, { key, dsaEncoding: 'ieee-p1363' })
  if (alg.startsWith('RS')) return sign(hash, data, key)
  const saltLength = constants.RSA_PSS_SALTLEN_DIGEST
  return sign(hash, data, { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength })
}

/** Answers with the document, or with the fault in its place. */
export function answer(res: ServerResponse, document: object, fault?: Fault): void {
  const json = { 'content-type': 'application/json' }
  switch (fault) {
    case undefined:
      return void res.writeHead(200, json).end(JSON.stringify(document))
    case 'slow':
      return
    case 'drip':
      return void res.writeHead(200, json).write('{')
    case 'huge':
      return void res
        .writeHead(200, json)
        .end(JSON.stringify({ ...document, filler: 'x'.repeat(600 * 1024) }))
    case 'error':
      return void res.writeHead(500, json).end(JSON.stringify(document))
    case 'not-found':
      return void res.writeHead(404, json).end(JSON.stringify(document))
    case 'redirect':
      return void res.writeHead(302, { location: '/elsewhere' }).end()
    case 'not-json':
      return void res.writeHead(200, json).end('<html>')
    case 'no-keys':
      return void res.writeHead(200, json).end('{}')
    case 'hang-up':
      return void res.destroy()
  }
}

export async function listen(server: ReturnType<typeof createServer>): Promise<string> {
  await new Promise<void>(listening => server.listen(0, '127.0.0.1', listening))
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

export async function shut(server: ReturnType<typeof createServer>): Promise<void> {
  server.closeAllConnections()
  await new Promise(closed => server.close(closed))
}
