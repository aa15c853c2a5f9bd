import { randomUUID } from 'node:crypto'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { act, claimsOf, mint, opened, pick, type Scene, startScene, type TaskBody } from '../support/scene.ts'

const minute = 60_000
const depthMax = 2

let scene: Scene
beforeAll(async () => {
  const tasks = {
    deadlineDefault: 60 * minute,
    deadlineMax: 1440 * minute,
    depthMax,
    retention: 90 * 86_400_000,
  }
  scene = await startScene({ replicas: 2, config: { tasks } })
})
afterAll(() => scene?.close())

const owner = () => scene.agent('owner')
const inMinutes = (minutes: number) => new Date(scene.broker.clock.now() + minutes * minute).toISOString()

/** What is wrong with any tree there is: a child that outlives its parent, is too deep, or is not where its parent is. */
const misfits = () =>
  scene.broker.sql(
    `SELECT c.id FROM tasks c JOIN tasks p ON p.id = c.parent_id
     WHERE c.deadline > p.deadline OR cardinality(c.path) > $1 OR c.root_id <> p.root_id OR c.path <> p.path || p.id
       OR (p.state = 'closed' AND c.state <> 'closed')`,
    [depthMax],
  )

const attempt = fc.record({
  what: fc.constantFrom('open', 'open', 'extend', 'mint'),
  which: fc.nat(100),
  /** Minutes; null: none is asked for. */
  deadline: fc.option(fc.integer({ min: 1, max: 200 })),
})

it('invariant 8: whatever is asked for and at once, no child outlives its parent, none is too deep, and no token outlives either', async () => {
  let [narrowed, refused] = [0, 0]
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 100 }),
      fc.array(attempt, { minLength: 5, maxLength: 25, size: 'max' }),
      fc.boolean(),
      async (minutes, attempts, together) => {
        const tasks = [await opened(scene.broker, owner(), { deadline: inMinutes(minutes) })]
        const one = async ({ what, which, deadline }: (typeof attempts)[number]) => {
          const task = tasks[which % tasks.length]!
          const asked = deadline === null ? {} : { deadline: inMinutes(deadline) }
          if (what === 'mint') {
            const { body } = await mint(pick(scene.replicas), owner(), { task_id: task.id, ttl: '900' })
            const { task_path = [], exp } = claimsOf(body.access_token)
            const path = [...(task_path as string[]).map(step => step.split(':')[0]), task.id]
            const [row] = await scene.broker.sql<{ deadline: Date; depth: number }>(
              'SELECT min(deadline) AS deadline, count(*)::int AS depth FROM tasks WHERE id = ANY ($1::uuid[])',
              [path],
            )
            expect(row?.depth).toBe(path.length)
            expect(path.length - 1).toBeLessThanOrEqual(depthMax)
            // Extended meanwhile it may have been, never shortened.
            expect(exp * 1000).toBeLessThanOrEqual(row!.deadline.getTime())
            return
          }
          const reply =
            what === 'extend'
              ? await act(pick(scene.replicas), owner(), task.id, 'extend', {
                  deadline: inMinutes(deadline ?? 300),
                })
              : await pick(scene.replicas).client.request<TaskBody>('POST', '/v1/tasks', {
                  token: owner(),
                  json: { kind: 'agent-run', ref: randomUUID(), parent_id: task.id, ...asked },
                })
          expect([200, 201, 422]).toContain(reply.status)
          if (reply.status === 422) refused++
          else if (reply.status === 201) {
            tasks.push(reply.body)
            if (!deadline && Date.parse(reply.body.deadline) < Date.parse(reply.body.opened_at) + 60 * minute)
              narrowed++
          }
        }
        if (together) await Promise.all(attempts.map(one))
        else for (const each of attempts) await one(each)
        expect(await misfits()).toEqual([])
      },
    ),
    { numRuns: 20 },
  )
  expect(Math.min(narrowed, refused)).toBeGreaterThan(0)
}, 60_000)
