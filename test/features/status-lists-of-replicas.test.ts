import { afterAll, beforeAll, expect, test } from 'vitest'
import { type DatabaseLink, linkTo } from '../support/database-link.ts'
import { act, minted, opened, type Scene, startScene } from '../support/scene.ts'
import { getList, placeOf, readList, statusOf } from '../support/status-list-reader.ts'

let scene: Scene
let one: Scene['broker']
let two: Scene['broker']
beforeAll(async () => {
  scene = await startScene({ replicas: 2 })
  ;[one, two] = scene.replicas as [Scene['broker'], Scene['broker']]
})
afterAll(() => scene?.close())

const owner = () => scene.agent('owner')
const mint = async (on: Scene['broker'], task: { id: string }) =>
  (await minted(on, owner(), { task_id: task.id })).access_token

test('each replica has lists of its own, and every replica serves them all, bit for bit', async () => {
  const [task, ending] = [await opened(one, owner()), await opened(two, owner())]
  const tokens = await Promise.all(
    [one, two].flatMap(on => [mint(on, task), mint(on, ending), mint(on, task)]),
  )
  await act(two, owner(), ending.id, 'close')
  const lists = [...new Set(tokens.map(token => placeOf(token).uri))]
  expect(lists).toHaveLength(2)
  for (const uri of lists) {
    const [here, there] = await Promise.all([one, two].map(on => readList(on, uri)))
    expect(here!.claims.status_list).toEqual(there!.claims.status_list)
  }
  for (const on of [one, two])
    expect(await Promise.all(tokens.map(token => statusOf(on, token)))).toEqual([0, 1, 0, 0, 1, 0])
})

test('invariant 3: once an end is answered, every list that any replica then gives has it, while all of them mint', async () => {
  for (let round = 0; round < 5; round++) {
    const task = await opened(one, owner())
    const first = await mint(one, task)
    expect(await statusOf(two, first)).toBe(0)
    const minting = Array.from({ length: 30 }, (_, n) =>
      minted([one, two][n % 2] as typeof one, owner(), { task_id: task.id }).then(
        ({ access_token }) => access_token,
        () => null,
      ),
    )
    const asking = Array.from({ length: 10 }, (_, n) => statusOf([one, two][n % 2] as typeof one, first))
    await Promise.race(minting)
    const closed = await act(two, owner(), task.id, 'close')
    expect(closed.status).toBe(200)
    const lists = await Promise.all([one, two].map(on => readList(on, placeOf(first).uri)))
    for (const list of lists) expect(list.statusAt(placeOf(first).idx)).toBe(1)
    await Promise.all(asking)
    const tokens = [first, ...(await Promise.all(minting))].filter(token => token !== null)
    for (const on of [one, two])
      expect(new Set(await Promise.all(tokens.map(token => statusOf(on, token))))).toEqual(new Set([1]))
  }
})

test('a list outlives the replica that made it', async () => {
  const three = await one.replica()
  const task = await opened(one, owner())
  const [token, kept] = [await mint(three, task), await mint(three, await opened(one, owner()))]
  await three.close()
  expect(await statusOf(one, token)).toBe(0)
  await act(one, owner(), task.id, 'close')
  expect([await statusOf(one, token), await statusOf(two, kept)]).toEqual([1, 0])
  const four = await one.replica()
  expect([await statusOf(four, token), await statusOf(four, kept)]).toEqual([1, 0])
  // One that starts again begins a list of its own.
  expect(placeOf(await mint(four, await opened(one, owner()))).uri).not.toBe(placeOf(token).uri)
  await four.close()
})

test('a list is dropped once everything in it has expired, and its row goes with it', async () => {
  const token = await mint(one, await opened(one, owner()))
  const { uri } = placeOf(token)
  const row = () =>
    one.sql<{ ends_at: Date }>('SELECT ends_at FROM status_lists WHERE id = $1', [uri.slice(-36)])
  const [{ ends_at }] = (await row()) as [{ ends_at: Date }]
  const [{ last }] = (await one.sql(
    'SELECT max(expires_at) AS last FROM credentials WHERE status_list = $1',
    [uri.slice(-36)],
  )) as [{ last: Date }]
  expect(ends_at.getTime()).toBeGreaterThan(last.getTime())

  one.clock.advance(ends_at.getTime() - one.clock.now() - 60_000)
  await one.sweep()
  for (const on of [one, two]) expect((await getList(on, uri)).status).toBe(200)
  one.clock.advance(60_000)
  for (const on of [one, two]) expect((await getList(on, uri)).status).toBe(404)
  // Another replica's clock may be behind.
  await one.sweep()
  expect(await row()).toHaveLength(1)
  one.clock.advance(3_600_000)
  await one.sweep()
  expect(await row()).toEqual([])
  expect((await getList(two, uri)).status).toBe(404)
})

test('with the database away there is no list, not even one that was given a moment before', async () => {
  let link: DatabaseLink | undefined
  const away = await startScene({
    through: async url => {
      link = await linkTo(url)
      return link.url
    },
  })
  const task = await opened(away.broker, away.agent('a'))
  const { access_token } = await minted(away.broker, away.agent('a'), { task_id: task.id })
  const { uri } = placeOf(access_token)
  expect((await getList(away.broker, uri)).status).toBe(200)
  link?.cut()
  for (let n = 0; n < 3; n++) {
    const { status, headers } = await getList(away.broker, uri)
    expect([status, Number(headers.get('Retry-After')) > 0]).toEqual([503, true])
    expect(headers.get('Cache-Control')).toBe('no-store')
  }
  link?.mend()
  await expect.poll(async () => (await getList(away.broker, uri)).status, { timeout: 20_000 }).toBe(200)
  expect(await statusOf(away.broker, access_token)).toBe(0)
  await away.close()
  await link?.close()
})
