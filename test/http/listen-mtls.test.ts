import { execFile, spawnSync } from 'node:child_process'
import { createHash, X509Certificate } from 'node:crypto'
import https from 'node:https'
import { connect as connectPlainly } from 'node:net'
import { connect, rootCertificates, type TLSSocket } from 'node:tls'
import express from 'express'
import pino from 'pino'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { oids } from '../../src/der/oids.ts'
import { writePem } from '../../src/der/pem.ts'
import { inside, readOne } from '../../src/der/read.ts'
import { tags } from '../../src/der/tags.ts'
import { connectionOf } from '../../src/http/connection.ts'
import { listenForMtls } from '../../src/http/listen-mtls.ts'
import { type SelfSigned, selfSigned } from '../support/self-signed.ts'
import {
  basicConstraints,
  createX509TrustDomain,
  distinguishedName,
  generateKeys,
  makeAuthority,
  makeCertificate,
  type TestAuthority,
  type TestKeyPair,
} from '../support/x509.ts'

const logged: string[] = []
const log = pino({ level: 'debug' }, { write: line => void logged.push(line) })
const one = selfSigned('one')
let certificate: () => SelfSigned = () => one
let door: Awaited<ReturnType<typeof listenForMtls>>

beforeAll(async () => {
  door = await listenForMtls({
    host: '127.0.0.1',
    port: 0,
    log,
    certificate: () => certificate(),
  })
})
afterAll(() => door?.close())

interface Seen {
  chain: string[] | null
  thumbprint: string | null
}

interface Options {
  cert?: string
  key?: string
  session?: Buffer | undefined
  minVersion?: 'TLSv1.2'
  maxVersion?: 'TLSv1.2'
}

/** One request on a connection of its own: what the listener saw of the client, and how the client saw the connection. */
async function ask(
  options: Options = {},
): Promise<Seen & { status: number; resumed: boolean; sessions: Buffer[]; server: string }> {
  return new Promise((resolve, reject) => {
    const sessions: Buffer[] = []
    const request = https.request({
      host: '127.0.0.1',
      port: door.port,
      agent: false,
      rejectUnauthorized: false,
      // Or the client would send what it finds in the system's store.
      ca: one.cert,
      ...options,
    })
    let resumed = false
    let server = ''
    request.on('socket', socket => {
      const tls = socket as TLSSocket
      tls.on('session', session => sessions.push(session))
      tls.once('secureConnect', () => {
        resumed = tls.isSessionReused()
        server = tls.getPeerX509Certificate()?.subject ?? ''
      })
    })
    request.once('error', reject)
    request.once('response', async answer => {
      let text = ''
      for await (const chunk of answer) text += chunk
      const seen = text === '' ? { chain: null, thumbprint: null } : (JSON.parse(text) as Seen)
      resolve({ ...seen, status: answer.statusCode ?? 0, resumed, sessions, server })
    })
    request.end()
  })
}

const pem = ({ privateKey }: TestKeyPair, ...chain: Buffer[]) => ({
  key: privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
  cert: chain.map(der => writePem('CERTIFICATE', der)).join(''),
})
const base64 = (...ders: Buffer[]) => ders.map(der => der.toString('base64'))
const ca = { [oids.basicConstraints]: basicConstraints(true) }

it('answers 503 until the broker serves', async () => {
  expect((await ask()).status).toBe(503)
  const app = express()
  app.get('/', (request, response) => {
    const connection = connectionOf(request)
    response.json({
      chain: connection && base64(...connection.chain),
      thumbprint: connection?.thumbprint ?? null,
    })
  })
  door.serve(app)
  expect((await ask()).status).toBe(200)
})

describe('what is seen of a client', () => {
  const prod = createX509TrustDomain('prod.example')

  it('is nothing where it shows no certificate', async () => {
    expect(await ask()).toMatchObject({ chain: null, thumbprint: null })
  })

  it('is its certificate, whoever signed it, and the thumbprint of RFC 8705', async () => {
    const { cert, key, der } = selfSigned()
    const thumbprint = createHash('sha256').update(der).digest('base64url')
    expect(await ask({ cert, key })).toMatchObject({ chain: base64(der), thumbprint })
  })

  it('is the chain that it sent, leaf first', async () => {
    const above = prod.intermediate()
    const below = prod.intermediate({ signer: above })
    const { pem, chain } = prod.svid('/a', { signer: below, intermediates: [below, above] })
    expect(chain).toHaveLength(3)
    expect(await ask(pem)).toMatchObject({ chain: base64(...chain) })
  })

  it('is that chain with its root where that was sent, once', async () => {
    const [root] = prod.roots as [TestAuthority]
    const { key, chain, certificate } = prod.svid('/a', { intermediates: [root, root] })
    expect(chain).toHaveLength(3)
    const sent = pem({ privateKey: key, publicKeyInfo: Buffer.alloc(0) }, ...chain)
    expect(await ask(sent)).toMatchObject({ chain: base64(certificate, root.certificate) })
  })

  it('leaves out what is no part of it', async () => {
    const above = prod.intermediate()
    const below = prod.intermediate({ signer: above })
    const others = [makeAuthority({ subject: 'other' }), makeAuthority({ subject: 'another' })]
    const { certificate, pem } = prod.svid('/a', {
      signer: below,
      intermediates: [others[0] as TestAuthority, below, others[1] as TestAuthority, above],
    })
    expect(await ask(pem)).toMatchObject({
      chain: base64(certificate, below.certificate, above.certificate),
    })
  })

  it('ends where the next one is not in its place (RFC 8446 §4.4.2)', async () => {
    const above = prod.intermediate()
    const below = prod.intermediate({ signer: above })
    const { certificate, pem } = prod.svid('/a', { signer: below, intermediates: [above, below] })
    expect(await ask(pem)).toMatchObject({ chain: base64(certificate, below.certificate) })
  })

  it('ends where two authorities have issued each other', async () => {
    const [a, b] = [generateKeys(), generateKeys()]
    const [nameOfA, nameOfB] = ['a', 'b'].map(name => distinguishedName({ [oids.commonName]: name })) as [
      Buffer,
      Buffer,
    ]
    const byOther = makeCertificate({ subject: nameOfA, keys: a, extensions: ca }, { ...b, name: nameOfB })
    const byOne = makeCertificate({ subject: nameOfB, keys: b, extensions: ca }, { ...a, name: nameOfA })
    const keys = generateKeys()
    const leaf = makeCertificate({ keys }, { ...a, name: nameOfA })
    const { chain } = await ask(pem(keys, leaf, byOther, byOne, byOther, byOne))
    expect(chain).toEqual(base64(leaf, byOther, byOne))
  })

  it('is 17 certificates at the most, of however many', async () => {
    let [signer] = prod.roots as [TestAuthority]
    const authorities = Array.from({ length: 100 }, () => {
      signer = prod.intermediate({ signer })
      return signer
    })
    const { pem, chain } = prod.svid('/a', { signer, intermediates: authorities.toReversed() })
    const seen = await ask(pem)
    expect(seen.chain).toEqual(base64(...chain.slice(0, 17)))
  })

  it('has nothing of the system’s store, whatever its certificate says of its issuer', async () => {
    const root = new X509Certificate(rootCertificates[0] as string)
    // With no key ID the name alone would do.
    const keys = generateKeys()
    const leaf = makeCertificate(
      { keys, extensions: { [oids.authorityKeyIdentifier]: null } },
      { ...generateKeys(), name: subjectOf(root) },
    )
    const claims = new X509Certificate(leaf)
    expect(claims.checkIssued(root)).toBe(true)
    expect(await ask(pem(keys, leaf))).toMatchObject({ chain: base64(leaf) })
  })
})

describe('the handshake', () => {
  it('is TLS 1.3 or none', async () => {
    await expect(ask({ minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' })).rejects.toThrow(
      /protocol version|ERR_SSL/,
    )
  })

  it('is a full one each time: a session that is kept resumes nothing, and the certificate is seen again', async () => {
    const { cert, key, der } = selfSigned()
    const first = await ask({ cert, key })
    for (const session of [...first.sessions, undefined]) {
      const next = await ask({ cert, key, session })
      expect(next.resumed).toBe(false)
      expect(next.chain).toEqual(base64(der))
      // Nor does it become somebody's who shows another, or none.
      expect(await ask({ session })).toMatchObject({ chain: null, resumed: false })
    }
  })

  it('does not begin by itself: whoever says nothing is let go', { timeout: 20_000 }, async () => {
    const socket = connectPlainly(door.port, '127.0.0.1')
    socket.on('error', () => {})
    const start = Date.now()
    await new Promise(resolve => socket.once('close', resolve))
    expect(Date.now() - start).toBeLessThan(15_000)
  })

  it.skipIf(spawnSync('openssl', ['version']).status !== 0)(
    'names no authorities to the client (needs openssl)',
    async () => {
      const told = new Promise<string>(resolve => {
        const asked = execFile(
          'openssl',
          ['s_client', '-connect', `127.0.0.1:${door.port}`, '-tls1_3'],
          (_, out) => resolve(out),
        )
        asked.stdin?.end()
      })
      expect(await told).toContain('No client certificate CA names sent')
    },
  )
})

describe('the certificate that it shows', () => {
  it('is the new one for whoever connects after its renewal', async () => {
    const open = connect({ host: '127.0.0.1', port: door.port, rejectUnauthorized: false })
    await new Promise(resolve => open.once('secureConnect', resolve))
    expect((await ask()).server).toBe('CN=one')
    const two = selfSigned('two')
    certificate = () => two
    door.renew()
    expect((await ask()).server).toBe('CN=two')
    // What was open stays open.
    expect(open.destroyed).toBe(false)
    open.destroy()
  })

  it('keeps all that is asked of clients', async () => {
    const { cert, key, der } = selfSigned()
    const { sessions, chain } = await ask({ cert, key })
    expect(chain).toEqual(base64(der))
    for (const session of sessions) expect((await ask({ cert, key, session })).resumed).toBe(false)
    await expect(ask({ minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' })).rejects.toThrow()
  })

  it.each<[string, () => SelfSigned]>([
    [
      'cannot be had',
      () => {
        throw Object.assign(new Error('hunter2'), { code: 'ENOENT' })
      },
    ],
    ['is none', () => ({ ...selfSigned(), cert: 'hunter2' })],
    ['has another key', () => ({ ...selfSigned(), key: selfSigned().key })],
  ])('stays the one before where the next one %s', async (_, next) => {
    const before = certificate
    certificate = next
    logged.length = 0
    door.renew()
    expect(logged.join()).toContain('cannot be used')
    expect(logged.join()).not.toContain('hunter2')
    expect((await ask()).server).toBe('CN=two')
    certificate = before
  })
})

/** DER of a certificate's subject. */
function subjectOf({ raw }: X509Certificate): Buffer {
  const fields = inside(inside(readOne(raw, tags.sequence)).take(tags.sequence))
  // Version, serial, algorithm, issuer, validity.
  for (let before = 0; before < 5; before++) fields.any()
  return fields.take(tags.sequence).bytes
}
