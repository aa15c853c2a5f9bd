import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Task, TaskList } from '../../src/http/openapi.generated.d.ts'
import { testIssuer } from '../support/broker.ts'
import { startWorld, type World } from './world.ts'

// Under policies that let every workload do everything: what is refused here, is refused to the token.
let world: World
beforeAll(async () => {
  world = await startWorld()
})
afterAll(() => world?.close())

const ids = ({ items }: TaskList) => items.map(({ id }) => id)

describe('a Hallpass token for the broker alone', () => {
  const own = (task: Task) => world.mint('/token/a', task, { audience: testIssuer, scope: 'task' })

  test('reads, beats and closes its own task', async () => {
    const task = await world.open('/token/a', { ref: 'own', heartbeat_timeout: 90 })
    const token = await own(task)
    expect((await world.act(token, 'GET', `/v1/tasks/${task.id}`)).body).toEqual(task)
    expect(ids((await world.act<TaskList>(token, 'GET', '/v1/tasks')).body)).toEqual([task.id])
    expect((await world.act(token, 'POST', `/v1/tasks/${task.id}/heartbeat`, {})).status).toBe(200)
    expect((await world.act(token, 'POST', `/v1/tasks/${task.id}/close`, {})).body.state).toBe('closed')
    // It died with its task.
    expect((await world.act(token, 'GET', `/v1/tasks/${task.id}`)).status).toBe(401)
  })

  test('and nothing more', async () => {
    const task = await world.open('/token/a', { ref: 'more' })
    const other = await world.open('/token/a', { ref: 'other' })
    const token = await own(task)
    expect((await world.act(token, 'GET', `/v1/tasks/${other.id}`)).status).toBe(404)
    expect((await world.act(token, 'POST', `/v1/tasks/${other.id}/close`, {})).status).toBe(404)
    const refused: [string, string, unknown?][] = [
      ['POST', '/v1/tasks', { kind: 'agent-run', ref: 'new' }],
      ['POST', `/v1/tasks/${task.id}/suspend`, {}],
      ['POST', `/v1/tasks/${task.id}/extend`, { deadline: task.deadline }],
      ['PATCH', `/v1/tasks/${task.id}/context`, { a: 'b' }],
      ['POST', `/v1/tasks/${task.id}/credentials`, { type: 'jwt', scope: 'a', audience: 'b' }],
      ['GET', '/v1/decisions'],
      ['GET', '/v1/keys'],
      ['POST', '/v1/keys/rotate'],
    ]
    for (const [method, path, json] of refused)
      expect([path, (await world.act(token, method, path, json)).status]).toEqual([path, 403])
    const ask = (path: string) => world.broker.client.request('POST', path, { token, form: { token } })
    expect((await ask('/oauth2/introspect')).body).toEqual({ active: false })
    expect((await ask('/oauth2/revoke')).status).toBe(403)
    expect((await world.exchange(token, { task_id: task.id })).body.code).toBe('attestation_invalid')
  })

  test('is none for anything else: a token for a service is 401 here', async () => {
    const task = await world.open('/token/a', { ref: 'service' })
    const token = await world.mint('/token/a', task)
    expect((await world.act(token, 'GET', `/v1/tasks/${task.id}`)).status).toBe(401)
  })
})
