import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { decodeJwt } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { checkPolicyDir } from '../../src/decide/folder.ts'
import type { Task } from '../../src/http/openapi.generated.d.ts'
import { startTestBroker, type TestBroker } from '../support/broker.ts'
import { type BundleEndpoint, createTrustDomain } from '../support/spiffe.ts'
import { doors } from './doors.ts'
import { loadExample } from './example.ts'

const example = loadExample('spiffe')
const { issuer, policy, tasks, trust } = example.config
const folder = mkdtempSync(join(tmpdir(), 'hallpass-spiffe-'))
const bundle = join(folder, 'prod.bundle.json')
const prod = createTrustDomain('prod.example')
const partner = createTrustDomain('partner.example', { alg: 'RS256' })
let endpoint: BundleEndpoint
let broker: TestBroker

beforeAll(async () => {
  await prod.writeBundle(bundle)
  endpoint = await partner.serveBundle()
  // As configured, but for where the bundles are.
  const [first, second] = trust
  if (first?.kind !== 'spiffe' || second?.kind !== 'spiffe') throw new Error('other sources')
  broker = await startTestBroker({
    trust: [
      { ...first, bundle: { file: bundle } },
      { ...second, bundle: { url: endpoint.url } },
    ],
    config: { issuer, policy, tasks },
  })
})
afterAll(async () => {
  await broker?.close()
  await endpoint?.close()
  rmSync(folder, { recursive: true, force: true })
})

const svid = (path: string, domain = prod) => domain.svid(path, { audience: issuer, now: broker.clock.now() })
const deployer = () => svid('/agent/deployer')
const reporter = () => svid('/agent/reporter', partner)
const open = (token: string, json: object) =>
  broker.client.request<Task>('POST', '/v1/tasks', { token, json })
const run = { kind: 'agent-run', ref: 'OPS-4711', context: { environment: 'staging' }, bind: ['environment'] }
const staging = { scope: 'deploy:staging' }
const report = { scope: 'report:read', audience: 'https://reports.example' }

test('the example is what it says: two trust domains, one by file, one by federation endpoint', async () => {
  expect(example.config.warnings).toEqual([])
  expect(await checkPolicyDir(`${example.dir}/policies`)).toEqual({ faults: [], warnings: [] })
  expect(trust).toMatchObject([
    { trustDomain: 'prod.example', bundle: { file: join(example.dir, 'prod.bundle.json') } },
    { trustDomain: 'partner.example', bundle: { url: 'https://spire.partner.example/bundle' } },
  ])
  expect(example.claims).toMatchObject({ sub: decodeJwt(deployer()).sub, aud: [issuer] })
})

test('an agent opens a task with its SVID, and finds it open when it asks again', async () => {
  const { status, body, headers } = await open(deployer(), run)
  expect([status, headers.get('Location')]).toEqual([201, `/v1/tasks/${body.id}`])
  expect(body).toMatchObject({
    ...run,
    principal: 'spiffe://prod.example/agent/deployer',
    subject: 'spiffe://prod.example/agent/deployer',
    trust: 'prod',
    state: 'open',
    ver: 1,
  })
  expect(Date.parse(body.deadline) - Date.parse(body.opened_at)).toBe(30 * 60_000)
  const again = await open(deployer(), { ...run, purpose: 'another', context: { environment: 'prod' } })
  expect([again.status, again.body]).toEqual([200, body])
})

describe('four doors, one story', () => {
  test.each(doors)('$name', async door => {
    const { id } = (await open(deployer(), run)).body
    const { status, body, headers } = await door.ask(broker, deployer(), {
      ...staging,
      task_id: id,
      ttl: '60',
    })
    expect([status, headers.get('Cache-Control')]).toEqual([door.role === 'rest' ? 201 : 200, 'no-store'])
    const exchanged = door.role === 'subject' || door.role === 'rest'
    expect(body).toEqual({
      access_token: expect.any(String),
      ...(exchanged && { issued_token_type: 'urn:ietf:params:oauth:token-type:access_token' }),
      token_type: 'Bearer',
      expires_in: 60,
      ...staging,
      task_id: id,
    })
    const { iat, exp, jti, ...claims } = decodeJwt(body.access_token)
    expect(exp! - iat!).toBe(60)
    expect(claims).toEqual({
      iss: issuer,
      sub: 'spiffe://prod.example/agent/deployer',
      client_id: 'spiffe://prod.example/agent/deployer',
      aud: 'https://deploy.example',
      ...staging,
      task_id: id,
      task_ver: 1,
      status: {
        status_list: {
          idx: expect.any(Number),
          uri: expect.stringMatching(/^https:\/\/hallpass\.example\/status-lists\/[0-9a-f-]{36}$/),
        },
      },
    })
    const log = await broker.client.request<{ items: object[] }>(
      'GET',
      `/v1/decisions?task=${id}&action=mint&limit=1`,
      {
        token: await broker.operatorToken(),
      },
    )
    expect(log.body.items).toMatchObject([{ jti, decision: 'allow', policies: ['agents-deploy-staging'] }])
  })

  test.each(doors)(
    '$name: several audiences and scopes, and a narrower scope than policy names',
    async door => {
      const { id } = (await open(deployer(), run)).body
      const asked = { scope: 'logs:read logs:read:eu', audience: ['https://logs.example'], task_id: id }
      const { access_token } = (await door.ask(broker, deployer(), asked)).body
      expect(decodeJwt(access_token)).toMatchObject({
        scope: 'logs:read logs:read:eu',
        aud: 'https://logs.example',
      })
      const wider = await door.ask(broker, deployer(), { ...asked, scope: 'logs' })
      expect(wider.body.code).toBe('refused')
    },
  )
})

describe('two trust domains at once', () => {
  test('each has its own tasks: another domain’s task is none of the caller’s', async () => {
    const ours = (await open(deployer(), run)).body
    const theirs = await open(reporter(), run)
    expect(theirs.status).toBe(201)
    expect(theirs.body).toMatchObject({
      trust: 'partner',
      principal: 'spiffe://partner.example/agent/reporter',
    })
    for (const door of doors) {
      const minted = await door.ask(broker, reporter(), { ...report, task_id: theirs.body.id })
      expect(minted.body.expires_in).toBe(120)
      expect((await door.ask(broker, reporter(), { ...report, task_id: ours.id })).body.code).toBe(
        'task_unknown',
      )
    }
    const read = await broker.client.request('GET', `/v1/tasks/${ours.id}`, { token: reporter() })
    expect(read.status).toBe(404)
  })

  test('policy tells them apart: a partner’s agent of our agent’s name opens nothing', async () => {
    expect((await open(svid('/agent/deployer', partner), run)).status).toBe(403)
  })

  test('neither domain can sign for the other’s agents, nor for none of the two', async () => {
    const { id } = (await open(deployer(), run)).body
    for (const sub of ['spiffe://prod.example/agent/deployer', 'spiffe://third.example/agent/deployer']) {
      const forged = partner.svid('/x', { audience: issuer, claims: { sub } })
      for (const door of doors) {
        expect((await door.ask(broker, forged, { ...staging, task_id: id })).body.code).toBe(
          'attestation_invalid',
        )
      }
      expect((await open(forged, run)).status).toBe(401)
    }
  })
})

describe('bundles follow their domains', () => {
  test('a key that left the federation endpoint is refused once its refresh hint has passed, the new one is taken', async () => {
    const before = reporter()
    const [old] = partner.keys
    partner.rotate('RS256')
    expect((await open(before, { ...run, ref: 'before' })).status).toBe(201)
    const asked = endpoint.requests
    broker.clock.advance(partner.refreshHint! * 1000 + 1000)
    expect((await open(reporter(), { ...run, ref: 'after' })).status).toBe(201)
    expect(endpoint.requests).toBeGreaterThan(asked)
    const late = partner.svid('/agent/reporter', { audience: issuer, now: broker.clock.now(), key: old! })
    expect((await open(late, run)).status).toBe(401)
    expect((await open(deployer(), run)).status).toBeLessThan(300)
  })

  test('so is one that left the file; and an empty bundle, as the example has it, accepts nothing', async () => {
    prod.rotate()
    await prod.writeBundle(bundle)
    broker.clock.advance(10_000)
    expect((await open(deployer(), { ...run, ref: 'rotated' })).status).toBe(201)
    const keys = prod.keys.splice(0)
    await prod.writeBundle(bundle)
    broker.clock.advance(10_000)
    const late = prod.svid('/agent/deployer', { audience: issuer, now: broker.clock.now(), key: keys[0]! })
    expect((await open(late, run)).status).toBe(401)
    expect((await open(reporter(), { ...run, ref: 'after' })).status).toBe(200)
  })
})
