import { createHash } from 'node:crypto'
import { createServer, type Server } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import express from 'express'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { authOf, requireTask } from '../../src/verifier/express.ts'
import { withTask } from '../../src/verifier/fetch.ts'
import { type ForwardedCertificate, forwardedHeader } from '../../src/verifier/forwarded.ts'
import { VerifierRefusal } from '../../src/verifier/refusal.ts'
import { type Leaf, uri } from './certificate-maker.ts'
import { type Followed, startFollowed } from './verifiers.ts'

let followed: Followed
let leaf: Leaf
let other: Leaf
let server: Server
const nginx = { escapedPem: 'X-SSL-Client-Cert' }
const kinds: [string, ForwardedCertificate, string][] = [
  ['/rfc9440', 'client-cert', 'Client-Cert'],
  ['/envoy', 'x-forwarded-client-cert', 'X-Forwarded-Client-Cert'],
  ['/nginx', nginx, 'X-SSL-Client-Cert'],
]

beforeAll(async () => {
  followed = await startFollowed()
  await followed.broker.withAuthority()
  leaf = followed.broker.certificate()
  other = followed.broker.certificate()
  const app = express()
  for (const [path, forwardedCertificate] of kinds) {
    const route = requireTask(followed.verifier, {
      scope: 'deploy:prod',
      credentials: ['token', 'certificate'],
      forwardedCertificate,
    })
    app.get(path, route, (request, response) => {
      response.json({ jti: authOf(request, 'token', 'certificate').jti })
    })
  }
  server = createServer(app)
  await new Promise<void>(listening => server.listen(0, '127.0.0.1', listening))
})
afterAll(async () => {
  server.closeAllConnections()
  await new Promise(closed => server.close(closed))
  await followed.close()
})

const hashOf = ({ der }: Leaf) => createHash('sha256').update(der).digest('hex')
const bytes = ({ der }: Leaf) => `:${der.toString('base64')}:`
const escaped = ({ pem }: Leaf) => encodeURIComponent(pem)
const xfcc = (one: Leaf, more = '') => `Hash=${hashOf(one)};Cert="${escaped(one)}"${more}`
const written: Record<string, (one: Leaf) => string> = {
  '/rfc9440': bytes,
  '/envoy': xfcc,
  '/nginx': escaped,
}

/** Sends these lines, and gives the status and the reason, or the credential's ID. */
function ask(path: string, lines: string[]): Promise<[number, string]> {
  return new Promise((resolve, reject) => {
    const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
    let answer = ''
    socket.on('data', chunk => {
      answer += chunk
    })
    socket.on('end', () => {
      const body = JSON.parse(answer.slice(answer.indexOf('\r\n\r\n')))
      resolve([Number(answer.slice(9, 12)), body.reason ?? body.jti])
    })
    socket.on('error', reject)
    socket.write([`GET ${path} HTTP/1.1`, 'Host: x', 'Connection: close', ...lines, '', ''].join('\r\n'))
  })
}

describe.each(kinds)('%s', (path, _, name) => {
  const value = (one: Leaf) => (written[path] as (one: Leaf) => string)(one)

  test('tells the certificate by which a request is let pass', async () => {
    expect(await ask(path, [`${name}: ${value(leaf)}`])).toEqual([200, leaf.jti])
    expect(await ask(path, [`${name.toUpperCase()}:   ${value(other)}  `])).toEqual([200, other.jti])
  })

  test('and the one that a token is bound to', async () => {
    const jti = 'of-the-token'
    const x5t = createHash('sha256').update(leaf.der).digest('base64url')
    const token = await followed.broker.token({ jti, cnf: { 'x5t#S256': x5t } })
    const authorization = `Authorization: Bearer ${token}`
    expect(await ask(path, [authorization, `${name}: ${value(leaf)}`])).toEqual([200, jti])
    expect(await ask(path, [authorization, `${name}: ${value(other)}`])).toEqual([401, 'binding_wrong'])
    expect(await ask(path, [authorization])).toEqual([401, 'binding_missing'])
    expect(await ask(path, [authorization, `${name}: x`])).toEqual([400, 'forwarded_malformed'])
  })

  test('that is missing or empty: no certificate', async () => {
    expect(await ask(path, [])).toEqual([401, 'token_missing'])
    expect(await ask(path, [`${name}:`])).toEqual([401, 'token_missing'])
    expect(await ask(path, [`${name}:   `])).toEqual([401, 'token_missing'])
  })

  test('twice is refused, though both say the same', async () => {
    const line = `${name}: ${value(leaf)}`
    for (const lines of [
      [line, line],
      [line, `${name}: ${value(other)}`],
      [line, `${name.toLowerCase()}:`],
      [`${name}:`, line],
    ])
      expect(await ask(path, lines)).toEqual([400, 'forwarded_malformed'])
    for (const comma of [',', ', '])
      expect(await ask(path, [`${line}${comma}${value(other)}`])).toEqual([400, 'forwarded_malformed'])
  })

  test('no other header is looked at', async () => {
    for (const [from, , another] of kinds)
      if (another !== name) {
        const line = `${another}: ${(written[from] as (one: Leaf) => string)(leaf)}`
        expect(await ask(path, [line])).toEqual([401, 'token_missing'])
      }
  })

  test('a token that is bound to nothing does not need it to be right', async () => {
    const token = await followed.broker.token({ jti: 'free' })
    expect(await ask(path, [`Authorization: Bearer ${token}`, `${name}: x`])).toEqual([200, 'free'])
  })

  test('a certificate in it that is none is refused as such', async () => {
    const forged = { ...leaf, der: Buffer.from('hello') }
    forged.pem = `-----BEGIN CERTIFICATE-----\n${forged.der.toString('base64')}\n-----END CERTIFICATE-----\n`
    expect(await ask(path, [`${name}: ${value(forged)}`])).toEqual([401, 'certificate_malformed'])
  })
})

describe('what cannot be read is refused', () => {
  const base64 = () => leaf.der.toString('base64')
  test.each<[string, () => string]>([
    ['bare base64', () => base64()],
    ['without its end', () => `:${base64()}`],
    ['a string', () => `"${base64()}"`],
    ['PEM', () => escaped(leaf)],
    ['empty', () => '::'],
    ['with parameters', () => `${bytes(leaf)};a=1`],
    ['a list', () => `(${bytes(leaf)})`],
    ['with a blank in it', () => `:${base64().slice(0, 8)} ${base64().slice(8)}:`],
    ['base64url', () => `:${leaf.der.toString('base64url')}:`],
    ['without padding', () => ':YWI:'],
    ['with bits that do not count', () => ':YWJ=:'],
  ])('Client-Cert: %s', async (_, value) => {
    expect(await ask('/rfc9440', [`Client-Cert: ${value()}`])).toEqual([400, 'forwarded_malformed'])
  })

  test.each<[string, () => string]>([
    ['without Hash', () => `Cert="${escaped(leaf)}"`],
    ['without Cert', () => `Hash=${hashOf(leaf)};URI=spiffe://x/y`],
    ['with an empty Cert', () => `Hash=${hashOf(leaf)};Cert=""`],
    ['with another’s Hash', () => `Hash=${hashOf(other)};Cert="${escaped(leaf)}"`],
    ['with two Certs', () => xfcc(leaf, `;Cert="${escaped(other)}"`)],
    ['with two Hashes', () => `Hash=${hashOf(leaf)};${xfcc(leaf)}`],
    ['two elements', () => `${xfcc(leaf)},${xfcc(leaf)}`],
    ['an element that a name smuggles in', () => xfcc(other, `;URI=spiffe://x/y,${xfcc(leaf)}`)],
    ['a Cert that a name smuggles in', () => `Hash=${hashOf(other)};URI=x;Cert="${escaped(leaf)}"`],
    ['a Cert and a Hash that a name smuggles in', () => `Hash=${hashOf(other)};URI=x;${xfcc(leaf)}`],
    ['another case', () => `hash=${hashOf(leaf)};${xfcc(leaf)}`],
    ['an open quotation', () => `Hash=${hashOf(leaf)};Cert="${escaped(leaf)}`],
    ['something after a quotation', () => `${xfcc(leaf)}x`],
    ['a semicolon at its end', () => `${xfcc(leaf)};`],
    ['blanks', () => `Hash=${hashOf(leaf)}; Cert="${escaped(leaf)}"`],
    ['no pairs', () => 'hello'],
    ['PEM that is not encoded', () => `Hash=${hashOf(leaf)};Cert="${leaf.pem.replaceAll('\n', ' ')}"`],
    ['half a percent', () => `Hash=${hashOf(leaf)};Cert="%E"`],
    ['no UTF-8', () => `Hash=${hashOf(leaf)};Cert="%FF"`],
  ])('X-Forwarded-Client-Cert: %s', async (_, value) => {
    expect(await ask('/envoy', [`X-Forwarded-Client-Cert: ${value()}`])).toEqual([400, 'forwarded_malformed'])
  })

  test('X-Forwarded-Client-Cert as Envoy writes it is read', async () => {
    const whole = `By=spiffe://x.example/a;By=spiffe://x.example/b;${xfcc(leaf)};Chain="${escaped(leaf)}${escaped(other)}";Subject="CN=\\"a,b;c=d\\\\";URI=spiffe://hallpass.example/task/x;DNS=a.example;DNS=b.example`
    expect(await ask('/envoy', [`X-Forwarded-Client-Cert: ${whole}`])).toEqual([200, leaf.jti])
    const bare = `Hash=${hashOf(leaf).toUpperCase()};Subject="";URI=;Cert=${escaped(leaf)}`
    expect(await ask('/envoy', [`X-Forwarded-Client-Cert: ${bare}`])).toEqual([200, leaf.jti])
  })

  test('nor does a certificate’s own name lend it another', async () => {
    const hostile = followed.broker.certificate({ names: [uri(`spiffe://x/y;${xfcc(leaf)}`)] })
    const value = `${xfcc(hostile)};URI=spiffe://x/y;${xfcc(leaf)}`
    expect(await ask('/envoy', [`X-Forwarded-Client-Cert: ${value.slice(0, 12_000)}`])).toEqual([
      400,
      'forwarded_malformed',
    ])
  })

  test.each<[string, () => string]>([
    ['PEM that is not encoded', () => leaf.pem.replaceAll('\n', ' ')],
    ['base64', () => leaf.der.toString('base64')],
    ['another label', () => encodeURIComponent(leaf.pem.replaceAll('CERTIFICATE', 'PUBLIC KEY'))],
    ['text around it', () => `x${escaped(leaf)}`],
    ['encoded twice', () => encodeURIComponent(escaped(leaf))],
    ['quotation marks', () => `"${escaped(leaf)}"`],
    ['half a percent', () => `${escaped(leaf)}%`],
  ])('URL-encoded PEM: %s', async (_, value) => {
    expect(await ask('/nginx', [`X-SSL-Client-Cert: ${value()}`])).toEqual([400, 'forwarded_malformed'])
  })

  test('nor do names that are very many pairs take long', async () => {
    const { read } = forwardedHeader('x-forwarded-client-cert')
    const begun = performance.now()
    const value = xfcc(leaf, `;URI=${'a=;'.repeat(20_000)}a=`)
    expect(await read([value])).toEqual(new Uint8Array(leaf.der))
    expect(performance.now() - begun).toBeLessThan(500)
  })

  test('URL-encoded PEM may have a chain behind it, and be encoded in part', async () => {
    expect(await ask('/nginx', [`X-SSL-Client-Cert: ${escaped(leaf)}${escaped(other)}`])).toEqual([
      200,
      leaf.jti,
    ])
    const partly = escaped(leaf).replaceAll('%2B', '+').replaceAll('%2F', '/').replaceAll('%3D', '=')
    expect(await ask('/nginx', [`X-SSL-Client-Cert: ${partly}`])).toEqual([200, leaf.jti])
  })

  test('whatever is in a header, it is read or refused: property', async () => {
    const parts = fc.constantFrom(
      ':',
      '"',
      '%2',
      '%0A',
      ';',
      ',',
      '=',
      'Cert=',
      'Hash=',
      '\\',
      'a',
      xfcc(leaf),
      bytes(leaf),
      escaped(leaf),
    )
    const text = fc.oneof(
      fc.string({ maxLength: 60 }),
      fc.array(parts, { maxLength: 12 }).map(all => all.join('')),
    )
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...kinds), text, async ([, kind], value) => {
        const found = await forwardedHeader(kind)
          .read([value])
          .catch(error => error)
        if (found instanceof VerifierRefusal) expect(found.code).toBe('forwarded_malformed')
        else if (found !== null) expect(Buffer.from(found)).toEqual(leaf.der)
      }),
      { numRuns: 2000 },
    )
  })
})

describe('withTask', () => {
  const call = (headers: Record<string, string> | [string, string][]) =>
    withTask(
      followed.verifier,
      { credentials: ['certificate'], forwardedCertificate: 'client-cert' },
      (_, auth) => new Response(auth.spiffeId),
    )(new Request('https://deploy.example/', { headers }))

  test('takes the certificate that the proxy’s header tells', async () => {
    const response = await call({ 'client-cert': bytes(leaf) })
    expect([response.status, await response.text()]).toEqual([200, 'spiffe://hallpass.example/task/x'])
  })

  test('refuses it twice, and in other headers', async () => {
    const twice = await call([
      ['client-cert', bytes(leaf)],
      ['client-cert', bytes(leaf)],
    ])
    expect([twice.status, await twice.json()]).toEqual([
      400,
      { error: 'invalid_request', reason: 'forwarded_malformed' },
    ])
    const another = await call({ 'x-forwarded-client-cert': xfcc(leaf) })
    expect([another.status, await another.json()]).toEqual([401, { reason: 'certificate_missing' }])
  })

  test('watches a certificate while its response is sent', async () => {
    let sign: AbortSignal | null = null
    const handler = withTask(
      followed.verifier,
      { credentials: ['token', 'certificate'], forwardedCertificate: nginx },
      (_, auth) => {
        sign = auth.signal
        return new Response('x')
      },
    )
    const request = new Request('https://x.example', { headers: { 'x-ssl-client-cert': escaped(leaf) } })
    const response = await handler(request)
    expect(followed.verifier.state().signals).toBe(1)
    await response.text()
    expect(followed.verifier.state().signals).toBe(0)
    expect((sign as unknown as AbortSignal).aborted).toBe(false)
  })
})

describe('options that are wrong are found when the routes are made', () => {
  test.each([
    '',
    'Client-Cert',
    'authorization',
    'x-ssl-client-cert',
    true,
    null,
    {},
    { escapedPem: '' },
    { escapedPem: 7 },
    { escapedPem: 'a b' },
    { escapedPem: 'a:' },
    { escapedPem: 'Authorization' },
    { escapedPem: 'Client-Cert' },
    { escapedPem: 'X-Forwarded-Client-Cert' },
  ])('forwardedCertificate: %j', forwarded => {
    const forwardedCertificate = forwarded as ForwardedCertificate
    expect(() => requireTask(followed.verifier, { forwardedCertificate })).toThrow(TypeError)
  })

  test.each([[[]], [['tokens']], [['token', 'x']], ['token'], [null], [{}]])(
    'credentials: %j',
    credentials => {
      const wrong = { credentials, forwardedCertificate: 'client-cert' } as unknown as {
        credentials: ['token']
      }
      expect(() => requireTask(followed.verifier, wrong)).toThrow(TypeError)
      expect(() => withTask(followed.verifier, wrong, () => new Response())).toThrow(TypeError)
    },
  )

  test('a fetch handler that takes certificates needs a header that tells them', () => {
    const handler = () => new Response()
    expect(() => withTask(followed.verifier, { credentials: ['certificate'] }, handler)).toThrow(TypeError)
  })

  test('a verifier that verifies no certificates', () => {
    const { verify } = followed.verifier
    const half = { verify } as typeof followed.verifier
    expect(() => requireTask(half, { credentials: ['certificate'] })).toThrow(TypeError)
    expect(() => requireTask(half, {})).not.toThrow()
  })
})
