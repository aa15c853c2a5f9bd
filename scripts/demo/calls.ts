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
export const mint = (world: World, idToken: string, scope: string): Promise<Answer> =>
  call(world, `${world.broker.url}/oauth2/token`, {
    body: new URLSearchParams({
      ...exchange,
      subject_token: idToken,
      scope,
      audience: names.serviceAudience,
    }),
  })

/** Deploys by the protected service. */
export const deploy = (world: World, to: 'staging' | 'prod', token: string): Promise<Answer> =>
  call(world, `${world.service}/${to}`, { token })

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
  options: { method?: string; token?: string; type?: string; body?: string | URLSearchParams },
): Promise<Answer> {
  const { method = 'POST', token, type, body } = options
  const response = await fetch(url, {
    method,
    headers: {
      ...(token && { authorization: `Bearer ${token}` }),
      ...(type && { 'content-type': type }),
    },
    ...(body && { body }),
    signal,
  })
  return { status: response.status, body: (await response.json()) as Answer['body'] }
}
