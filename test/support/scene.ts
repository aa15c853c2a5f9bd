import { randomUUID } from 'node:crypto'
import { ciSource, startTestBroker, type TestBroker, type TestBrokerOptions, testIssuer } from './broker.ts'
import type { Reply } from './client.ts'
import { startIssuer, type TestIssuer } from './issuer.ts'

/** A CI whose attestations stand for one job each, an issuer of agents, who name their task, and replicas that trust both. */
export interface Scene {
  /** The first replica. */
  broker: TestBroker
  replicas: TestBroker[]
  ci: TestIssuer
  agents: TestIssuer
  /** An attestation of the CI job of that run. */
  job(run?: string, claims?: Record<string, unknown>): string
  /** An attestation of `agent:<name>`. */
  agent(name: string, claims?: Record<string, unknown>): string
  close(): Promise<void>
}

export interface SceneOptions extends Omit<TestBrokerOptions, 'trust'> {
  replicas?: number
  reuse?: 'any' | 'once'
}

export async function startScene({
  replicas: count = 1,
  reuse = 'any',
  ...options
}: SceneOptions = {}): Promise<Scene> {
  const ci = await startIssuer()
  const agents = await startIssuer()
  const trust = [
    ciSource(ci.issuer, { reuse }),
    ciSource(agents.issuer, { name: 'agent', task: null, reuse }),
  ]
  const broker = await startTestBroker({ ...options, trust }).catch(async error => {
    await Promise.all([ci.close(), agents.close()])
    throw error
  })
  const replicas = [broker]
  while (replicas.length < count) replicas.push(await broker.replica())
  return {
    broker,
    replicas,
    ci,
    agents,
    job: (run = randomUUID(), claims = {}) => ci.sign(jobClaims(run, { now: broker.clock.now(), ...claims })),
    agent: (name, claims = {}) => agents.sign(subjectClaims(name, { now: broker.clock.now(), ...claims })),
    async close() {
      // The first one last: it drops the database.
      for (const replica of replicas.toReversed()) await replica.close()
      await ci.close()
      await agents.close()
    },
  }
}

interface Claims extends Record<string, unknown> {
  /** Milliseconds since the epoch; the real time unless given. */
  now?: number
}

export function subjectClaims(sub: string, { now = Date.now(), ...more }: Claims = {}) {
  const iat = Math.floor(now / 1000)
  return { sub, aud: testIssuer, iat, exp: iat + 300, ...more }
}

export function jobClaims(run: string, more: Claims = {}) {
  return subjectClaims('repo:acme/api:ref:refs/heads/main', {
    repository: 'acme/api',
    run_id: run,
    run_attempt: '1',
    check_run_id: '9',
    sha: 'abc',
    workflow_ref: 'acme/api/.github/workflows/ci.yml@refs/heads/main',
    environment: 'production',
    ...more,
  })
}

/** What a mint answers: a token or an OAuth error. */
export interface Minted {
  access_token: string
  task_id: string
  expires_in: number
  scope: string
  error?: string
  code?: string
  decision_id?: string
}

type Form = Record<string, string | string[]>

export const tokenForm = (attestation: string, more: Form = {}): Form => ({
  grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
  subject_token: attestation,
  subject_token_type: 'urn:ietf:params:oauth:token-type:jwt',
  scope: 'deploy:prod',
  audience: 'https://deploy.example',
  ...more,
})

export const mint = (broker: TestBroker, attestation: string, more: Form = {}): Promise<Reply<Minted>> =>
  broker.client.request<Minted>('POST', '/oauth2/token', { form: tokenForm(attestation, more) })

/** A mint that must succeed. */
export async function minted(broker: TestBroker, attestation: string, more: Form = {}): Promise<Minted> {
  const { status, body } = await mint(broker, attestation, more)
  if (status !== 200) throw new Error(`not minted: ${JSON.stringify(body)}`)
  return body
}

export interface TaskBody {
  id: string
  parent_id: string | null
  state: string
  close_reason: string | null
  closed_at: string | null
  ver: number
  context: Record<string, string>
  opened_at: string
  deadline: string
  last_heartbeat_at: string | null
  code?: string
  errors?: { path: string; message: string }[]
}

export async function opened(
  broker: TestBroker,
  attestation: string,
  json: Record<string, unknown> = {},
): Promise<TaskBody> {
  const { status, body } = await broker.client.request<TaskBody>('POST', '/v1/tasks', {
    token: attestation,
    json: { kind: 'agent-run', ref: randomUUID(), ...json },
  })
  if (status !== 201) throw new Error(`not opened: ${JSON.stringify(body)}`)
  return body
}

/** `close`, `suspend`, `resume`, `heartbeat` or `extend`. */
export const act = (
  broker: TestBroker,
  attestation: string,
  taskId: string,
  action: string,
  json: Record<string, unknown> = {},
): Promise<Reply<TaskBody>> =>
  broker.client.request<TaskBody>('POST', `/v1/tasks/${taskId}/${action}`, { token: attestation, json })

export const patchContext = (
  broker: TestBroker,
  attestation: string,
  taskId: string,
  json: Record<string, string | null>,
): Promise<Reply<TaskBody>> =>
  broker.client.request<TaskBody>('PATCH', `/v1/tasks/${taskId}/context`, { token: attestation, json })

export async function isActive(broker: TestBroker, asker: string, token: string): Promise<boolean> {
  const { status, body } = await broker.client.request<{ active: boolean }>('POST', '/oauth2/introspect', {
    token: asker,
    form: { token },
  })
  if (status !== 200) throw new Error(`not introspected: ${JSON.stringify(body)}`)
  return body.active
}

/** The claims of a token, unverified. */
export const claimsOf = (
  token: string,
): Record<string, unknown> & { jti: string; exp: number; iat: number } =>
  JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString())

export const headerOf = (token: string): { alg: string; kid: string; typ: string } =>
  JSON.parse(Buffer.from(token.split('.')[0] ?? '', 'base64url').toString())

export function pick<T>(list: readonly T[]): T {
  return list[Math.floor(Math.random() * list.length)] as T
}
