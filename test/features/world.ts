import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type {
  Credential,
  DecisionList,
  Introspection,
  Task,
  TokenResponse,
} from '../../src/http/openapi.generated.d.ts'
import {
  ciSource,
  spiffeSource,
  startTestBroker,
  type TestBroker,
  type TestBrokerOptions,
  testIssuer,
} from '../support/broker.ts'
import type { Reply } from '../support/client.ts'
import { startIssuer, type TestIssuer } from '../support/issuer.ts'
import { createTrustDomain, type TestTrustDomain } from '../support/spiffe.ts'

export const tokenExchange = 'urn:ietf:params:oauth:grant-type:token-exchange'
export const jwtType = 'urn:ietf:params:oauth:token-type:jwt'
export const deploy = 'https://deploy.example'

type Fields = Record<string, string | string[] | undefined>

/** A broker with agents of one trust domain and jobs of one CI, and the calls that the tests' stories are made of. */
export interface World {
  broker: TestBroker
  prod: TestTrustDomain
  /** The file that the broker reads the bundle of `prod` from. */
  bundle: string
  ci: TestIssuer
  /** A fresh JWT-SVID of `spiffe://prod.example` and this path. */
  as(path: string): string
  /** A fresh ID token of a job. */
  job(more?: Record<string, unknown>): string
  /** Opens a task for an agent; throws unless it was opened. */
  open(path: string, body?: Record<string, unknown>): Promise<Task>
  /** `POST /oauth2/token` by token exchange. */
  exchange(attestation: string, more?: Fields, on?: TestBroker): Promise<Reply<TokenResponse & OAuthError>>
  /** A token of the agent's task; throws unless it was minted. */
  mint(path: string, task: Pick<Task, 'id'>, more?: Fields): Promise<string>
  introspect(token: string, on?: TestBroker): Promise<Introspection>
  live(token: string, on?: TestBroker): Promise<boolean>
  act<Body = Task & Problem>(
    token: string,
    method: string,
    path: string,
    json?: unknown,
  ): Promise<Reply<Body>>
  credentials(token: string, task: Pick<Task, 'id'>): Promise<Credential[]>
  decisions(query?: string): Promise<DecisionList['items']>
  close(): Promise<void>
}

export interface OAuthError {
  error: string
  code: string
  decision_id: string
}

export interface Problem {
  code: string
  detail: string
  request_id: string
  decision_id: string
}

export async function startWorld(options: TestBrokerOptions = {}): Promise<World> {
  const folder = mkdtempSync(join(tmpdir(), 'hallpass-world-'))
  const prod = createTrustDomain('prod.example')
  const bundle = join(folder, 'bundle.json')
  await prod.writeBundle(bundle)
  const ci = await startIssuer()
  const trust = [
    spiffeSource('prod.example', { file: bundle }),
    ciSource(ci.issuer),
    ...(options.trust ?? []),
  ]
  const broker = await startTestBroker({ ...options, trust })
  const now = () => broker.clock.now()

  const world: World = {
    broker,
    prod,
    bundle,
    ci,
    as: path => prod.svid(path, { audience: testIssuer, now: now() }),
    job: more => ci.sign(jobClaims(now(), more)),
    async open(path, body) {
      const json = { kind: 'agent-run', ref: 'OPS-1', ...body }
      const reply = await world.act<Task>(world.as(path), 'POST', '/v1/tasks', json)
      if (reply.status !== 201) throw new Error(`not opened: ${reply.text}`)
      return reply.body
    },
    exchange: (attestation, more, on = broker) =>
      on.client.request('POST', '/oauth2/token', {
        form: fields({
          grant_type: tokenExchange,
          subject_token: attestation,
          subject_token_type: jwtType,
          scope: 'deploy:prod',
          audience: deploy,
          ...more,
        }),
      }),
    async mint(path, task, more) {
      const { status, body, text } = await world.exchange(world.as(path), { task_id: task.id, ...more })
      if (status !== 200) throw new Error(`not minted: ${text}`)
      return body.access_token
    },
    async introspect(token, on = broker) {
      const asker = world.as('/svc/deploy')
      return (
        await on.client.request<Introspection>('POST', '/oauth2/introspect', {
          token: asker,
          form: { token },
        })
      ).body
    },
    live: async (token, on) => (await world.introspect(token, on)).active,
    act: (token, method, path, json) =>
      broker.client.request(method, path, { token, ...(json !== undefined && { json }) }),
    async credentials(token, { id }) {
      return (await world.act<{ items: Credential[] }>(token, 'GET', `/v1/tasks/${id}/credentials`)).body
        .items
    },
    async decisions(query = '') {
      const token = await broker.operatorToken()
      return (await world.act<DecisionList>(token, 'GET', `/v1/decisions${query}`)).body.items
    },
    async close() {
      await broker.close()
      await ci.close()
      rmSync(folder, { recursive: true, force: true })
    },
  }
  return world
}

/** What a job of acme/api attests. */
export function jobClaims(now: number, more: Record<string, unknown> = {}): Record<string, unknown> {
  const iat = Math.floor(now / 1000)
  return {
    sub: 'repo:acme/api:environment:production',
    aud: testIssuer,
    repository: 'acme/api',
    run_id: '7',
    run_attempt: '1',
    check_run_id: '9',
    sha: '2a433950c7e1',
    workflow_ref: 'acme/api/.github/workflows/deploy.yml@refs/heads/main',
    environment: 'production',
    iat,
    exp: iat + 300,
    ...more,
  }
}

/** Without those that are undefined. */
export const fields = (given: Fields): Record<string, string | string[]> =>
  Object.fromEntries(
    Object.entries(given).filter((entry): entry is [string, string | string[]] => entry[1] !== undefined),
  )
