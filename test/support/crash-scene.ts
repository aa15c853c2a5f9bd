import { createLocalJWKSet, type JSONWebKeySet, jwtVerify } from 'jose'
import { expect } from 'vitest'
import { allowAll, testIssuer } from './broker.ts'
import type { RequestOptions } from './client.ts'
import { startIssuer } from './issuer.ts'
import { type ProcessBroker, processBroker } from './process-broker.ts'
import { claimsOf, jobClaims, type Minted, pick, subjectClaims, type TaskBody, tokenForm } from './scene.ts'

/** A token that was answered, and what is known to have become of it. */
interface Held {
  token: string
  jti: string
  taskId: string
  ver: number
  revoked: Knowledge
}

/** `maybe`: asked for, and not answered. */
type Knowledge = 'no' | 'maybe' | 'yes'

/** A task as far as answers told of it. */
interface Known {
  attest: () => string
  id: string
  closed: Knowledge
  /** `ver` that was answered, and whether more was asked for since. */
  ver: number
  changing: boolean
}

/** A broker process under load, and everything that it answered: none of it may be lost, whatever is killed when. */
export interface CrashScene {
  broker: ProcessBroker
  /** Lets `callers` work until `until` settles. What is not answered is of no account. Answers all statuses seen. */
  load(callers: number, until: Promise<unknown>): Promise<Set<number>>
  /** Holds what was answered against what is there. */
  check(): Promise<void>
  /** How much was answered so far. */
  answered(): { tokens: number; closed: number; used: number }
  close(): Promise<void>
}

export async function crashScene(): Promise<CrashScene> {
  const [ci, agents, once] = await Promise.all([startIssuer(), startIssuer(), startIssuer()])
  const template = `task: { kind: ci-job, ref: "{repository}/runs/{run_id}/attempts/{run_attempt}/jobs/{check_run_id}", bind: [sha] }`
  const broker = await processBroker({
    policies: allowAll,
    yaml: `trust:
  - { name: ci, kind: oidc, issuer: "${ci.issuer}", ${template} }
  - { name: agent, kind: oidc, issuer: "${agents.issuer}" }
  - { name: once, kind: oidc, issuer: "${once.issuer}", reuse: once, ${template} }
`,
  })
  await broker.start()

  const tokens: Held[] = []
  const tasks = new Map<string, Known>()
  const used: { attestation: string; taskId: string }[] = []
  let statuses = new Set<number>()

  /** null: not answered, or not with what was asked for. */
  async function ask<Body>(method: string, path: string, options: RequestOptions): Promise<Body | null> {
    try {
      const { status, headers, body } = await broker.client.request<Body>(method, path, options)
      statuses.add(status)
      if (status === 503) expect(Number(headers.get('Retry-After'))).toBeGreaterThan(0)
      return status < 300 ? body : null
    } catch (error) {
      if (error instanceof TypeError) return null
      throw error
    }
  }

  async function mint(attestation: string, attest: () => string, form: Record<string, string> = {}) {
    const body = await ask<Minted>('POST', '/oauth2/token', {
      form: tokenForm(attestation, { ttl: '900', ...form }),
    })
    if (!body) return null
    const { jti, task_ver } = claimsOf(body.access_token)
    tokens.push({
      token: body.access_token,
      jti,
      taskId: body.task_id,
      ver: task_ver as number,
      revoked: 'no',
    })
    const known = tasks.get(body.task_id) ?? {
      attest,
      id: body.task_id,
      closed: 'no',
      ver: 1,
      changing: false,
    }
    tasks.set(body.task_id, known)
    return known
  }

  async function close(task: Known): Promise<void> {
    task.closed = 'maybe'
    if (await ask('POST', `/v1/tasks/${task.id}/close`, { token: task.attest(), json: {} }))
      task.closed = 'yes'
  }

  async function ciJob(): Promise<void> {
    const run = crypto.randomUUID()
    const attest = () => ci.sign(jobClaims(run))
    const task = await mint(attest(), attest)
    if (!task) return
    await mint(attest(), attest)
    const held = tokens.findLast(({ taskId }) => taskId === task.id)
    if (held && Math.random() < 0.3) {
      held.revoked = 'maybe'
      const json = { reason: 'test' }
      if (await ask('POST', `/v1/credentials/${held.jti}/revoke`, { token: attest(), json }))
        held.revoked = 'yes'
    }
    if (Math.random() < 0.5) await close(task)
  }

  async function agentRun(): Promise<void> {
    const attest = () => agents.sign(subjectClaims('runner'))
    const json = { kind: 'agent-run', ref: crypto.randomUUID(), context: { ticket: '1' }, bind: ['ticket'] }
    const opened = await ask<TaskBody>('POST', '/v1/tasks', { token: attest(), json })
    if (!opened) return
    const task: Known = { attest, id: opened.id, closed: 'no', ver: 1, changing: false }
    tasks.set(task.id, task)
    await mint(attest(), attest, { task_id: task.id })
    if (Math.random() < 0.5) {
      task.changing = true
      const change = { token: attest(), json: { ticket: '2' } }
      const changed = await ask<TaskBody>('PATCH', `/v1/tasks/${task.id}/context`, change)
      if (changed) Object.assign(task, { ver: changed.ver, changing: false })
      await mint(attest(), attest, { task_id: task.id })
    }
    if (Math.random() < 0.5) await close(task)
  }

  async function onceJob(): Promise<void> {
    const run = crypto.randomUUID()
    const attest = () => once.sign({ ...jobClaims(run), jti: crypto.randomUUID() })
    const attestation = attest()
    const task = await mint(attestation, attest)
    if (task) used.push({ attestation, taskId: task.id })
  }

  async function load(callers: number, until: Promise<unknown>): Promise<Set<number>> {
    statuses = new Set()
    let working = true
    const work = Array.from({ length: callers }, async () => {
      while (working) {
        await pick([ciJob, agentRun, onceJob])()
        // Where nobody is at home, the answer is quick.
        await new Promise(resolve => setTimeout(resolve, 2))
      }
    })
    await until
    working = false
    await Promise.all(work)
    return statuses
  }

  async function check(): Promise<void> {
    await checkRows(broker, tokens, [...tasks.values()])
    await checkRecord(broker)
    const jwks = await checkKeys(broker, tokens)
    // Of what was answered long ago a part, of the last round all.
    const recent = new Set([...tokens.slice(-60), ...tokens.filter(() => Math.random() < 20 / tokens.length)])
    for (const held of recent) await checkToken(held, tasks.get(held.taskId) as Known, jwks)
    const ended = [...tasks.values()].filter(({ closed }) => closed === 'yes').slice(-15)
    for (const task of ended) {
      const form = tokenForm(task.attest(), { task_id: task.id })
      const again = await broker.client.request<Minted>('POST', '/oauth2/token', { form })
      expect(again.body.code).toBe('task_closed')
    }
    for (const { attestation } of used.slice(-15)) {
      const again = await broker.client.request<Minted>('POST', '/oauth2/token', {
        form: tokenForm(attestation),
      })
      expect(again.body.code).toBe('attestation_reused')
    }
  }

  async function checkToken(held: Held, task: Known, jwks: JSONWebKeySet): Promise<void> {
    await jwtVerify(held.token, createLocalJWKSet(jwks), { issuer: testIssuer, typ: 'at+jwt' })
    const { body } = await broker.client.request<{ active: boolean }>('POST', '/oauth2/introspect', {
      token: agents.sign(subjectClaims('service')),
      form: { token: held.token },
    })
    const dead = held.revoked === 'yes' || task.closed === 'yes' || held.ver < task.ver
    const doubtful = held.revoked === 'maybe' || task.closed === 'maybe' || task.changing
    if (dead) expect(body.active).toBe(false)
    else if (!doubtful) expect(body.active).toBe(true)
  }

  return {
    broker,
    load,
    check,
    answered: () => ({
      tokens: tokens.length,
      closed: [...tasks.values()].filter(({ closed }) => closed === 'yes').length,
      used: used.length,
    }),
    async close() {
      await broker.close()
      await Promise.all([ci.close(), agents.close(), once.close()])
    },
  }
}

/** Every answered token has its row and its decision, and every row its decision; what was answered closed or changed is. */
async function checkRows({ sql }: ProcessBroker, tokens: Held[], tasks: Known[]): Promise<void> {
  const lost = await sql(
    `SELECT jti FROM unnest($1::uuid[]) AS answered (jti) WHERE NOT EXISTS (
      SELECT FROM credentials c JOIN decisions d ON d.jti = c.jti AND d.action = 'mint' AND d.decision = 'allow'
      WHERE c.jti = answered.jti)`,
    [tokens.map(({ jti }) => jti)],
  )
  expect(lost).toEqual([])
  const odd = await sql(
    `SELECT c.jti, d.jti AS decided FROM credentials c
      FULL JOIN (SELECT jti FROM decisions WHERE action = 'mint' AND decision = 'allow') d ON d.jti = c.jti
      LEFT JOIN tasks t ON t.id = c.task_id LEFT JOIN signing_keys k ON k.kid = c.kid
      WHERE c.jti IS NULL OR d.jti IS NULL OR t.id IS NULL OR k.kid IS NULL OR c.expires_at > t.deadline
        OR c.expires_at > k.last_day OR c.expires_at > c.issued_at + interval '15 minutes'`,
  )
  expect(odd).toEqual([])
  const rows = await sql<{ id: string; state: string; ver: number }>('SELECT id, state, ver FROM tasks')
  const byId = new Map(rows.map(row => [row.id, row]))
  for (const { id, closed, ver, changing } of tasks) {
    const row = byId.get(id)
    if (closed !== 'maybe') expect(row).toMatchObject({ id, state: closed === 'yes' ? 'closed' : 'open' })
    if (!changing) expect(row).toMatchObject({ id, ver })
  }
}

/** The record has every end, once, numbered without a gap up to its counter. */
async function checkRecord({ sql }: ProcessBroker): Promise<void> {
  const [counter] = await sql<{ seq: string; rows: string; last: string | null }>(
    'SELECT c.seq, (SELECT count(*) FROM revocations) AS rows, (SELECT max(seq) FROM revocations) AS last FROM revocation_counter c',
  )
  expect(counter?.rows).toBe(counter?.seq)
  expect(counter?.last ?? '0').toBe(counter?.seq)
  const unrecorded = await sql(
    `SELECT t.id FROM tasks t WHERE t.state = 'closed'
      AND (SELECT count(*) FROM revocations r WHERE r.task_id = t.id AND r.state = 'closed') <> 1
    UNION ALL SELECT c.jti FROM credentials c WHERE c.revoked_at IS NOT NULL
      AND (SELECT count(*) FROM revocations r WHERE r.jti = c.jti) <> 1`,
  )
  expect(unrecorded).toEqual([])
}

async function checkKeys({ client, sql }: ProcessBroker, tokens: Held[]): Promise<JSONWebKeySet> {
  const { body } = await client.request<JSONWebKeySet>('GET', '/.well-known/jwks.json')
  const signing = await sql<{ kid: string }>('SELECT DISTINCT kid FROM credentials')
  const published = body.keys.map(({ kid }) => kid)
  if (tokens.length > 0) expect(signing.length).toBeGreaterThan(0)
  for (const { kid } of signing) expect(published).toContain(kid)
  return body
}
