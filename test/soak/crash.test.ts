import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { type CrashScene, crashScene } from '../support/crash-scene.ts'

let scene: CrashScene
beforeAll(async () => {
  scene = await crashScene()
})
afterAll(async () => {
  console.info(scene?.answered())
  await scene?.close()
})

/** Early and late, in the first requests and in full swing. */
const someTime = () => sleep(Math.random() ** 2 * 1_500)

it('invariant 12: a broker that is killed under load 50 times has lost nothing that it answered', async () => {
  for (let round = 0; round < 50; round++) {
    await scene.load(20, someTime().then(scene.broker.kill))
    await scene.broker.start()
    await scene.check()
  }
})

it('invariant 12: a broker that is killed while it starts starts all the same', async () => {
  await scene.broker.kill()
  for (let round = 0; round < 10; round++) {
    const starting = scene.broker.start().catch(() => {})
    await sleep(Math.random() * 1_500)
    await scene.broker.kill()
    await starting
  }
  await scene.broker.kill()
  await scene.broker.start()
  await scene.check()
})

it('invariant 12: a PostgreSQL that is killed under load 10 times is 503 at the worst, and has lost nothing', async () => {
  for (let round = 0; round < 10; round++) {
    const statuses = await scene.load(
      20,
      someTime()
        .then(scene.broker.killDatabase)
        .then(scene.broker.databaseBack)
        .then(() => sleep(500)),
    )
    expect([...statuses].filter(status => status >= 500 && status !== 503)).toEqual([])
    await scene.check()
  }
})

it('invariant 12: broker and PostgreSQL killed together 10 times lose nothing', async () => {
  for (let round = 0; round < 10; round++) {
    await scene.load(20, someTime().then(scene.broker.killDatabase).then(scene.broker.kill))
    await scene.broker.start()
    await scene.check()
  }
})
