import pino from 'pino'
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { type Database, openDatabase } from '../../../src/store/database.ts'
import { type CertificateRows, certificateRows } from '../../support/certificate-rows.ts'
import { readCrl } from '../../support/crl-reader.ts'
import { createTestDatabase, type TestDatabase } from '../../support/database.ts'
import { openPkiDoors, type PkiDoors } from '../../support/pki-doors.ts'
import { newAuthority } from '../../support/x509-authority.ts'

const root = newAuthority()
const [active, retired] = [newAuthority(root), newAuthority(root)]

let database: TestDatabase
let db: Database
let rows: CertificateRows
let replicas: PkiDoors[]
let offset = 0
const clock = () => Date.now() + offset
const authorities = {
  list: () =>
    [active, retired].map(signer => ({ kid: signer.kid, signer, rootKid: root.kid, withdrawnAt: null })),
  active: () => active,
  roots: { published: () => [{ kid: root.kid, signer: root }] },
}
beforeAll(async () => {
  database = await createTestDatabase()
  db = openDatabase({ url: database.url, log: pino({ level: 'silent' }) })
  rows = certificateRows(database.url, db, clock)
  replicas = [await openPkiDoors({ db, clock, authorities }), await openPkiDoors({ db, clock, authorities })]
  for (const { kid } of [active, retired]) await rows.newAuthority(kid)
})
afterAll(async () => {
  for (const doors of replicas ?? []) await doors.close()
  await rows?.close()
  await db?.close()
  await database?.drop()
})
beforeEach(() => {
  offset = 0
})

const get = (path: string, headers: Record<string, string> = {}, replica = 0) =>
  fetch(`${replicas[replica]!.url}/pki/crl${path}`, { headers })
const crlAt = async (path: string, replica = 0) => {
  const response = await get(path, {}, replica)
  expect(response.status).toBe(200)
  return readCrl(Buffer.from(await response.arrayBuffer()))
}
const reasons = async (path: string, jti: string, replica = 0) =>
  (await crlAt(path, replica)).entries
    .filter(({ serial }) => serial === jti.replaceAll('-', ''))
    .map(({ reason }) => reason)

test('on every replica, what was ended, held and released is on the next CRL and in the next delta', async () => {
  const task = await rows.newTask()
  const [jti] = (await rows.mint(active.kid, task)) as [string]
  const everywhere = async () => {
    const seen = new Set<string>()
    for (const replica of [0, 1])
      seen.add(
        JSON.stringify([
          await reasons('', jti, replica),
          await reasons(`/${active.kid}/delta`, jti, replica),
        ]),
      )
    expect(seen.size).toBe(1)
    return JSON.parse([...seen][0] as string)
  }
  expect(await everywhere()).toEqual([[], []])
  await rows.change(task, { state: 'suspended' })
  expect(await everywhere()).toEqual([[6], [6]])
  await rows.change(task, { state: 'open' })
  expect(await everywhere()).toEqual([[], [8]])
  await rows.change(task, { ver: 2 })
  expect(await everywhere()).toEqual([[4], [4]])
  await rows.change(task, { state: 'closed' })
  expect(await everywhere()).toEqual([[4], [4]])
})

test('each authority has its own, and so has a root', async () => {
  const task = await rows.newTask()
  const [jti] = (await rows.mint(retired.kid, task)) as [string]
  await rows.revoke(jti)
  expect(await reasons('', jti)).toEqual([])
  expect(await reasons(`/${retired.kid}`, jti)).toEqual([9])
  expect(await (await crlAt(`/${retired.kid}`)).verify(retired.certificate)).toBe(true)
  expect(await (await crlAt(`/${active.kid}`)).verify(active.certificate)).toBe(true)
  expect(await (await crlAt(`/${root.kid}`)).verify(root.certificate)).toBe(true)
})

describe('the answer', () => {
  test('may be kept for a few seconds, by anybody, and read by any page', async () => {
    const { headers } = await get('')
    expect(headers.get('Content-Type')).toBe('application/pkix-crl')
    expect(headers.get('Cache-Control')).toMatch(/^public, max-age=[0-5]$/)
    expect(headers.get('Access-Control-Allow-Origin')).toBe('*')
    // However this machine's clock is to the database's, and however often it is served again.
    offset = -3_600_000
    expect((await get('')).headers.get('Cache-Control')).toBe('public, max-age=5')
    offset = 3_600_000
    expect((await get('')).headers.get('Cache-Control')).toBe('public, max-age=0')
  })

  test('is 304 for those who have these very bytes', async () => {
    const again = await vi.waitUntil(async () => {
      const first = await get('')
      const second = await get('', { 'If-None-Match': first.headers.get('ETag') as string })
      // Unless a second went by just then.
      return second.headers.get('ETag') === first.headers.get('ETag') && second
    })
    expect([again.status, await again.text()]).toEqual([304, ''])
    expect(again.headers.get('Cache-Control')).toMatch(/^public, max-age=[0-5]$/)
    expect((await get('', { 'If-None-Match': '"other"' })).status).toBe(200)
  })

  test('has no body for HEAD, and all else', async () => {
    const head = await fetch(`${replicas[0]!.url}/pki/crl`, { method: 'HEAD' })
    expect([head.status, await head.text()]).toEqual([200, ''])
    expect(Number(head.headers.get('Content-Length'))).toBeGreaterThan(100)
  })

  test('is 404 for whom there is not, and for the delta of a root', async () => {
    for (const path of ['/x', '/', `/${root.kid}/delta`, `/${active.kid}/deltas`, '/%00', `/${active.kid}x`])
      expect((await get(path)).status).toBe(404)
    expect((await get('/x')).headers.get('Access-Control-Allow-Origin')).toBe('*')
  })

  test('is 400 with parameters: there are none, and each would be kept by caches as another one', async () => {
    for (const path of ['?x=1', `/${active.kid}?x=1`, `/${active.kid}/delta?x=1`])
      expect((await get(path)).status).toBe(400)
  })
})
