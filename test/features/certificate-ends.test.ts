import { spawnSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Certificate } from 'pkijs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { writePem } from '../../src/der/pem.ts'
import type { CertificateResponse } from '../../src/http/openapi.generated.d.ts'
import { serialOf } from '../../src/revoke/x509/entry.ts'
import type { TestBroker } from '../support/broker.ts'
import { readCrl } from '../support/crl-reader.ts'
import { csrOf, newKeyPair } from '../support/csr.ts'
import { certId, ocspRequest, readOcsp } from '../support/ocsp-client.ts'
import { startWorld, type World } from './world.ts'

let world: World
let replicas: TestBroker[]
beforeAll(async () => {
  world = await startWorld({ config: { pki: { trustDomain: 'hallpass.test', path: '/task/{task_id}' } } })
  replicas = [world.broker, await world.broker.replica()]
})
afterAll(async () => {
  await replicas?.[1]?.close()
  await world?.close()
})

interface Minted {
  jti: string
  kid: string
  certificate: string
  authority: string
}

async function mint(agent: string, taskId: string): Promise<Minted> {
  const { status, body, text } = await world.act<CertificateResponse>(
    world.as(agent),
    'POST',
    `/v1/tasks/${taskId}/credentials`,
    { type: 'x509', scope: 'deploy:prod', audience: 'https://deploy.example', csr: csrOf(newKeyPair()) },
  )
  if (status !== 201) throw new Error(`not minted: ${text}`)
  const { jti, certificate = '', chain } = body
  const [, kid = ''] =
    /pki\/crl\/([\w-]{43})/.exec(new X509Certificate(certificate).raw.toString('latin1')) ?? []
  return { jti, kid, certificate, authority: chain[0] ?? '' }
}

const fetched = async (on: TestBroker, path: string): Promise<Buffer> => {
  const response = await fetch(`${on.url}${path}`)
  if (response.status !== 200) throw new Error(`${path} answered ${response.status}`)
  return Buffer.from(await response.arrayBuffer())
}

/** What a replica says of a certificate: on its CRL, on the delta, and by OCSP; reasons, or null where there is none. */
async function told(on: TestBroker, { jti, kid, authority }: Minted) {
  const listed = async (path: string) => {
    const { entries } = readCrl(await fetched(on, path))
    return entries.find(({ serial }) => serial === jti.replaceAll('-', ''))?.reason ?? null
  }
  const { raw } = new X509Certificate(authority)
  const question = certId({ certificate: raw, name: subjectIn(raw) }, serialOf(jti))
  const response = await fetch(`${on.url}/pki/ocsp`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/ocsp-request' },
    body: new Uint8Array(ocspRequest([question])),
  })
  const [answer] = readOcsp(new Uint8Array(await response.arrayBuffer())).answers
  return {
    crl: await listed(`/pki/crl/${kid}`),
    delta: await listed(`/pki/crl/${kid}/delta`),
    ocsp: answer?.is === 'revoked' ? answer.reason : (answer?.is ?? null),
  }
}

const subjectIn = (certificate: Buffer): Buffer =>
  Buffer.from(Certificate.fromBER(certificate).subject.valueBeforeDecode)

const everywhere = async (minted: Minted) => {
  const all = await Promise.all(replicas.map(on => told(on, minted)))
  expect(all[1]).toEqual(all[0])
  return all[0]
}

describe('as soon as an end was answered, every replica tells of it, by CRL, delta and OCSP', () => {
  it('when a task is suspended, resumed, changed and closed', async () => {
    const task = await world.open('/agent/a', { context: { sha: 'a' }, bind: ['sha'] })
    const act = (what: string, json: object = {}) =>
      world.act(world.as('/agent/a'), 'POST', `/v1/tasks/${task.id}/${what}`, json)
    const minted = await mint('/agent/a', task.id)
    expect(await everywhere(minted)).toEqual({ crl: null, delta: null, ocsp: 'good' })
    await act('suspend')
    expect(await everywhere(minted)).toEqual({ crl: 6, delta: 6, ocsp: 6 })
    await act('resume')
    expect(await everywhere(minted)).toEqual({ crl: null, delta: 8, ocsp: 'good' })
    const closed = await mint('/agent/a', task.id)
    await world.broker.client.request('PATCH', `/v1/tasks/${task.id}/context`, {
      token: world.as('/agent/a'),
      json: { sha: 'b' },
    })
    expect(await everywhere(minted)).toEqual({ crl: 4, delta: 4, ocsp: 4 })
    expect(await everywhere(closed)).toEqual({ crl: 4, delta: 4, ocsp: 4 })
    const last = await mint('/agent/a', task.id)
    await act('close')
    expect(await everywhere(last)).toEqual({ crl: 5, delta: 5, ocsp: 5 })
    expect(await everywhere(minted)).toEqual({ crl: 4, delta: 4, ocsp: 4 })
  })

  it('when the task above is closed, and when it is revoked itself', async () => {
    const parent = await world.open('/agent/b')
    const child = await world.open('/agent/b', { parent_id: parent.id, ref: 'OPS-2' })
    const [below, own] = [await mint('/agent/b', child.id), await mint('/agent/b', parent.id)]
    await world.act(world.as('/agent/b'), 'POST', `/v1/credentials/${own.jti}/revoke`, {})
    expect(await everywhere(own)).toEqual({ crl: 9, delta: 9, ocsp: 9 })
    expect(await everywhere(below)).toEqual({ crl: null, delta: null, ocsp: 'good' })
    await world.act(world.as('/agent/b'), 'POST', `/v1/tasks/${parent.id}/close`, {})
    expect(await everywhere(below)).toEqual({ crl: 5, delta: 5, ocsp: 5 })
  })
})

it('a request that cannot be read is counted, and leaves a row', async () => {
  const response = await fetch(`${world.broker.url}/pki/ocsp`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/ocsp-request' },
    body: 'hello',
  })
  expect(readOcsp(new Uint8Array(await response.arrayBuffer())).status).toBe(1)
  await expect
    .poll(() => world.broker.sql(`SELECT code, reason FROM decisions WHERE reason LIKE '%OCSP%'`))
    .toEqual([{ code: 'malformed', reason: 'The OCSP request cannot be read.' }])
})

describe.skipIf(spawnSync('openssl', ['version']).status !== 0)(
  'openssl (skipped where there is none)',
  () => {
    it('takes a certificate of a task that is open and refuses it once the task is closed, by what the broker publishes', async () => {
      const folder = mkdtempSync(join(tmpdir(), 'hallpass-ends-'))
      const at = (name: string) => join(folder, name)
      try {
        const task = await world.open('/agent/c')
        const { certificate, authority, kid } = await mint('/agent/c', task.id)
        const root = await rootOf(authority)
        writeFileSync(at('leaf.pem'), certificate)
        writeFileSync(at('authority.pem'), authority)
        writeFileSync(at('root.pem'), root.pem)
        const verify = async () => {
          const paths = [`/pki/crl/${kid}`, `/pki/crl/${root.kid}`]
          const crls = await Promise.all(paths.map(path => fetched(world.broker, path)))
          writeFileSync(at('crls.pem'), crls.map(der => writePem('X509 CRL', der)).join(''))
          const known = [
            '-CAfile',
            at('root.pem'),
            '-untrusted',
            at('authority.pem'),
            '-CRLfile',
            at('crls.pem'),
          ]
          const { status, stderr } = spawnSync(
            'openssl',
            ['verify', '-x509_strict', '-crl_check_all', ...known, at('leaf.pem')],
            { encoding: 'utf8' },
          )
          return status === 0 ? null : stderr
        }
        expect(await verify()).toBeNull()
        await world.act(world.as('/agent/c'), 'POST', `/v1/tasks/${task.id}/close`, {})
        expect(await verify()).toMatch(/certificate revoked/)
      } finally {
        rmSync(folder, { recursive: true, force: true })
      }
    })
  },
)

/** The root that an authority's certificate was signed by, and its `kid`, as the authority's CRL distribution point has it. */
async function rootOf(authority: string): Promise<{ pem: string; kid: string }> {
  const { raw, issuer } = new X509Certificate(authority)
  const [, kid = ''] = /pki\/crl\/([\w-]{43})/.exec(raw.toString('latin1')) ?? []
  const { text } = await world.broker.client.request<string>('GET', '/pki/ca.pem')
  const all = text.split(/(?=-----BEGIN)/).filter(pem => pem.includes('BEGIN'))
  const pem = all.find(one => new X509Certificate(one).subject === issuer) ?? ''
  return { pem, kid }
}

it('all that a withdrawn authority signed is refused, and the authority by its root', async () => {
  const task = await world.open('/agent/d')
  const minted = await mint('/agent/d', task.id)
  const root = await rootOf(minted.authority)
  const ofRoot = async () =>
    (await Promise.all(replicas.map(async on => readCrl(await fetched(on, `/pki/crl/${root.kid}`))))).map(
      ({ entries }) => entries.map(({ serial, reason }) => [serial, reason]),
    )
  expect(await ofRoot()).toEqual([[], []])
  const { status } = await world.act(
    await world.broker.operatorToken(),
    'POST',
    `/v1/keys/${minted.kid}/withdraw`,
    {},
  )
  expect(status).toBeLessThan(300)
  expect(await everywhere(minted)).toEqual({ crl: 2, delta: 2, ocsp: 2 })
  const serial = new X509Certificate(minted.authority).serialNumber.toLowerCase()
  expect(await ofRoot()).toEqual([[[serial, 2]], [[serial, 2]]])
})
