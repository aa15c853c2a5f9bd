import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { readFeed } from '../support/feed-reader.ts'
import { anEnd, openRecord, type TestRecord } from '../support/record.ts'
import { act, opened, type Scene, startScene } from '../support/scene.ts'

let scene: Scene
let record: TestRecord
beforeAll(async () => {
  scene = await startScene()
  record = openRecord(scene.broker.databaseUrl)
})
afterAll(async () => {
  await record?.close()
  await scene?.close()
})

interface Follower {
  socket: Socket
  text: string
}

async function aFollower(): Promise<Follower> {
  const socket = connect(Number(new URL(scene.broker.url).port), '127.0.0.1')
  const follower = { socket, text: '' }
  socket.setEncoding('latin1').on('data', chunk => {
    follower.text += chunk
  })
  await once(socket, 'connect')
  socket.write('GET /v1/revocations HTTP/1.1\r\nHost: hallpass\r\n\r\n')
  return follower
}

test('2,000 readers on one replica all have the end of a task, and what comes with it while mints go on', async () => {
  const followers: Follower[] = []
  for (let n = 0; n < 2_000; n += 100)
    followers.push(...(await Promise.all(Array.from({ length: 100 }, aFollower))))
  const have = (text: string) => followers.filter(follower => follower.text.includes(text)).length
  await expect.poll(() => have('event: tick'), { timeout: 20_000 }).toBe(2_000)
  // That is as many as one address may have.
  expect((await readFeed(scene.broker.url)).status).toBe(429)

  const owner = scene.agent('owner')
  const { id } = await opened(scene.broker, owner)
  expect((await act(scene.broker, owner, id, 'close')).status).toBe(200)
  await expect.poll(() => have(`"task_id":"${id}","state":"closed"`), { timeout: 10_000 }).toBe(2_000)

  await Promise.all(
    Array.from({ length: 8 }, async (_, i) => {
      for (let round = 0; round < 20; round++) {
        if (i % 2 === 0) await record.append([anEnd()])
        else {
          const task = await opened(scene.broker, owner)
          await act(scene.broker, owner, task.id, 'close')
        }
      }
    }),
  )
  const [last] = await scene.broker.sql<{ seq: string }>('SELECT seq FROM revocation_counter')
  await expect.poll(() => have(`-${last?.seq}\n`), { timeout: 20_000 }).toBe(2_000)
  // All of them have the same bytes, from their first event on.
  const told = (text: string) => text.slice(text.indexOf(id)).replaceAll(/event: tick\n.*\n\n/g, '')
  expect(new Set(followers.map(({ text }) => told(text))).size).toBe(1)
  for (const { socket } of followers) socket.destroy()
}, 90_000)
