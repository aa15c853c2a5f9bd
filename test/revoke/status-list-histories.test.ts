import fc from 'fast-check'
import pino from 'pino'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { followStatusLists, type StatusLists } from '../../src/revoke/status-list/follow.ts'
import { type Database, openDatabase } from '../../src/store/database.ts'
import {
  act,
  claimsOf,
  isActive,
  mint,
  opened,
  patchContext,
  type Scene,
  startScene,
  type TaskBody,
} from '../support/scene.ts'
import { placeOf, type ReadList, readList } from '../support/status-list-reader.ts'

let scene: Scene
let broker: Scene['broker']
let db: Database
/** Lists that are followed from the first token on. */
let followed: StatusLists
beforeAll(async () => {
  scene = await startScene()
  broker = scene.broker
  db = openDatabase({ url: broker.databaseUrl, log: pino({ level: 'silent' }) })
  followed = followStatusLists({ db, clock: broker.clock.now })
})
afterAll(async () => {
  await db?.close()
  await scene?.close()
})

const owner = () => scene.agent('owner')

test('whatever happens to a tree of tasks, in whatever order: the list agrees with introspection and with contract §6, however long it was followed', async () => {
  const task = fc.nat({ max: 4 })
  const step = fc.oneof(
    { weight: 5, arbitrary: fc.tuple(fc.constant('mint' as const), task) },
    { weight: 4, arbitrary: fc.tuple(fc.constantFrom('suspend' as const, 'resume' as const), task) },
    { weight: 2, arbitrary: fc.tuple(fc.constant('change' as const), task) },
    { weight: 1, arbitrary: fc.tuple(fc.constantFrom('close' as const, 'revoke' as const), task) },
    { weight: 2, arbitrary: fc.tuple(fc.constant('look' as const), task) },
  )
  const seen = new Set<number>()
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 25 }), async steps => {
      const tasks = await openTree()
      const tokens: string[] = []
      for (const [what, at] of steps) {
        const { id } = tasks[at] as TaskBody
        const token = tokens[at] ?? ''
        if (what === 'mint') {
          const { body } = await mint(broker, owner(), { task_id: id })
          if (body.access_token) tokens.push(body.access_token)
        } else if (what === 'change') await patchContext(broker, owner(), id, { sha: `${Math.random()}` })
        else if (what !== 'look' && what !== 'revoke') await act(broker, owner(), id, what)
        else if (what === 'revoke' && token) await revoke(token)
        else if (what === 'look' && token) await bitsOf(followed, token)
      }
      const fresh = followStatusLists({ db, clock: broker.clock.now })
      const served: Record<string, ReadList> = {}
      for (const token of tokens) {
        const status = await byContract(token)
        seen.add(status)
        expect(await bitsOf(fresh, token)).toBe(status)
        expect(await bitsOf(followed, token)).toBe(status)
        const { idx, uri } = placeOf(token)
        served[uri] ??= await readList(broker, uri)
        expect(served[uri].statusAt(idx)).toBe(status)
        expect(await isActive(broker, scene.agent('service'), token)).toBe(status === 0)
      }
    }),
    { numRuns: 20 },
  )
  expect([...seen].sort()).toEqual([0, 1, 2])
}, 120_000)

/** A root with three below it, one below the other, and one beside them. */
async function openTree(): Promise<TaskBody[]> {
  const open = (parent?: TaskBody) =>
    opened(broker, owner(), {
      context: { sha: 'a' },
      bind: ['sha'],
      ...(parent && { parent_id: parent.id }),
    })
  const tasks = [await open()]
  for (const parent of [0, 1, 2, 0]) tasks.push(await open(tasks[parent]))
  return tasks
}

const revoke = (token: string) =>
  broker.client.request('POST', '/oauth2/revoke', { token: owner(), form: { token } })

async function bitsOf(lists: StatusLists, token: string): Promise<number> {
  const { idx, uri } = placeOf(token)
  const { bits } = (await lists.read(uri.slice(-36)))!.list
  return Math.floor((bits[Math.floor(idx / 4)] as number) / 4 ** (idx % 4)) % 4
}

/** From the token's own claims, and the rows as they are. */
async function byContract(token: string): Promise<number> {
  const claims = claimsOf(token) as ReturnType<typeof claimsOf> & {
    task_id: string
    task_ver: number
    task_path?: string[]
  }
  const { jti, task_id, task_ver, task_path = [] } = claims
  const [credential] = await broker.sql<{ revoked_at: Date | null }>(
    'SELECT revoked_at FROM credentials WHERE jti = $1',
    [jti],
  )
  if (credential?.revoked_at !== null) return 1
  const path = [...task_path, `${task_id}:${task_ver}`].map(text => text.split(':'))
  const rows = await broker.sql<{ id: string; state: string; ver: number }>(
    'SELECT id, state, ver FROM tasks WHERE id = ANY ($1)',
    [path.map(([id]) => id)],
  )
  const states = path.map(([id, ver]) => {
    const row = rows.find(each => each.id === id)
    return row && row.ver <= Number(ver) ? row.state : 'closed'
  })
  if (states.includes('closed')) return 1
  return states.includes('suspended') ? 2 : 0
}
