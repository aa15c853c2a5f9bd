import { afterAll, beforeAll, expect, test } from 'vitest'
import { startWorld, type World } from './world.ts'

const day = 86_400_000
let world: World
beforeAll(async () => {
  world = await startWorld({
    config: { tasks: { deadlineDefault: 3_600_000, deadlineMax: day, depthMax: 3, retention: 7 * day } },
  })
})
afterAll(() => world?.close())

const kept = async () => {
  const [row] = await world.broker.sql<Record<string, number>>(
    `SELECT (SELECT count(*)::int FROM tasks) AS tasks, (SELECT count(*)::int FROM credentials) AS credentials,
       (SELECT count(*)::int FROM decisions) AS decisions, (SELECT count(*)::int FROM revocations) AS revocations`,
  )
  return row
}

test('what ended is kept for the retention, and then it is gone; what a template named stays taken for ever', async () => {
  const job = () => world.job({ run_id: '1' })
  const { task_id } = (await world.exchange(job())).body
  const agent = await world.open('/agent/a')
  await world.mint('/agent/a', agent)
  for (const [token, id] of [
    [job(), task_id],
    [world.as('/agent/a'), agent.id],
  ] as const)
    await world.act(token, 'POST', `/v1/tasks/${id}/close`, {})

  world.broker.clock.advance(7 * day - 3_600_000)
  await world.broker.sweep()
  expect(await kept()).toMatchObject({ tasks: 2, credentials: 2, revocations: 0 })
  expect((await world.act(world.as('/agent/a'), 'GET', `/v1/tasks/${agent.id}`)).body.state).toBe('closed')

  world.broker.clock.advance(2 * 3_600_000)
  await world.broker.sweep()
  expect(await kept()).toMatchObject({ tasks: 0, credentials: 0 })
  // Of the decisions, only the reading of just now is younger.
  expect((await kept())!.decisions).toBeLessThanOrEqual(1)
  expect((await world.act(world.as('/agent/a'), 'GET', `/v1/tasks/${agent.id}`)).status).toBe(404)

  const again = await world.exchange(job())
  expect(again.body).toMatchObject({ error: 'invalid_grant', code: 'task_closed' })
  expect((await world.exchange(job(), { task_id })).body.code).toBe('task_unknown')
  const opened = await world.act(job(), 'POST', '/v1/tasks', {})
  expect([opened.status, opened.body.code]).toEqual([409, 'task_closed'])
  // An agent's name is free again.
  await expect(world.open('/agent/a')).resolves.toMatchObject({ state: 'open' })
})

test('an open task is kept however old, and so are its credentials’ rows while they live', async () => {
  const task = await world.open('/agent/b', {
    deadline: new Date(world.broker.clock.now() + day).toISOString(),
  })
  world.broker.clock.advance(day - 60_000)
  const token = await world.mint('/agent/b', task)
  await world.broker.sweep()
  expect(await world.live(token)).toBe(true)
})
