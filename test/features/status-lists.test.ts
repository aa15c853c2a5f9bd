import { afterAll, beforeAll, expect, test } from 'vitest'
import {
  act,
  headerOf,
  isActive,
  minted,
  opened,
  patchContext,
  type Scene,
  startScene,
} from '../support/scene.ts'
import { placeOf, statusOf } from '../support/status-list-reader.ts'

const [valid, invalid, suspended] = [0, 1, 2]

let scene: Scene
let broker: Scene['broker']
beforeAll(async () => {
  scene = await startScene()
  broker = scene.broker
})
afterAll(() => scene?.close())

const owner = () => scene.agent('owner')
const open = (json: Record<string, unknown> = {}) =>
  opened(broker, owner(), { context: { sha: 'a' }, bind: ['sha'], ...json })
const mint = async (task: { id: string }) =>
  (await minted(broker, owner(), { task_id: task.id })).access_token
const does = async (task: { id: string }, action: string) => {
  const { status, text } = await act(broker, owner(), task.id, action)
  expect(status, text).toBe(200)
}
const changes = async (task: { id: string }, sha: string) =>
  expect((await patchContext(broker, owner(), task.id, { sha })).status).toBe(200)
const revokes = async (token: string) => {
  const { status } = await broker.client.request('POST', '/oauth2/revoke', {
    token: owner(),
    form: { token },
  })
  expect(status).toBe(200)
}
const statuses = (...tokens: string[]) => Promise.all(tokens.map(token => statusOf(broker, token)))

test('a token is valid as it is minted, and has a place that no other has', async () => {
  const task = await open()
  const tokens = await Promise.all(Array.from({ length: 40 }, () => mint(task)))
  expect(new Set(tokens.map(placeOf).map(({ idx, uri }) => `${uri} ${idx}`)).size).toBe(40)
  expect(new Set(await statuses(...tokens))).toEqual(new Set([valid]))
})

test('of tokens minted one after the other no two are neighbours in the list', async () => {
  const task = await open()
  const places: number[] = []
  for (let n = 0; n < 30; n++) places.push(placeOf(await mint(task)).idx)
  const near = places.slice(1).filter((idx, n) => Math.abs(idx - (places[n] as number)) <= 4)
  // One such pair comes by chance once in 4,000 runs, three once in 10^11.
  expect(near.length).toBeLessThan(3)
})

test('revoked: that one is invalid, and no other', async () => {
  const task = await open()
  const [token, other] = [await mint(task), await mint(task)]
  expect(await statuses(token, other)).toEqual([valid, valid])
  await revokes(token)
  expect(await statuses(token, other)).toEqual([invalid, valid])
})

test('its task is closed: invalid', async () => {
  const [task, another] = [await open(), await open()]
  const [token, other] = [await mint(task), await mint(another)]
  await does(task, 'close')
  expect(await statuses(token, other)).toEqual([invalid, valid])
})

test('its task has changed: invalid; what is minted afterwards is valid', async () => {
  const task = await open()
  const before = await mint(task)
  await changes(task, 'b')
  const after = await mint(task)
  expect(await statuses(before, after)).toEqual([invalid, valid])
  // As it was at first, but not the same: what died stays dead.
  await changes(task, 'a')
  expect(await statuses(before, after)).toEqual([invalid, invalid])
})

test('its task is suspended: suspended; resumed: valid again, but for what died meanwhile', async () => {
  const task = await open()
  const [token, dying] = [await mint(task), await mint(task)]
  await does(task, 'suspend')
  expect(await statuses(token, dying)).toEqual([suspended, suspended])
  await revokes(dying)
  expect(await statuses(token, dying)).toEqual([suspended, invalid])
  await does(task, 'resume')
  expect(await statuses(token, dying)).toEqual([valid, invalid])
  await does(task, 'suspend')
  await does(task, 'close')
  expect(await statuses(token, dying)).toEqual([invalid, invalid])
})

test('a task above it is suspended, changed, closed: so is everything below, and nothing beside', async () => {
  const root = await open()
  const parent = await open({ parent_id: root.id })
  const task = await open({ parent_id: parent.id })
  const aside = await open({ parent_id: root.id })
  const tokens = await Promise.all([root, parent, task, aside].map(mint))
  expect(await statuses(...tokens)).toEqual([valid, valid, valid, valid])

  await does(parent, 'suspend')
  expect(await statuses(...tokens)).toEqual([valid, suspended, suspended, valid])
  await does(root, 'suspend')
  expect(await statuses(...tokens)).toEqual([suspended, suspended, suspended, suspended])
  // A parent that resumes does not revive what was suspended itself.
  await does(root, 'resume')
  expect(await statuses(...tokens)).toEqual([valid, suspended, suspended, valid])
  await does(parent, 'resume')
  expect(await statuses(...tokens)).toEqual([valid, valid, valid, valid])

  await changes(parent, 'b')
  expect(await statuses(...tokens)).toEqual([valid, invalid, invalid, valid])
  const again = await mint(task)
  expect(await statuses(again)).toEqual([valid])
  await does(root, 'close')
  expect(await statuses(...tokens, again)).toEqual([invalid, invalid, invalid, invalid, invalid])
})

test('the deadline of its task closes it: invalid', async () => {
  const task = await open({ deadline: new Date(broker.clock.now() + 60_000).toISOString() })
  const token = await mint(task)
  expect(await statuses(token)).toEqual([valid])
  broker.clock.advance(61_000)
  await broker.sweep()
  expect(await statuses(token)).toEqual([invalid])
})

test('its signing key is withdrawn: everything in its list is invalid, and nothing of it comes to life again', async () => {
  // What takes over must have been published for long.
  broker.clock.advance(600_000)
  await broker.sweep()
  const task = await open()
  const [token, other] = [await mint(task), await mint(await open())]
  await does(task, 'suspend')
  expect(await statuses(token, other)).toEqual([suspended, valid])
  const operator = await broker.operatorToken()
  const withdrawn = await broker.client.request('POST', `/v1/keys/${headerOf(token).kid}/withdraw`, {
    token: operator,
  })
  expect(withdrawn.status, withdrawn.text).toBe(200)
  expect(await statuses(token, other)).toEqual([invalid, invalid])
  await does(task, 'resume')
  expect(await statuses(token, other)).toEqual([invalid, invalid])
  expect(await isActive(broker, scene.agent('service'), token)).toBe(false)

  const after = await mint(task)
  expect(placeOf(after).uri).not.toBe(placeOf(token).uri)
  expect(await statuses(after)).toEqual([valid])
  expect(await isActive(broker, scene.agent('service'), after)).toBe(true)
})
