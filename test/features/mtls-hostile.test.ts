import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { oids } from '../../src/der/oids.ts'
import { tags } from '../../src/der/tags.ts'
import { element, octetString, oid, sequence, set, utf8String } from '../../src/der/write.ts'
import type { Task } from '../../src/http/openapi.generated.d.ts'
import { allowAll } from '../support/broker.ts'
import { type CertificateOptions, makeAuthority } from '../support/x509.ts'
import { type MtlsWorld, startMtlsWorld } from './mtls-world.ts'
import type { Problem } from './world.ts'

let world: MtlsWorld
beforeAll(async () => {
  world = await startMtlsWorld({
    policies: `${allowAll}
@id("office") forbid (principal, action == Action::"open", resource) when { context has ip && !context.ip.isInRange(ip("127.0.0.0/8")) };`,
    proxies: ['127.0.0.1'],
  })
})
afterAll(() => world?.close())

/** How long the broker, busy with somebody else, leaves everybody waiting at the most. Milliseconds. */
const patience = 1_500

describe('a certificate that was made to be long in reading is refused before it was', () => {
  const longOid = (size: number) =>
    element(tags.oid, Buffer.concat([Buffer.alloc(size - 1, 0xff), Buffer.of(0x7f)]))
  const named = (type: Buffer, value: Buffer) => sequence(set(sequence(type, value)))

  it.each<[string, CertificateOptions]>([
    ['an extension’s identifier', { moreExtensions: [sequence(longOid(60_000), octetString())] }],
    ['an identifier within a name', { subject: named(longOid(60_000), utf8String('x')) }],
    [
      'accents piled upon accents',
      { subject: named(oid(oids.commonName), utf8String(`a${'\u0301\u0327'.repeat(15_000)}`)) },
    ],
  ])('by %s', async (_, options) => {
    const client = world.with(world.prod.x509.svid('/agent', options).pem)
    await client.request('GET', '/healthz')
    const from = performance.now()
    const { status, body } = await client.request<Problem>('GET', '/v1/tasks')
    expect([status, body.code]).toEqual([401, 'attestation_invalid'])
    expect(performance.now() - from).toBeLessThan(patience)
  })
})

it('whoever was refused a moment ago is refused without another judgement, however it asks', async () => {
  const names = { subject: 'same', issuer: 'same', keyKind: 'P-521' } as const
  const unnamed = { [oids.subjectKeyIdentifier]: null, [oids.authorityKeyIdentifier]: null }
  const strangers = Array.from({ length: 15 }, () => makeAuthority({ ...names, extensions: unnamed }))
  const client = world.with(
    world.prod.x509.svid('/agent', { signer: strangers[0]!, intermediates: strangers }).pem,
  )
  const asks = async (method: string, path: string, more = {}) => {
    const { status, body } = await client.request<Problem>(method, path, more)
    return [status, body.code]
  }
  await client.request('GET', '/healthz')
  const from = performance.now()
  expect(await asks('GET', '/v1/tasks')).toEqual([401, 'attestation_invalid'])
  const judged = performance.now()
  const form = { grant_type: 'client_credentials', scope: 'a', audience: 'https://a.example' }
  for (let n = 0; n < 20; n++) expect(await asks('GET', '/v1/tasks')).toEqual([401, 'attestation_invalid'])
  expect(await asks('POST', '/oauth2/token', { form })).toEqual([401, 'attestation_invalid'])
  expect((performance.now() - judged) / 21).toBeLessThan((judged - from) / 2)
  // Once its authority is one of the domain's, the same chain on the same connection proves who it is.
  world.prod.x509.roots.push(strangers[0]!)
  world.prod.sequence += 1
  await world.prod.writeBundle(world.bundle)
  world.broker.clock.advance(31_000)
  expect((await client.request('GET', '/v1/tasks')).status).toBe(200)
})

it('an address is where the connection comes from, and nothing that a client writes of itself', async () => {
  const opens = (client: Pick<typeof world.broker.client, 'request'>, more: object) =>
    client.request<Task>('POST', '/v1/tasks', {
      json: { kind: 'agent-run', ref: crypto.randomUUID() },
      headers: { 'X-Forwarded-For': '192.0.2.7' },
      ...more,
    })
  // On the other listener a proxy that is trusted says it.
  expect((await opens(world.broker.client, { token: world.as('/agent') })).status).toBe(403)
  expect((await opens(world.with(world.svid('/agent').pem), {})).status).toBe(201)
  const addresses = await world.broker.sql<{ address: string }>(
    `SELECT host(address) AS address FROM decisions WHERE action = 'open' ORDER BY at`,
  )
  expect(addresses.map(({ address }) => address)).toEqual(['192.0.2.7', '127.0.0.1'])
})

it('answers of OCSP are as the contract has them, whatever is asked', async () => {
  const { client } = world.broker
  for (const path of ['MAA=', 'x', 'A'.repeat(8_000)])
    expect((await client.request('GET', `/pki/ocsp/${path}`)).status).toBe(200)
  expect((await client.request('GET', '/pki/ocsp/%zz')).status).toBe(400)
})

it('a page that a browser shows its user’s certificate for is nobody by it', async () => {
  const client = world.with(world.prod.x509.svid('/agent').pem)
  const from = { Origin: 'https://elsewhere.example' }
  const { body: task } = await client.request<Task>('POST', '/v1/tasks', {
    json: { kind: 'agent-run', ref: 'page' },
  })
  expect(task.state).toBe('open')
  for (const headers of [from, { 'Sec-Fetch-Site': 'cross-site' }]) {
    expect((await client.request('POST', `/v1/tasks/${task.id}/close`, { headers })).status).toBe(401)
    const form = { grant_type: 'client_credentials', scope: 'a', audience: 'b', task_id: task.id }
    expect((await client.request('POST', '/oauth2/token', { headers, form })).status).toBe(401)
  }
  expect((await client.request<Task>('GET', `/v1/tasks/${task.id}`)).body.state).toBe('open')
})
