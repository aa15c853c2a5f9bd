import { createHmac } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Hook } from '../../src/config.ts'
import type { HookOutcome } from '../../src/http/openapi.generated.d.ts'
import type { TestBroker } from './broker.ts'
import type { Reply } from './client.ts'

/** What authorities send, laid out as they lay it out: the files of deliveries/. */
export type Payload =
  | 'github-workflow-job'
  | 'github-workflow-run'
  | 'github-ping'
  | 'gitlab-job'
  | 'gitlab-pipeline'
  | 'kubernetes-pod'
  | 'kubernetes-job'
  | 'jira-issue'
  | 'circleci-job'

export const payloadText = (name: Payload): string =>
  readFileSync(join(import.meta.dirname, 'deliveries', `${name}.json`), 'utf8')

type Json = Record<string, unknown>

/** The payload with other values at these paths (members joined by dots, indexes too); undefined takes one away. */
export function payload(name: Payload, changes: Json = {}): Json {
  const made = JSON.parse(payloadText(name)) as Json
  for (const [path, value] of Object.entries(changes)) {
    const names = path.split('.')
    const last = names.pop() ?? ''
    const place = names.reduce<Json>((above, member) => above[member] as Json, made)
    if (value === undefined) delete place[last]
    else place[last] = value
  }
  return made
}

export const hookSecret = 'a secret that nobody guesses'

export const hook = (kind: Hook['kind'], more: Partial<Hook> = {}): Hook => ({
  name: kind,
  kind,
  secret: hookSecret,
  trust: null,
  ref: '',
  header: 'X-Hub-Signature-256',
  state: null,
  ...more,
})

export const signature = (body: string | Uint8Array, secret = hookSecret): string =>
  `sha256=${createHmac('sha256', secret).update(body).digest('hex')}`

/** Standard Webhooks, as GitLab signs where it was given a signing token. */
export function standardSignature(
  body: string,
  token: string,
  id = '9d0f3b1e-5a1c-4e0e-8f5e-6c1c4a8d2b11',
  timestamp = '1782904471',
): Record<string, string> {
  const key = Buffer.from(token.slice('whsec_'.length), 'base64')
  const made = createHmac('sha256', key).update(`${id}.${timestamp}.${body}`).digest('base64')
  return { 'webhook-id': id, 'webhook-timestamp': timestamp, 'webhook-signature': `v1,${made}` }
}

type Headers = Record<string, string>

/** The headers of a delivery of GitHub's; each can be replaced. */
export const githubHeaders = (event: string, body: string, secret = hookSecret): Headers => ({
  'Content-Type': 'application/json',
  'User-Agent': 'GitHub-Hookshot/e2f1c0a',
  'X-GitHub-Delivery': '72d3162e-cc78-11e3-81ab-4c9367dc0958',
  'X-GitHub-Event': event,
  'X-GitHub-Hook-ID': '458239001',
  'X-Hub-Signature': `sha1=${createHmac('sha1', secret).update(body).digest('hex')}`,
  'X-Hub-Signature-256': signature(body, secret),
})

export const gitlabHeaders = (event: string, secret = hookSecret): Headers => ({
  'Content-Type': 'application/json',
  'User-Agent': 'GitLab/18.4.0',
  'Idempotency-Key': 'f5e5f430-f57b-4e6e-9fac-d9128cd7232f',
  'X-Gitlab-Event': event,
  'X-Gitlab-Event-UUID': '13792a34-cac6-4fda-95a8-c58e00a3954e',
  'X-Gitlab-Instance': 'https://gitlab.com',
  'X-Gitlab-Token': secret,
  'X-Gitlab-Webhook-UUID': '02affd2d-2cba-4033-917d-ec22d5dc4b38',
})

export const signedHeaders = (
  body: string,
  header = 'X-Hub-Signature-256',
  secret = hookSecret,
): Headers => ({
  'Content-Type': 'application/json',
  [header]: signature(body, secret),
})

export const deliver = (
  broker: TestBroker,
  name: string,
  body: string | Uint8Array<ArrayBuffer>,
  headers: Headers,
): Promise<Reply<HookOutcome & { code?: string }>> =>
  broker.client.request('POST', `/hooks/${name}`, { body, headers })

/** A delivery as GitHub makes it. */
export const fromGithub = (
  broker: TestBroker,
  event: 'workflow_job' | 'workflow_run' | 'ping',
  changes: Json = {},
  { name = 'github', secret = hookSecret } = {},
): ReturnType<typeof deliver> => {
  const body = JSON.stringify(payload(`github-${event.replace('_', '-') as 'workflow-job'}`, changes))
  return deliver(broker, name, body, githubHeaders(event, body, secret))
}

/** A delivery as GitLab makes it. */
export const fromGitlab = (
  broker: TestBroker,
  event: 'job' | 'pipeline',
  changes: Json = {},
): ReturnType<typeof deliver> =>
  deliver(
    broker,
    'gitlab',
    JSON.stringify(payload(`gitlab-${event}`, changes)),
    gitlabHeaders(event === 'job' ? 'Job Hook' : 'Pipeline Hook'),
  )

/** A signed delivery of whatever this is. */
export const signed = (
  broker: TestBroker,
  name: string,
  json: unknown,
  header?: string,
): ReturnType<typeof deliver> => {
  const body = JSON.stringify(json)
  return deliver(broker, name, body, signedHeaders(body, header))
}
