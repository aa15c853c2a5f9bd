import { X509Certificate } from 'node:crypto'
import forge from 'node-forge'
import pino from 'pino'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startBroker } from '../../src/app.ts'
import type { CertificateResponse } from '../../src/http/openapi.generated.d.ts'
import type { Reply } from '../support/client.ts'
import { csrOf, newKeyPair } from '../support/csr.ts'
import { type Problem, startWorld, type World } from './world.ts'

let world: World
beforeAll(async () => {
  world = await startWorld({ config: { pki: { trustDomain: 'hallpass.test', path: '/task/{task_id}' } } })
})
afterAll(() => world?.close())

const ask = (path: string, taskId: string, json: object): Promise<Reply<CertificateResponse & Problem>> =>
  world.act(world.as(path), 'POST', `/v1/tasks/${taskId}/credentials`, json)
const plain = { type: 'x509', scope: 'deploy:prod', audience: 'https://deploy.example' }

describe('a certificate', () => {
  it('is minted for the key of a request, and names the task', async () => {
    const task = await world.open('/agent/a')
    const key = newKeyPair()
    const { status, body, text } = await ask('/agent/a', task.id, { ...plain, csr: csrOf(key) })
    expect(status, text).toBe(201)
    const certificate = new X509Certificate(body.certificate ?? '')
    expect(certificate.publicKey.equals(key.publicKey)).toBe(true)
    expect(certificate.subjectAltName).toBe(`URI:spiffe://hallpass.test/task/${task.id}`)
    expect(certificate.serialNumber.toLowerCase().padStart(32, '0')).toBe(body.jti.replaceAll('-', ''))
    expect(body.serial).toBe(body.jti.replaceAll('-', ''))
    expect(new Date(certificate.validTo).toISOString()).toBe(body.expires_at)
    const [authority = ''] = body.chain
    expect(certificate.verify(new X509Certificate(authority).publicKey)).toBe(true)
    const { text: pem } = await world.broker.client.request('GET', '/pki/ca.pem')
    expect(pem).toContain(authority.trim())
    const credentials = await world.credentials(world.as('/agent/a'), task)
    expect(credentials[0]).toMatchObject({ jti: body.jti, type: 'x509', live: true })
    const keys = await world.act<{ items: { kid: string; use: string }[] }>(
      await world.broker.operatorToken(),
      'GET',
      '/v1/keys',
    )
    expect(keys.body.items.find(({ kid }) => kid === credentials[0]?.kid)?.use).toBe('x509')
  })

  it('comes with its key in a PKCS#12 file, where that is asked', async () => {
    const task = await world.open('/agent/legacy')
    const { status, body, text } = await ask('/agent/legacy', task.id, {
      ...plain,
      format: 'pkcs12',
      password: 'changeit',
    })
    expect(status, text).toBe(201)
    expect(body.certificate).toBeUndefined()
    const { safeContents } = forge.pkcs12.pkcs12FromAsn1(
      forge.asn1.fromDer(Buffer.from(body.pkcs12 ?? '', 'base64').toString('binary')),
      'changeit',
    )
    expect(safeContents.length).toBeGreaterThan(0)
  })

  it.each([
    ['neither key nor format', {}, '/csr'],
    ['a token’s binding and a CSR of a token', { type: 'jwt', csr: 'x' }, '/csr'],
    ['a format without a password', { format: 'pkcs12' }, '/password'],
    ['a wildcard', { csr: 'x', dns_names: ['*.example'] }, '/dns_names/0'],
    ['an address', { csr: 'x', dns_names: ['10.0.0.1'] }, '/dns_names/0'],
    ['a purpose of its own', { csr: 'x', usages: ['codeSigning'] }, '/usages/0'],
  ])('is refused with %s', async (_, json, path) => {
    const task = await world.open('/agent/shape', { ref: 'shape' }).catch(() => null)
    const id = task?.id ?? '0190a0a0-0000-7000-8000-000000000000'
    const { status, body } = await ask('/agent/shape', id, { ...plain, ...json })
    expect(status).toBe(422)
    expect((body as unknown as { errors: { path: string }[] }).errors.map(error => error.path)).toContain(
      path,
    )
    await world.act(world.as('/agent/shape'), 'POST', `/v1/tasks/${id}/close`, {})
  })
})

it('the bundle is one that SPIFFE knows, and grows its sequence', async () => {
  const { body } = await world.broker.client.request<{
    keys: { use: string; x5c: string[] }[]
    spiffe_sequence: number
  }>('GET', '/spiffe/bundle')
  expect(body.keys).toHaveLength(1)
  expect(body.spiffe_sequence).toBeGreaterThan(1_700_000_000)
  const root = new X509Certificate(Buffer.from(body.keys[0]?.x5c[0] ?? '', 'base64'))
  expect(root.verify(root.publicKey)).toBe(true)
  expect(root.ca).toBe(true)
})

it('a broker does not start under another trust domain than its authorities’ own', async () => {
  const { config, clock } = world.broker
  const moved = {
    ...config,
    listen: { ...config.listen, port: 0 },
    pki: { trustDomain: 'elsewhere.test', path: '/task/{task_id}' },
  }
  const log = pino({ level: 'silent' })
  await expect(startBroker(moved, { log, clock: clock.now })).rejects.toThrow(
    'set pki.trust_domain: hallpass.test',
  )
})
