import { randomUUID } from 'node:crypto'
import { expect } from 'vitest'
import type { BulkRevocationResult } from '../../src/http/openapi.generated.d.ts'
import type { TestBroker } from './broker.ts'
import { act, isActive, mint, opened, pick, type Scene } from './scene.ts'

export type Selected = 'principal' | 'trust' | 'everything'

/** What one who races against a bulk revocation came by. */
interface Won {
  tasks: number
  tokens: string[]
  refusals: string[]
}

const principalOf = (name: string) => `agent:${name}`

/**
 * One race of opens and mints, over all replicas, against the end of everything of their principal, their source, or all there is. What
 * must hold from the moment that the revocation was answered is checked here. Answers how much was had before, and refused after.
 */
export async function bulkRaceRound(
  scene: Scene,
  { selected, flights }: { selected: Selected; flights: number },
): Promise<{ had: number; refused: number }> {
  const { broker, replicas } = scene
  const name = `racer-${randomUUID()}`
  const bystander = scene.agent(`bystander-${name}`)
  const calm = await opened(broker, bystander)
  const task = await opened(broker, scene.agent(name))
  const selector = {
    principal: { principal: principalOf(name) },
    trust: { trust: 'ci' },
    everything: { everything: true },
  }[selected]

  // 1. They open and mint, in every way there is.
  const child = await childFor(scene, principalOf(name), calm.id)
  const agents = [...agentRunners(scene, name, task.id), beating(scene, name, child)]
  const jobs = jobRunners(scene)
  const meant = { principal: agents, trust: jobs, everything: [...agents, ...jobs] }[selected]
  const launch = (count: number) =>
    Array.from({ length: count }, (_, i) => (meant[i % meant.length] as Runner)(pick(replicas)))
  const flying = launch(Math.ceil(flights / 2))
  await Promise.race([pick(flying), new Promise(resolve => setTimeout(resolve, Math.random() * 30))])

  // 2. All of it ends, while as many again come.
  const token = await broker.operatorToken()
  const ending = pick(replicas).client.request<BulkRevocationResult>('POST', '/v1/revocations', {
    token,
    json: selector,
  })
  flying.push(...launch(Math.floor(flights / 2)))
  const ended = await ending
  expect(ended.status, ended.text).toBe(200)
  const alive = () =>
    broker.sql(`SELECT id, ref FROM tasks WHERE state <> 'closed' AND ($1 OR principal = $2 OR trust = $3)`, [
      selected === 'everything',
      selected === 'principal' ? principalOf(name) : null,
      selected === 'trust' ? 'ci' : null,
    ])
  const minted = async () =>
    (await broker.sql('SELECT count(*) AS n FROM credentials WHERE task_id <> $1', [calm.id]))[0]
  expect(await alive()).toEqual([])
  const committed = await minted()

  // 3. Nothing was opened or minted after, and all that was is dead on every replica.
  const outcomes = await Promise.all(flying)
  expect(await alive()).toEqual([])
  expect(await minted()).toEqual(committed)
  expect(await broker.sql('SELECT * FROM violations')).toEqual([])
  const tokens = outcomes.flatMap(won => won.tokens)
  const service = scene.agent('service')
  for (const replica of replicas) {
    const active = await Promise.all(tokens.map(token => isActive(replica, service, token)))
    expect(active.filter(Boolean)).toEqual([])
  }
  const refusals = outcomes.flatMap(won => won.refusals)
  // A child's parent may be found closed before the block is; and nobody beats for what is closed.
  const fitting = ['blocked', 'task_closed', 'wrong_state']
  expect(refusals.filter(code => !fitting.includes(code))).toEqual([])

  // 4. Whoever comes now is told why, and others were not touched.
  for (const replica of replicas)
    for (const runner of meant.filter(({ name }) => name !== 'child' && name !== 'beat')) {
      const late = await runner(replica)
      expect(late).toEqual({ tasks: 0, tokens: [], refusals: ['blocked'] })
    }
  if (selected !== 'everything') {
    const others = await mint(pick(replicas), bystander, { task_id: calm.id })
    expect(others.status, JSON.stringify(others.body)).toBe(200)
  }
  const lifted = await broker.client.request('DELETE', `/v1/blocks/${ended.body.block?.id}`, { token })
  expect(lifted.status).toBe(204)
  return {
    had: tokens.length + outcomes.reduce((sum, won) => sum + won.tasks, 0),
    refused: refusals.length,
  }
}

type Runner = (on: TestBroker) => Promise<Won>

function agentRunners(scene: Scene, name: string, parent: string): Runner[] {
  const open = async (on: TestBroker, more: object = {}) =>
    on.client.request<{ id: string; code?: string }>('POST', '/v1/tasks', {
      token: scene.agent(name),
      json: { kind: 'agent-run', ref: randomUUID(), ...more },
    })
  const mintFor = async (on: TestBroker, task_id: string): Promise<Won> => {
    const { status, body } = await mint(on, scene.agent(name), { task_id })
    return status === 200
      ? { tasks: 0, tokens: [body.access_token], refusals: [] }
      : { tasks: 0, tokens: [], refusals: [body.code ?? body.error ?? String(status)] }
  }
  const thenMint = async (on: TestBroker, more: object = {}): Promise<Won> => {
    const { status, body } = await open(on, more)
    if (status !== 201) return { tasks: 0, tokens: [], refusals: [body.code ?? String(status)] }
    const { tokens, refusals } = await mintFor(pick(scene.replicas), body.id)
    return { tasks: 1, tokens, refusals }
  }
  return [
    on => mintFor(on, parent),
    on => thenMint(on),
    function child(on) {
      return thenMint(on, { parent_id: parent })
    },
    async on => {
      const asked = { kind: 'agent-run', ref: randomUUID(), principal: principalOf(name) }
      const token = await on.operatorToken()
      const { status, body } = await on.client.request<{ code?: string }>('POST', '/v1/tasks', {
        token,
        json: asked,
      })
      return status === 201
        ? { tasks: 1, tokens: [], refusals: [] }
        : { tasks: 0, tokens: [], refusals: [body.code ?? String(status)] }
    },
  ]
}

/** Each a job that was never seen before, or one that several calls are for. */
function jobRunners(scene: Scene): Runner[] {
  const shared = randomUUID()
  const run = async (on: TestBroker, id?: string): Promise<Won> => {
    const { status, body } = await mint(on, scene.job(id))
    return status === 200
      ? { tasks: 1, tokens: [body.access_token], refusals: [] }
      : { tasks: 0, tokens: [], refusals: [body.code ?? body.error ?? String(status)] }
  }
  return [on => run(on), on => run(on, shared)]
}

/** Changes a task that is being ended, below one that is not. */
const beating = (scene: Scene, name: string, child: string): Runner =>
  async function beat(on) {
    const { status, body } = await act(on, scene.agent(name), child, 'heartbeat')
    return { tasks: 0, tokens: [], refusals: status === 200 ? [] : [body.code ?? String(status)] }
  }

async function childFor({ broker }: Scene, principal: string, parent_id: string): Promise<string> {
  const token = await broker.operatorToken()
  const json = { kind: 'agent-run', ref: randomUUID(), principal, parent_id }
  const { status, body, text } = await broker.client.request<{ id: string }>('POST', '/v1/tasks', {
    token,
    json,
  })
  expect(status, text).toBe(201)
  return body.id
}
