import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { TaskList } from '../../src/http/openapi.generated.d.ts'
import { type Problem, startWorld, type World } from './world.ts'

// Owners have what is built in, and nobody more.
const policies = `
@id("open") permit (principal is Workload, action == Action::"open", resource);
@id("mint") permit (principal is Workload, action == Action::"mint", resource);`

let world: World
beforeAll(async () => {
  world = await startWorld({ policies })
})
afterAll(() => world?.close())

const list = async (token: string, query = '') =>
  (await world.act<TaskList>(token, 'GET', `/v1/tasks${query}`)).body
const ids = ({ items }: TaskList) => items.map(({ id }) => id)

describe('lists', () => {
  test('show each caller its own tasks, newest first, a page at a time', async () => {
    const mine: string[] = []
    for (let n = 0; n < 5; n++) {
      mine.unshift((await world.open('/list/a', { ref: `r${n}` })).id)
      await world.open('/list/b', { ref: `r${n}` })
    }
    const seen: string[] = []
    let query = '?limit=2'
    for (let pages = 0; pages < 9; pages++) {
      const page = await list(world.as('/list/a'), query)
      expect(page.items.length).toBeLessThanOrEqual(2)
      seen.push(...ids(page))
      if (page.next === null) break
      query = `?limit=2&cursor=${page.next}`
    }
    expect(seen).toEqual(mine)
    expect(await list(world.as('/list/nobody'))).toEqual({ items: [], next: null })
  })

  test('narrow by state, kind, ref and principal, together', async () => {
    const one = await world.open('/find/a', { kind: 'report', ref: 'x/1?&' })
    const two = await world.open('/find/a', { kind: 'agent-run', ref: 'x/2' })
    await world.act(world.as('/find/a'), 'POST', `/v1/tasks/${two.id}/close`, {})
    const find = async (query: Record<string, string>) =>
      ids(await list(world.as('/find/a'), `?${new URLSearchParams(query)}`))
    expect(await find({ ref: 'x/1?&' })).toEqual([one.id])
    expect(await find({ kind: 'report' })).toEqual([one.id])
    expect(await find({ state: 'closed' })).toEqual([two.id])
    expect(await find({ principal: 'spiffe://prod.example/find/a' })).toEqual([two.id, one.id])
    expect(await find({ principal: 'spiffe://prod.example/find/' })).toEqual([])
    expect(await find({ kind: 'report', state: 'closed' })).toEqual([])
  })

  test('go on for the same caller and the same search only, and their cursors show nothing', async () => {
    for (let n = 0; n < 3; n++) await world.open('/cursor/a', { ref: `r${n}` })
    const page = await list(world.as('/cursor/a'), '?limit=1')
    const seen = Buffer.from(page.next!, 'base64url').toString('latin1') + page.next
    for (const id of ids(await list(world.as('/cursor/a')))) expect(seen).not.toContain(id)
    const go = (path: string, query = '') =>
      world.act(world.as(path), 'GET', `/v1/tasks?limit=1&cursor=${page.next}${query}`)
    expect((await go('/cursor/a')).status).toBe(200)
    for (const reply of [await go('/cursor/b'), await go('/cursor/a', '&state=open')])
      expect([reply.status, reply.body.code]).toEqual([400, 'malformed'])
  })

  test('a search that is not one is malformed', async () => {
    for (const query of [
      '?cursor=x',
      '?limit=0',
      '?limit=201',
      '?state=pending',
      '?stat=open',
      '?limit=1&limit=1',
    ]) {
      const { status, body } = await world.act(world.as('/list/a'), 'GET', `/v1/tasks${query}`)
      expect([query, status, body.code]).toEqual([query, 400, 'malformed'])
    }
  })
})

test('another’s task and one that is not there look the same, and so do its credentials', async () => {
  const task = await world.open('/hidden/a')
  await world.mint('/hidden/a', task)
  const [credential] = await world.credentials(world.as('/hidden/a'), task)
  const absent = '019f1c52-6b1e-7c3a-9d2f-0b8f5a4c1e77'
  const stranger = () => world.as('/hidden/b')
  const calls: [string, string, unknown?][] = [
    ['GET', `/v1/tasks/${task.id}`],
    ['GET', `/v1/tasks/${task.id}/credentials`],
    ['PATCH', `/v1/tasks/${task.id}/context`, { a: 'b' }],
    ['POST', `/v1/tasks/${task.id}/extend`, { deadline: task.deadline }],
    ...['close', 'suspend', 'resume', 'heartbeat'].map(
      act => ['POST', `/v1/tasks/${task.id}/${act}`, {}] as [string, string, object],
    ),
    ['GET', `/v1/credentials/${credential!.jti}`],
    ['POST', `/v1/credentials/${credential!.jti}/revoke`, {}],
  ]
  for (const [method, path, json] of calls) {
    const there = await world.act<Problem>(stranger(), method, path, json)
    const nowhere = await world.act<Problem>(stranger(), method, path.replace(/[0-9a-f-]{36}/, absent), json)
    expect([path, there.status]).toEqual([path, 404])
    const plain = ({ request_id: _, decision_id: __, ...body }: Problem) => body
    expect(plain(there.body)).toEqual(plain(nowhere.body))
  }
})

test('an owner reads, beats and closes, and what it may not do is 403: it can see that the task is there', async () => {
  const task = await world.open('/owner/a', { heartbeat_timeout: '5m' })
  const act = (action: string, json: object = {}) =>
    world.act(world.as('/owner/a'), 'POST', `/v1/tasks/${task.id}/${action}`, json)
  expect((await act('heartbeat')).body.last_heartbeat_at).toEqual(expect.any(String))
  for (const action of ['suspend', 'resume']) expect((await act(action)).status).toBe(403)
  expect((await act('extend', { deadline: task.deadline })).status).toBe(403)
  expect((await act('close', { outcome: 'risk' })).status).toBe(422)
  expect((await act('close', { outcome: 'failed' })).body.close_reason).toBe('failed')
})
