import { execFileSync } from 'node:child_process'
import { generateKeyPairSync, X509Certificate } from 'node:crypto'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { HallpassError } from '../../src/errors.ts'
import type { Credential } from '../../src/http/openapi.generated.d.ts'
import { type CertificateDeps, issueCertificate } from '../../src/mint/x509/issue-certificate.ts'
import { requestedKey } from '../../src/mint/x509/key-source.ts'
import { derOf, mintCertificate, pki, someCsr } from '../support/certificate-scene.ts'
import { csrOf } from '../support/csr.ts'
import { type MintStory, mintStory } from '../support/mint-story.ts'
import { act, opened, patchContext, pick, type Scene, startScene } from '../support/scene.ts'

const committed = fileURLToPath(new URL('../support/committed.ts', import.meta.url))
const ask = {
  scopes: ['deploy:prod'],
  audiences: ['https://deploy.example'],
  ttl: null,
  taskVer: null,
  binding: null,
  certificate: { usages: ['clientAuth' as const], dnsNames: [] },
}

let scene: Scene
let story: MintStory
beforeAll(async () => {
  scene = await startScene({ replicas: 2, config: { pki } })
  story = await mintStory(scene.broker)
})
afterAll(async () => {
  await story?.close()
  await scene?.close()
})

/** The deps, with an authority that tells when it signs; what `touched` throws, signing throws. */
function watched(touched: () => void): CertificateDeps {
  const x509 = story.deps.x509!
  const makerOf: typeof x509.makerOf = authority => {
    const make = x509.makerOf(authority)
    return fields => {
      touched()
      return make(fields)
    }
  }
  return { ...story.deps, x509: { ...x509, makerOf } }
}

/** What others see in the database at this very moment, asked without letting this process go on. */
const rowsNow = (taskId: string): { credentials: number; decisions: number } =>
  JSON.parse(
    execFileSync(process.execPath, [committed, scene.broker.databaseUrl, taskId], { encoding: 'utf8' }),
  )

it('invariant 1: when an authority is about to sign, row and decision are committed for all to see', async () => {
  const agent = scene.agent('one')
  const { id: taskId } = await opened(scene.broker, agent)
  const seen: object[] = []
  const deps = watched(() => seen.push(rowsNow(taskId)))
  await issueCertificate(deps, await story.askerOf(agent), { ...ask, taskId }, requestedKey(someCsr))
  expect(seen).toEqual([{ credentials: 1, decisions: 1 }])
})

it.each([
  ['is refused because the attestation was used', async () => 'reused' as const, 'used before'],
  ['never stands', async () => 'stale' as const, 'keeps changing'],
  ['fails', () => Promise.reject(new Error('the disk is full')), 'the disk is full'],
])(
  'invariant 1: a reservation that %s signs no certificate',
  async (_, reserve: CertificateDeps['reserve'], message) => {
    const agent = scene.agent('three')
    const { id: taskId } = await opened(scene.broker, agent)
    let touched = 0
    const deps = { ...watched(() => touched++), reserve }
    const asker = await story.askerOf(agent)
    await expect(issueCertificate(deps, asker, { ...ask, taskId }, requestedKey(someCsr))).rejects.toThrow(
      message,
    )
    expect(touched).toBe(0)
    expect(rowsNow(taskId)).toEqual({ credentials: 0, decisions: 0 })
  },
)

it('invariant 1: every certificate that was handed out has its row, which says what it says', async () => {
  const { broker } = scene
  const agent = scene.agent('four')
  const task = await opened(broker, agent)
  const answers = await Promise.all(
    Array.from({ length: 20 }, (_, i) => mintCertificate(pick(scene.replicas), agent, task, { ttl: 60 + i })),
  )
  for (const { status, body } of answers) {
    expect(status).toBe(201)
    const { validTo, validFrom, serialNumber } = new X509Certificate(body.certificate ?? '')
    const [row] = await broker.sql<{ issued_at: Date; expires_at: Date; type: string; task_id: string }>(
      'SELECT * FROM credentials WHERE jti = $1',
      [body.jti],
    )
    expect(row).toMatchObject({ type: 'x509', task_id: task.id, expires_at: new Date(validTo) })
    expect(Date.parse(validFrom)).toBe(row!.issued_at.getTime() - 30_000)
    expect(serialNumber.toLowerCase().padStart(32, '0')).toBe(body.serial)
  }
})

it('invariant 2: notAfter is never past deadline, ttl_max, what was asked, the authority’s last day or the end of its chain', async () => {
  const { broker } = scene
  const { deps } = story
  const x509 = deps.x509!
  const agent = scene.agent('bounds')
  const asker = await story.askerOf(agent)
  const seconds = fc.integer({ min: 1, max: 1_200 })
  const ms = fc.integer({ min: 1, max: 1_500_000 })
  const bounds = fc.record({ ttl: seconds, ttlMax: seconds, deadline: ms, lastDay: fc.option(ms), end: ms })
  let minted = 0
  await fc.assert(
    fc.asyncProperty(bounds, async ({ ttl, ttlMax, deadline, lastDay, end }) => {
      const start = broker.clock.now()
      const task = await opened(broker, agent)
      await broker.sql('UPDATE tasks SET deadline = $2 WHERE id = $1', [task.id, new Date(start + deadline)])
      const active = () => ({
        ...x509.authorities.active(),
        lastDay: lastDay === null ? null : new Date(start + lastDay),
        notAfter: start + end,
      })
      const limited = {
        ...deps,
        credentials: { ...deps.credentials, ttlMax: ttlMax * 1000, ttlDefault: ttlMax * 1000 },
        x509: { ...x509, authorities: { ...x509.authorities, active } },
      }
      try {
        const issued = await issueCertificate(
          limited,
          asker,
          { ...ask, ttl, taskId: task.id },
          requestedKey(someCsr),
        )
        const { validTo } = new X509Certificate(issued.certificate ?? '')
        const latest = Math.min(start + deadline, start + (lastDay ?? end), start + end)
        expect(Date.parse(validTo)).toBeLessThanOrEqual(latest)
        expect(Date.parse(validTo)).toBeLessThanOrEqual(broker.clock.now() + Math.min(ttl, ttlMax) * 1000)
        expect(issued.expiresAt).toEqual(new Date(validTo))
        minted++
      } catch (error) {
        if (!(error instanceof HallpassError)) throw error
        expect(['task_closed', 'unavailable']).toContain(error.code)
        expect(Math.min(deadline, lastDay ?? end, end)).toBeLessThan(4_000)
      }
    }),
    { numRuns: 60 },
  )
  expect(minted).toBeGreaterThan(10)
}, 120_000)

it.each(['close', 'suspend', 'context'] as const)(
  'invariant 3: after a task’s %s was answered no certificate of before is reserved or live',
  async end => {
    const { broker, replicas } = scene
    const agent = scene.agent('racer')
    let [before, after] = [0, 0]
    for (let round = 0; round < 2 || (round < 20 && Math.min(before, after) === 0); round++) {
      const task = await opened(broker, agent, { context: { ticket: '1' }, bind: ['ticket'] })
      const launch = () => Array.from({ length: 20 }, () => mintCertificate(pick(replicas), agent, task))
      const flights = launch()
      await Promise.race([pick(flights), new Promise(resolve => setTimeout(resolve, Math.random() * 20))])
      const ending =
        end === 'context'
          ? patchContext(pick(replicas), agent, task.id, { ticket: '2' })
          : act(pick(replicas), agent, task.id, end)
      flights.push(...launch())
      expect((await ending).status).toBe(200)
      const rows = () =>
        broker.sql<{ jti: string }>('SELECT jti FROM credentials WHERE task_id = $1 AND task_ver = 1', [
          task.id,
        ])
      const reserved = await rows()
      const answers = await Promise.all(flights)
      expect(await rows()).toHaveLength(reserved.length)
      const dead = answers.filter(({ body }) => reserved.some(({ jti }) => jti === body.jti))
      for (const { body } of dead)
        for (const replica of replicas) {
          const path = `/v1/credentials/${body.jti}`
          const read = await replica.client.request<Credential>('GET', path, { token: agent })
          expect(read.body.live).toBe(false)
        }
      const code = { close: 'task_closed', suspend: 'task_suspended', context: undefined }[end]
      const others = answers.filter(answer => !dead.includes(answer))
      for (const { body } of others) expect(body.code).toBe(code)
      before += dead.length
      after += others.length
    }
    expect(Math.min(before, after)).toBeGreaterThan(0)
  },
  120_000,
)

describe('invariant 4: a refusal has its row before its answer', () => {
  const lastRow = async () => {
    const [row] = await scene.broker.sql<{
      id: string
      decision: string
      code: string
      asked: Record<string, unknown>
    }>(`SELECT id, decision, code, asked FROM decisions WHERE action = 'mint' ORDER BY id DESC LIMIT 1`)
    return row!
  }
  it.each([
    ['a CSR that is garbage', { csr: 'garbage' }, 400, 'malformed'],
    [
      'a CSR whose signature is another key’s',
      { csr: csrOf({ ...pairs().one, publicKey: pairs().other.publicKey }) },
      400,
      'malformed',
    ],
    ['a CSR of a megabyte', { csr: 'x'.repeat(200_000) }, 400, 'malformed'],
    ['a task that moved on', { task_ver: 9 }, 400, 'task_changed'],
    [
      'an audience of the broker itself and another',
      { audience: ['https://hallpass.test', 'x'] },
      400,
      undefined,
    ],
  ])('%s', async (_, more, status, code) => {
    const agent = scene.agent('refused')
    const task = await opened(scene.broker, agent)
    const answer = await mintCertificate(scene.broker, agent, task, more)
    expect(answer.status, answer.text).toBeGreaterThanOrEqual(status)
    expect(answer.status).toBeLessThan(500)
    if (code) expect(answer.body.code).toBe(code)
    const row = await lastRow()
    expect(row).toMatchObject({ decision: 'deny', asked: { credential: 'x509', task_id: task.id } })
    expect(JSON.stringify(row)).not.toContain('BEGIN')
    expect(rowsNow(task.id).credentials).toBe(0)
  })

  it('and no row, no certificate', async () => {
    const { broker } = scene
    const agent = scene.agent('unlogged')
    const task = await opened(broker, agent)
    await broker.sql('ALTER TABLE decisions ADD CONSTRAINT never CHECK (jti IS NULL) NOT VALID')
    // A fault of the broker is not in the contract, so that the client of these tests would have none of it.
    const answer = await fetch(`${broker.url}/v1/tasks/${task.id}/credentials`, {
      method: 'POST',
      headers: { Authorization: `Bearer ${agent}`, 'Content-Type': 'application/json' },
      body: JSON.stringify({ type: 'x509', scope: 'a', audience: 'b', csr: someCsr }),
    }).finally(() => broker.sql('ALTER TABLE decisions DROP CONSTRAINT never'))
    expect(answer.status).toBe(500)
    expect(await answer.text()).not.toContain('BEGIN')
    expect(rowsNow(task.id)).toEqual({ credentials: 0, decisions: 0 })
  })
})

function pairs() {
  const make = () => generateKeyPairSync('ec', { namedCurve: 'P-256' })
  return { one: make(), other: make() }
}

it('invariant 6: no certificate, CSR, password or key of one is in any row or log line, or in any other answer', async () => {
  const { broker } = scene
  const agent = scene.agent('secretive')
  const task = await opened(broker, agent)
  const password = `hunter2-${crypto.randomUUID()}`
  const minted = await mintCertificate(broker, agent, task)
  const legacy = await broker.client.request<{ pkcs12: string; jti: string }>(
    'POST',
    `/v1/tasks/${task.id}/credentials`,
    {
      token: agent,
      json: { type: 'x509', scope: 'a', audience: 'b', format: 'pkcs12', password },
    },
  )
  expect([minted.status, legacy.status]).toEqual([201, 201])
  const certificate = derOf(minted.body.certificate)
  const answers: string[] = []
  const get = async (path: string) => {
    const token = await broker.operatorToken()
    answers.push((await broker.client.request('GET', path, { token })).text)
  }
  for (const path of ['/v1/decisions?limit=200', '/v1/keys', '/v1/ca', `/v1/tasks/${task.id}/credentials`])
    await get(path)
  await get(`/v1/credentials/${minted.body.jti}`)
  // Where it does not belong, it is not told again either.
  for (const json of [
    { type: 'x509', scope: password, audience: 'b', format: 'pkcs12' },
    { type: 'x509', scope: 'a', audience: 'b', password },
    { type: 'x509', scope: 'a', audience: 'b', format: 'pkcs12', password: { password } },
  ])
    answers.push(
      (await broker.client.request('POST', `/v1/tasks/${task.id}/credentials`, { token: agent, json })).text,
    )
  const tables = await broker.sql<{ name: string }>(
    `SELECT quote_ident(tablename) AS name FROM pg_tables WHERE schemaname = 'public'`,
  )
  const rows: string[] = []
  for (const { name } of tables)
    rows.push(
      ...(await broker.sql<{ row: string }>(`SELECT t::text AS row FROM ${name} t`)).map(({ row }) => row),
    )
  const secrets = [
    password,
    legacy.body.pkcs12.slice(80, 160),
    certificate.subarray(-48).toString('base64').slice(4, -4),
    certificate.subarray(-48).toString('hex'),
    derOf(someCsr).subarray(-48).toString('base64').slice(4, -4),
    derOf(someCsr).subarray(-48).toString('hex'),
  ]
  const everything = [...rows, ...scene.replicas.flatMap(({ logged }) => logged), ...answers].join('\n')
  for (const secret of secrets) expect(everything.includes(secret), secret).toBe(false)
  // Private keys of the CA lie sealed: nothing in any row reads as one.
  expect(everything).not.toMatch(/PRIVATE KEY|3081870201003013|308193020100301306/)
})
