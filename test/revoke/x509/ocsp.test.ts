import { execFile, execFileSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import pino from 'pino'
import { Certificate } from 'pkijs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { writePem } from '../../../src/der/pem.ts'
import { HallpassError } from '../../../src/errors.ts'
import { newId } from '../../../src/ids.ts'
import { serialOf } from '../../../src/revoke/x509/entry.ts'
import { ocspResponses } from '../../../src/revoke/x509/ocsp.ts'
import { type Database, openDatabase } from '../../../src/store/database.ts'
import { type CertificateRows, certificateRows } from '../../support/certificate-rows.ts'
import { createTestDatabase, type TestDatabase } from '../../support/database.ts'
import { certId, nonceOf, ocspRequest, readOcsp } from '../../support/ocsp-client.ts'
import { openPkiDoors, type PkiDoors } from '../../support/pki-doors.ts'
import { leafOf, newAuthority } from '../../support/x509-authority.ts'

const run = promisify(execFile)
const minute = 60_000
const hour = 60 * minute
const root = newAuthority()
const [authority, other, stranger] = [newAuthority(root), newAuthority(root), newAuthority(root)]

let database: TestDatabase
let db: Database
let rows: CertificateRows
let doors: PkiDoors
const offset = 0
const clock = () => Date.now() + offset
const authorities = {
  list: () =>
    [authority, other].map(signer => ({ kid: signer.kid, signer, rootKid: root.kid, withdrawnAt: null })),
  active: () => authority,
  roots: { published: () => [{ kid: root.kid, signer: root }] },
}
beforeAll(async () => {
  database = await createTestDatabase()
  db = openDatabase({ url: database.url, log: pino({ level: 'silent' }) })
  rows = certificateRows(database.url, db, clock)
  doors = await openPkiDoors({ db, clock, authorities })
  for (const { kid } of [authority, other]) await rows.newAuthority(kid)
})
afterAll(async () => {
  await doors?.close()
  await rows?.close()
  await db?.close()
  await database?.drop()
})

const asking = (jti: string, issuer = authority) => certId(issuer, serialOf(jti))
async function post(body: Uint8Array, headers: Record<string, string> = {}) {
  const response = await fetch(`${doors.url}/pki/ocsp`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/ocsp-request', ...headers },
    body: new Uint8Array(body),
  })
  return { response, bytes: new Uint8Array(await response.arrayBuffer()) }
}
const ask = async (certIds: Buffer[], extensions: Buffer[] = []) =>
  readOcsp((await post(ocspRequest(certIds, extensions))).bytes)
const statusOf = async (jti: string) => {
  const { is, reason, at } = (await ask([asking(jti)])).answers[0]!
  return is === 'revoked' ? { is, reason, at } : is
}
const minted = async (task?: string) => {
  const [jti] = await rows.mint(authority.kid, task ?? (await rows.newTask()))
  return jti as string
}
const seconds = (at: number) => Math.floor(at / 1000) * 1000

describe('an answer', () => {
  test('is good, revoked or held, with the time and the reason, as the record is now', async () => {
    const task = await rows.newTask()
    const jti = await minted(task)
    expect(await statusOf(jti)).toBe('good')
    await rows.change(task, { state: 'suspended' })
    expect(await statusOf(jti)).toEqual({ is: 'revoked', reason: 6, at: expect.any(Number) })
    await rows.change(task, { state: 'open' })
    expect(await statusOf(jti)).toBe('good')
    const before = seconds(clock())
    await rows.change(task, { ver: 2 })
    const ended = await statusOf(jti)
    expect(ended).toEqual({ is: 'revoked', reason: 4, at: expect.any(Number) })
    expect((ended as { at: number }).at).toBeGreaterThanOrEqual(before)
    await rows.change(task, { state: 'closed', reason: 'risk' })
    expect(await statusOf(jti)).toEqual(ended)
    const revoked = await minted()
    await rows.revoke(revoked)
    expect(await statusOf(revoked)).toMatchObject({ is: 'revoked', reason: 9 })
    const closed = await rows.newTask()
    const child = await rows.newTask([closed])
    const [below] = await rows.mint(authority.kid, child, { vers: [1] })
    await rows.change(closed, { state: 'closed' })
    expect(await statusOf(below as string)).toMatchObject({ is: 'revoked', reason: 5 })
  })

  test('is unknown for what was never issued, for a token, for another authority’s, and for what is no UUID', async () => {
    expect(await statusOf(newId())).toBe('unknown')
    const jti = await minted()
    await rows.sql(`UPDATE credentials SET type = 'jwt' WHERE jti = $1`, [jti])
    expect(await statusOf(jti)).toBe('unknown')
    const own = await minted()
    const { answers } = await ask([asking(own, other)])
    expect(answers.map(({ is }) => is)).toEqual(['unknown'])
    for (const serial of ['01', '00ff', '7f'.repeat(16), `01${'ab'.repeat(16)}`, 'fe'.repeat(16)])
      expect((await ask([certId(authority, Buffer.from(serial, 'hex'))])).answers[0]!.is).toBe('unknown')
  })

  test('names the issuer by whatever hash the question does', async () => {
    const jti = await minted()
    for (const hash of ['sha1', 'sha256', 'sha384', 'sha512'] as const)
      for (const parameters of [undefined, Buffer.alloc(0)]) {
        const question = certId(authority, serialOf(jti), hash, parameters)
        const { answers } = await ask([question])
        expect(answers[0]!.is).toBe('good')
        expect(answers[0]!.certId).toEqual(question)
      }
  })

  test('has all that was asked, in order; what is another authority’s is for its own responder to say', async () => {
    const [good, revoked] = [await minted(), await minted()]
    await rows.revoke(revoked)
    const [elsewhere] = await rows.mint(other.kid, await rows.newTask())
    const questions = [
      asking(good),
      asking(newId()),
      asking(revoked),
      asking(elsewhere as string, other),
      asking(good),
    ]
    // A serial number is its issuer's alone.
    questions.push(asking(good, other), asking(good, stranger))
    const { answers } = await ask(questions)
    expect(answers.map(({ is }) => is)).toEqual([
      'good',
      'unknown',
      'revoked',
      'unknown',
      'good',
      'unknown',
      'unknown',
    ])
    expect(answers.map(one => one.certId)).toEqual(questions)
  })

  test('of a withdrawn authority is that all it signed is compromised', async () => {
    const [jti] = await rows.mint(other.kid, await rows.newTask())
    const task = await rows.newTask()
    const [ended] = await rows.mint(other.kid, task)
    await rows.change(task, { state: 'closed' })
    const was = (await ask([asking(ended as string, other)])).answers[0]
    await rows.withdraw(other.kid)
    const { answers } = await ask([asking(jti as string, other), asking(ended as string, other)])
    expect(answers.map(({ is, reason }) => [is, reason])).toEqual([
      ['revoked', 2],
      ['revoked', 2],
    ])
    expect(answers[1]!.at).toBe(was!.at)
  })

  test('repeats the nonce, and holds for a minute from now', async () => {
    const octets = Buffer.from('0123456789abcdef0123456789abcdef')
    const before = seconds(clock())
    const read = await ask([asking(await minted())], [nonceOf(octets)])
    expect(read.nonce).toEqual(octets)
    expect(read.thisUpdate).toBeGreaterThanOrEqual(before)
    expect(read.producedAt).toBe(read.thisUpdate)
    expect(read.nextUpdate - read.thisUpdate).toBe(minute)
    expect((await ask([asking(newId())])).nonce).toBeNull()
  })

  test('is signed by a responder whose certificate the authority signed, for a day', async () => {
    const { basic, certificates } = await ask([asking(await minted())])
    expect(certificates).toHaveLength(1)
    const responder = new X509Certificate(certificates[0]!)
    expect(responder.checkIssued(new X509Certificate(authority.certificate))).toBe(true)
    expect(responder.verify(new X509Certificate(authority.certificate).publicKey)).toBe(true)
    expect(Date.parse(responder.validTo) - clock()).toBeLessThanOrEqual(24 * hour)
    expect(
      await basic.verify({
        trustedCerts: [Certificate.fromBER(root.certificate), Certificate.fromBER(authority.certificate)],
      }),
    ).toBe(true)
  })
})

test('a responder is another one after half a day, and never outlives its authority', async () => {
  let now = Date.now()
  const respond = ocspResponses({ db, clock: () => now, authorities })
  const question = ocspRequest([asking(newId())])
  const responder = async () => new X509Certificate(readOcsp((await respond(question)).der).certificates[0]!)
  const [first, same] = await Promise.all([responder(), responder()])
  expect(same.raw).toEqual(first.raw)
  now += 12 * hour - 1
  expect((await responder()).raw).toEqual(first.raw)
  now += 1
  const second = await responder()
  expect(second.publicKey.equals(first.publicKey)).toBe(false)
  now = authority.notAfter - minute
  expect(Date.parse((await responder()).validTo)).toBe(seconds(authority.notAfter))
})

describe('what is refused', () => {
  const refusedWith = async (body: Uint8Array, status: number) => {
    const { response, bytes } = await post(body)
    expect(response.status).toBe(200)
    expect(response.headers.get('Content-Type')).toBe('application/ocsp-response')
    expect(response.headers.get('Cache-Control')).toBe('no-store')
    expect(readOcsp(bytes)).toMatchObject({ status, answers: [] })
    // No more than the status: nothing is signed.
    expect(bytes).toHaveLength(5)
  }

  test('is told to be counted and sampled, and answered as OCSP answers', async () => {
    const good = ocspRequest([asking(newId())])
    const bad = [
      Buffer.alloc(0),
      Buffer.from('hello'),
      Buffer.concat([good, Buffer.of(0)]),
      ocspRequest(Array(17).fill(asking(newId()))),
      ocspRequest([asking(newId())], [nonceOf(Buffer.alloc(33))]),
    ]
    for (const body of bad) {
      const before = doors.refused.length
      await refusedWith(body, 1)
      expect(doors.refused.slice(before).map(({ code }) => code)).toEqual(['malformed'])
    }
  })

  test('is too large with a thousand questions, or a megabyte, and read no further', async () => {
    for (const body of [ocspRequest(Array(1_000).fill(asking(newId()))), Buffer.alloc(1_000_000)]) {
      const { response, bytes } = await post(body)
      expect([response.status, JSON.parse(Buffer.from(bytes).toString()).code]).toEqual([413, 'too_large'])
    }
  })

  test('is another media type', async () => {
    for (const type of ['application/octet-stream', 'application/json', '']) {
      const { response } = await post(ocspRequest([asking(newId())]), { 'Content-Type': type })
      expect(response.status).toBe(415)
    }
    const { response } = await post(ocspRequest([asking(newId())]), {
      'Content-Type': 'Application/OCSP-Request; x=y',
    })
    expect(response.status).toBe(200)
  })

  test('is what names no authority of ours, by its hash or by its key alone: nobody has authority to answer', async () => {
    await refusedWith(ocspRequest([asking(newId(), stranger)]), 6)
    await refusedWith(ocspRequest([asking(newId(), { ...authority, name: stranger.name })]), 6)
    await refusedWith(ocspRequest([asking(newId(), { ...authority, certificate: stranger.certificate })]), 6)
    await refusedWith(ocspRequest([asking(newId(), root)]), 6)
  })

  test('while storage is away, to be tried later: never good, and never unknown', async () => {
    const away = await openPkiDoors({
      db: { query: () => Promise.reject(new HallpassError('unavailable', 'Away.', { retryAfter: 2 })) },
      clock,
      authorities,
    })
    const response = await fetch(`${away.url}/pki/ocsp`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/ocsp-request' },
      body: new Uint8Array(ocspRequest([asking(await minted())])),
    })
    expect([response.status, response.headers.get('Retry-After')]).toEqual([200, '2'])
    expect(readOcsp(new Uint8Array(await response.arrayBuffer())).status).toBe(3)
    expect(away.refused.map(({ code }) => code)).toEqual(['unavailable'])
    expect((await fetch(`${away.url}/pki/crl`)).status).toBe(503)
    await away.close()
  })
})

describe('GET', () => {
  const get = async (path: string) => {
    const response = await fetch(`${doors.url}/pki/ocsp/${path}`)
    return { response, bytes: new Uint8Array(await response.arrayBuffer()) }
  }

  test('takes the request in the path, its slashes and plus signs encoded or as they are', async () => {
    const jti = await minted()
    // Until one has both.
    let base64 = ''
    for (let n = 0; !/\+/.test(base64) || !/\/[^/]/.test(base64); n++)
      base64 = ocspRequest([asking(jti)], [nonceOf(Buffer.from([n, 0xfb, 0xef, 0xff, n, 0xff]))]).toString(
        'base64',
      )
    for (const path of [encodeURIComponent(base64), base64]) {
      const { response, bytes } = await get(path)
      expect(response.headers.get('Content-Type')).toBe('application/ocsp-response')
      expect(readOcsp(bytes).answers[0]!.is).toBe('good')
      // The nonce is this caller's.
      expect(response.headers.get('Cache-Control')).toBe('no-store')
    }
  })

  test('may be kept for a few seconds, as RFC 5019 says it', async () => {
    const { response, bytes } = await get(
      encodeURIComponent(ocspRequest([asking(await minted())]).toString('base64')),
    )
    const { thisUpdate } = readOcsp(bytes)
    const header = (name: string) => response.headers.get(name)
    expect(header('Cache-Control')).toBe('max-age=5, public, no-transform, must-revalidate')
    expect(Date.parse(header('Last-Modified') as string)).toBe(thisUpdate)
    expect(Date.parse(header('Expires') as string)).toBe(thisUpdate + 5_000)
    expect(header('ETag')).toMatch(/^"[0-9a-f]{64}"$/)
    expect(header('Access-Control-Allow-Origin')).toBe('*')
  })

  test('refuses what is not base64, or is no request', async () => {
    const base64 = ocspRequest([asking(newId())]).toString('base64')
    for (const path of [
      'x',
      '%3D',
      `${base64}%0A`,
      base64.replace(/=*$/, '').slice(0, -1),
      `${base64}/x`,
      'AAAA',
    ])
      expect(readOcsp((await get(path)).bytes).status).toBe(1)
    expect((await get('%E0%A4%A')).response.status).toBe(400)
    expect((await get('')).response.status).toBe(404)
  })
})

const has = (program: string): boolean => {
  try {
    execFileSync(program, ['version'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

describe.skipIf(!has('openssl'))('openssl ocsp (skipped where there is none)', () => {
  let dir: string
  const at = (name: string) => join(dir, name)
  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), 'hallpass-ocsp-'))
    writeFileSync(at('root.pem'), writePem('CERTIFICATE', root.certificate))
    writeFileSync(at('authority.pem'), writePem('CERTIFICATE', authority.certificate))
  })
  afterAll(() => rmSync(dir, { recursive: true, force: true }))

  async function openssl(jti: string, ...more: string[]): Promise<string> {
    writeFileSync(at('leaf.pem'), writePem('CERTIFICATE', leafOf(authority, jti)))
    const known = [
      '-issuer',
      at('authority.pem'),
      '-verify_other',
      at('authority.pem'),
      '-CAfile',
      at('root.pem'),
    ]
    const { stdout, stderr } = await run('openssl', ['ocsp', ...known, '-cert', at('leaf.pem'), ...more])
    return stdout + stderr
  }
  const online = () => ['-url', `${doors.url}/pki/ocsp`]

  test('trusts the answers, with and without a nonce', async () => {
    const task = await rows.newTask()
    const jti = await minted(task)
    for (const nonce of ['-nonce', '-no_nonce']) {
      const good = await openssl(jti, ...online(), nonce)
      expect(good).toMatch(/Response verify OK/)
      expect(good).toMatch(/leaf\.pem: good/)
      expect(good).not.toMatch(/WARNING/)
    }
    await rows.change(task, { state: 'suspended' })
    expect(await openssl(jti, ...online())).toMatch(/leaf\.pem: revoked[\s\S]*Reason: certificateHold/)
    await rows.change(task, { state: 'closed' })
    expect(await openssl(jti, ...online())).toMatch(/leaf\.pem: revoked[\s\S]*Reason: cessationOfOperation/)
    expect(await openssl(newId(), ...online())).toMatch(/leaf\.pem: unknown/)
  })

  test('writes requests that are read from a path, and reads what is answered there', async () => {
    const jti = await minted()
    await openssl(jti, '-reqout', at('request.der'), '-no_nonce')
    const base64 = readFileSync(at('request.der')).toString('base64')
    const response = await fetch(`${doors.url}/pki/ocsp/${encodeURIComponent(base64)}`)
    writeFileSync(at('response.der'), new Uint8Array(await response.arrayBuffer()))
    const read = await openssl(jti, '-respin', at('response.der'), '-no_nonce')
    expect(read).toMatch(/Response verify OK/)
    expect(read).toMatch(/leaf\.pem: good/)
  })

  test('reads an answer about more than one', async () => {
    const [one, two] = [await minted(), await minted()]
    await rows.revoke(two)
    writeFileSync(at('two.pem'), writePem('CERTIFICATE', leafOf(authority, two)))
    const text = await openssl(one, '-cert', at('two.pem'), ...online())
    expect(text).toMatch(/leaf\.pem: good/)
    expect(text).toMatch(/two\.pem: revoked/)
  })
})
