import { createHmac } from 'node:crypto'
import { names } from './settings.ts'
import type { World } from './world.ts'

export interface Answer {
  status: number
  body: Record<string, unknown>
}

const exchange = {
  grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
  subject_token_type: 'urn:ietf:params:oauth:token-type:id_token',
}

/** The one call that a job makes: its ID token in, a token for its task out (RFC 8693). */
export const mint = (
  world: World,
  attestation: string,
  scope: string,
  more: Record<string, string> = {},
): Promise<Answer> =>
  call(world, `${world.broker.url}/oauth2/token`, {
    body: new URLSearchParams({
      ...exchange,
      subject_token: attestation,
      scope,
      audience: names.serviceAudience,
      ...more,
    }),
  })

/** Deploys by the protected service. */
export const deploy = (world: World, to: 'staging' | 'prod', token: string): Promise<Answer> =>
  call(world, `${world.service}/${to}`, { token })

/** The answer of the service once it has changed its mind. Gives up after two seconds. */
export async function deployUntilRefused(world: World, token: string): Promise<Answer> {
  const since = performance.now()
  for (;;) {
    const answer = await deploy(world, 'staging', token)
    if (answer.status !== 200 || performance.now() - since > 2_000) return answer
  }
}

/** A request that the service goes on with for as long as the token lives. */
export const watch = (world: World, token: string): Promise<Answer> =>
  call(world, `${world.service}/watch`, { token })

export const openTask = (world: World, attestation: string, body: Record<string, unknown>): Promise<Answer> =>
  call(world, `${world.broker.url}/v1/tasks`, {
    token: attestation,
    type: 'application/json',
    body: JSON.stringify(body),
  })

/** What GitHub sends when a job is over, signed with the secret that it shares with the broker. */
export function reportJobOver(
  world: World,
  job: Record<string, string>,
  conclusion: string,
): Promise<Answer> {
  const body = JSON.stringify({
    action: 'completed',
    workflow_job: {
      id: Number(job.check_run_id),
      run_id: Number(job.run_id),
      run_attempt: Number(job.run_attempt),
      status: 'completed',
      conclusion,
    },
    repository: { full_name: job.repository, owner: { login: job.repository_owner } },
  })
  return call(world, `${world.broker.url}/hooks/ci`, {
    type: 'application/json',
    body,
    headers: {
      'x-github-event': 'workflow_job',
      'x-hub-signature-256': `sha256=${createHmac('sha256', names.hookSecret).update(body).digest('hex')}`,
    },
  })
}

/** Ends all that a trust source has, and blocks what would come. */
export const revokeTrust = (world: World, operator: string, trust: string): Promise<Answer> =>
  call(world, `${world.broker.url}/v1/revocations`, {
    token: operator,
    type: 'application/json',
    body: JSON.stringify({ trust, reason: 'the CI was broken into' }),
  })

export const changeContext = (
  world: World,
  operator: string,
  taskId: string,
  patch: Record<string, string | null>,
): Promise<Answer> =>
  call(world, `${world.broker.url}/v1/tasks/${taskId}/context`, {
    method: 'PATCH',
    token: operator,
    type: 'application/merge-patch+json',
    body: JSON.stringify(patch),
  })

export const closeTask = (world: World, operator: string, taskId: string): Promise<Answer> =>
  call(world, `${world.broker.url}/v1/tasks/${taskId}/close`, {
    token: operator,
    type: 'application/json',
    body: JSON.stringify({ outcome: 'revoked', reason: 'the demo is nearly over' }),
  })

export const readLog = (world: World, operator: string, taskId: string): Promise<Answer> =>
  call(world, `${world.broker.url}/v1/decisions?task=${taskId}`, { method: 'GET', token: operator })

async function call(
  { signal }: World,
  url: string,
  options: {
    method?: string
    token?: string
    type?: string
    headers?: Record<string, string>
    body?: string | URLSearchParams
  },
): Promise<Answer> {
  const { method = 'POST', token, type, headers, body } = options
  const response = await fetch(url, {
    method,
    headers: {
      ...(token && { authorization: `Bearer ${token}` }),
      ...(type && { 'content-type': type }),
      ...headers,
    },
    ...(body && { body }),
    signal,
  })
  return { status: response.status, body: (await response.json()) as Answer['body'] }
}
