import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'vitest'
import type { End } from './race-round.ts'
import {
  act,
  claimsOf,
  isActive,
  mint,
  opened,
  patchContext,
  pick,
  type Scene,
  type TaskBody,
} from './scene.ts'

const codeAfter = { close: 'task_closed', suspend: 'task_suspended' } as const
const stateAfter = { close: 'closed', suspend: 'suspended', context: 'open' } as const

/**
 * One race of mints and of openings, anywhere in a tree and on all replicas, against the end of its root or of a task in its middle.
 * What must hold from the moment that the end was answered is checked here. Answers how many tokens and tasks came before, and how
 * many were refused or are of the next version.
 */
export async function treeRaceRound(
  scene: Scene,
  { end, flights: count, top: place }: { end: End; flights: number; top: 'root' | 'middle' },
): Promise<{ before: number; after: number }> {
  const { broker, replicas } = scene
  const owner = scene.agent('racer')
  const bound = { context: { ticket: '1' }, bind: ['ticket'] }
  const root = await opened(broker, owner, bound)
  const middle = await opened(broker, owner, { ...bound, parent_id: root.id })
  const leaf = await opened(broker, owner, { ...bound, parent_id: middle.id })
  const top = place === 'root' ? root : middle
  const bearers = [root, middle]

  const tokens: string[] = []
  const refusals: (string | undefined)[] = []
  let children = 0
  /** Spread over so many milliseconds. */
  const launch = (n: number, spread: number) =>
    Array.from({ length: n }, async (_, i) => {
      if (spread > 0) await sleep(Math.random() * spread)
      const replica = replicas[i % replicas.length]!
      if (i % 4 === 0) {
        const reply = await openBelow(replica, owner, pick(bearers).id)
        if (reply.status === 201) children++
        else refusals.push(reply.body.code)
      } else {
        const reply = await mint(replica, owner, { task_id: pick([root, middle, leaf]).id })
        if (reply.status === 200) tokens.push(reply.body.access_token)
        else refusals.push(reply.body.code)
      }
    })
  /** What rests on the task that ends, as it was. */
  const resting = async () => {
    const [row] = await broker.sql<{ credentials: number; tasks: number }>(
      `SELECT (SELECT count(*)::int FROM credentials c JOIN tasks t ON t.id = c.task_id
           WHERE (t.id = $1 AND c.task_ver = 1) OR c.path_vers[array_position(t.path, $1)] = 1) AS credentials,
         (SELECT count(*)::int FROM tasks WHERE $1 = ANY (path)) AS tasks`,
      [top.id],
    )
    return row!
  }

  const flights = launch(Math.ceil(count / 2), 0)
  // Anywhere between before the first answer and after the last.
  await Promise.race([pick(flights), new Promise(resolve => setTimeout(resolve, Math.random() * 20))])
  const ending =
    end === 'context'
      ? patchContext(pick(replicas), owner, top.id, { ticket: '2' })
      : act(pick(replicas), owner, top.id, end)
  // The other half comes while the end is under way, however quick either is.
  flights.push(...launch(Math.floor(count / 2), 60))
  const ended = await ending
  expect(ended.status, JSON.stringify(ended.body)).toBe(200)
  const committed = await resting()
  const lateMint = await mint(pick(replicas), owner, { task_id: leaf.id })
  const lateChild = await openBelow(pick(replicas), owner, middle.id)
  await Promise.all(flights)

  // No reservation commits after the end has, and no child is opened below what has ended.
  const rest = await resting()
  expect(rest.credentials).toBe(committed.credentials)
  if (end !== 'context') expect(rest.tasks).toBe(committed.tasks)
  expect(await broker.sql('SELECT * FROM violations')).toEqual([])
  await mustFit(scene, end, top, root)
  if (end === 'context') {
    expect(refusals).toEqual([])
    expect(lateChild.status).toBe(201)
    expect(claimsOf(lateMint.body.access_token).task_path).toContain(`${top.id}:2`)
  } else {
    expect([lateMint.body.code, lateChild.body.code]).toEqual([codeAfter[end], codeAfter[end]])
    expect(new Set(refusals)).toEqual(new Set(refusals.length > 0 ? [codeAfter[end]] : []))
  }

  // Whatever rested on what has ended is dead, on every replica, and nothing else is.
  const isDead = (token: string): boolean => {
    const { task_id, task_ver, task_path = [] } = claimsOf(token)
    const named = [...(task_path as string[]), `${task_id}:${task_ver}`]
    return named.some(step => (end === 'context' ? step === `${top.id}:1` : step.startsWith(`${top.id}:`)))
  }
  const service = scene.agent('service')
  for (const replica of replicas) {
    const live = await Promise.all(tokens.map(token => isActive(replica, service, token)))
    expect(live).toEqual(tokens.map(token => !isDead(token)))
  }
  const dead = tokens.filter(isDead)
  return {
    before: dead.length + children,
    after: refusals.length + (end === 'context' ? tokens.length - dead.length : 0),
  }
}

const openBelow = (broker: Scene['broker'], owner: string, parentId: string) =>
  broker.client.request<TaskBody>('POST', '/v1/tasks', {
    token: owner,
    json: { kind: 'agent-run', ref: randomUUID(), parent_id: parentId },
  })

/** The whole tree, as it is in the database: each task in the state that it must be in, and one row of the record. */
async function mustFit({ broker }: Scene, end: End, top: TaskBody, root: TaskBody): Promise<void> {
  const tasks = await broker.sql<{ id: string; state: string; path: string[]; close_reason: string | null }>(
    'SELECT id, state, path, close_reason FROM tasks WHERE root_id = $1',
    [root.id],
  )
  for (const { id, state, path, close_reason } of tasks) {
    const below = path.includes(top.id)
    const expected = id === top.id ? stateAfter[end] : below && end === 'close' ? 'closed' : 'open'
    expect([id, state]).toEqual([id, expected])
    if (below && end === 'close') expect(close_reason).toBe('parent_closed')
  }
  expect(
    await broker.sql('SELECT task_id, state, ver FROM revocations WHERE task_id = ANY ($1::uuid[])', [
      tasks.map(({ id }) => id),
    ]),
  ).toEqual([{ task_id: top.id, state: stateAfter[end], ver: end === 'context' ? 2 : 1 }])
}
