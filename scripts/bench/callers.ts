import { randomUUID, sign } from 'node:crypto'
import { promisify } from 'node:util'
import { encode, type TestKey } from '../../test/support/issuer.ts'
import type { Request } from './load-plan.ts'
import { brokerIssuer, type World } from './world.ts'

/** Those who ask: agents with a cached JWT-SVID and a task of their own, CI jobs with an ID token for each call, a service. */

export const audience = 'https://deploy.example'
const scope = 'deploy:prod'
const form = { 'content-type': 'application/x-www-form-urlencoded' }

export interface Agent {
  svid: string
  taskId: string
}

/** Agents that have opened a task each. Their SVIDs are good for five minutes. */
export async function openAgents({ agents }: World, url: string, count: number): Promise<Agent[]> {
  return inTurns(Array.from({ length: count }), async (_, n) => {
    const svid = agents.svid(`/agent/${n}`, { audience: brokerIssuer })
    return { svid, taskId: await openTask(url, svid, `run-${randomUUID()}`) }
  })
}

/** Opens a task as an agent, below a task of its own if one is named, and answers its ID. */
export async function openTask(url: string, svid: string, ref: string, parent?: string): Promise<string> {
  const task = await answer(`${url}/v1/tasks`, {
    headers: { ...bearer(svid), 'content-type': 'application/json' },
    body: JSON.stringify({
      kind: 'agent-run',
      ref,
      purpose: 'move the payments service to the new region',
      context: { repository: 'acme/payments', environment: 'production', ticket: 'OPS-4711' },
      bind: ['repository', 'environment'],
      // No later than the parent's, which is what the broker takes where nothing is said.
      ...(parent ? { parent_id: parent } : { deadline: new Date(Date.now() + 8 * 3_600_000).toISOString() }),
    }),
  })
  return String(task.id)
}

/** Token exchange (RFC 8693) with an attestation; without a task, the job's own is meant. */
export const mintRequest = (attestation: string, taskId?: string): Request => ({
  path: '/oauth2/token',
  headers: form,
  body: new URLSearchParams({
    grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
    subject_token: attestation,
    subject_token_type: 'urn:ietf:params:oauth:token-type:jwt',
    scope,
    audience,
    ...(taskId && { task_id: taskId }),
  }).toString(),
})

export const agentMints = (agents: Agent[]): Request[] =>
  agents.map(({ svid, taskId }) => mintRequest(svid, taskId))

export async function mint(url: string, request: Request): Promise<string> {
  return String((await answer(url + request.path, request)).access_token)
}

/** The deployer asks what has become of these tokens. */
export function introspections({ agents }: World, tokens: string[]): Request[] {
  const svid = agents.svid('/svc/deployer', { audience: brokerIssuer })
  return tokens.map(token => ({
    path: '/oauth2/introspect',
    headers: { ...form, ...bearer(svid) },
    body: new URLSearchParams({ token }).toString(),
  }))
}

/** Whether the broker says that the token is live. */
export async function isActive(world: World, url: string, token: string): Promise<boolean> {
  const [request] = introspections(world, [token])
  return (await answer(url + request!.path, request!)).active === true
}

/** A job of GitHub Actions, by its number: claims that stay the same in all ID tokens that it asks for. */
export interface Job {
  runId: string
  repository: string
}

export const newJobs = (count: number, from: number): Job[] =>
  Array.from({ length: count }, (_, n) => ({
    runId: String(9_000_000_000 + from + n),
    repository: `acme/service-${n % 50}`,
  }))

/** A new ID token for each of the jobs, in GitHub's layout, and the request that mints with it. */
export async function jobMints({ ci }: World, jobs: Job[]): Promise<Request[]> {
  const [key] = ci.keys
  if (!key) throw new Error('the CI has no key')
  const tokens = await Promise.all(jobs.map(job => signInThread(key, { iss: ci.issuer, ...claimsOf(job) })))
  return tokens.map(token => mintRequest(token))
}

function claimsOf({ runId, repository }: Job): object {
  const iat = Math.floor(Date.now() / 1000)
  const workflow = `${repository}/.github/workflows/deploy.yml@refs/heads/main`
  return {
    jti: randomUUID(),
    sub: `repo:${repository}:environment:production`,
    aud: brokerIssuer,
    ref: 'refs/heads/main',
    sha: `${runId.padStart(40, '0')}`,
    repository,
    repository_owner: 'acme',
    repository_owner_id: '4711',
    run_id: runId,
    run_number: '42',
    run_attempt: '1',
    check_run_id: `${runId}1`,
    repository_visibility: 'private',
    repository_id: '123456',
    actor_id: '77',
    actor: 'octocat',
    workflow: 'deploy',
    head_ref: '',
    base_ref: '',
    event_name: 'push',
    ref_protected: 'true',
    ref_type: 'branch',
    workflow_ref: workflow,
    workflow_sha: `${runId.padStart(40, '0')}`,
    job_workflow_ref: workflow,
    job_workflow_sha: `${runId.padStart(40, '0')}`,
    runner_environment: 'github-hosted',
    environment: 'production',
    iat,
    nbf: iat - 5,
    exp: iat + 300,
  }
}

const signAsync = promisify(sign) as (
  hash: string,
  data: Buffer,
  key: TestKey['privateKey'],
) => Promise<Buffer>

/** RS256 (RFC 7518 §3.3), in Node's thread pool: there are thousands to sign, and a private RSA operation is slow. */
export async function signInThread({ kid, privateKey }: TestKey, claims: object): Promise<string> {
  const header = encode(JSON.stringify({ alg: 'RS256', kid, typ: 'JWT' }))
  const input = `${header}.${encode(JSON.stringify(claims))}`
  return `${input}.${(await signAsync('sha256', Buffer.from(input), privateKey)).toString('base64url')}`
}

export const bearer = (token: string): Record<string, string> => ({ authorization: `Bearer ${token}` })

/** Sixteen at a time, answers in order. */
export async function inTurns<T, R>(items: T[], work: (item: T, index: number) => Promise<R>): Promise<R[]> {
  const results: R[] = []
  const entries = items.entries()
  const worker = async () => {
    for (const [index, item] of entries) results[index] = await work(item, index)
  }
  await Promise.all(Array.from({ length: 16 }, worker))
  return results
}

/** Throws what the server said when it was not 2xx. */
export async function answer(
  url: string,
  request: { headers: Record<string, string>; body: string },
): Promise<Record<string, unknown>> {
  const response = await fetch(url, { method: 'POST', ...request })
  const text = await response.text()
  if (!response.ok) throw new Error(`${url} answered ${response.status}: ${text}`)
  return JSON.parse(text) as Record<string, unknown>
}
