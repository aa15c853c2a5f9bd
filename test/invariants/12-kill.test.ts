import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { type CrashScene, crashScene } from '../support/crash-scene.ts'

let scene: CrashScene
beforeAll(async () => {
  scene = await crashScene()
}, 120_000)
afterAll(() => scene?.close())

it('invariant 12: a broker that is killed under load and started again has lost nothing that it answered', async () => {
  const answered = () => {
    const { tokens, closed, used } = scene.answered()
    return Math.min(tokens, closed, used)
  }
  // On a machine that does much else besides, little is answered in one round.
  for (let round = 0; round < 2 || (round < 8 && answered() === 0); round++) {
    await scene.load(12, sleep(100 + Math.random() * 500).then(scene.broker.kill))
    await scene.broker.start()
    await scene.check()
  }
  expect(answered()).toBeGreaterThan(0)
}, 120_000)

it('invariant 12: while its PostgreSQL is killed and comes back, a broker answers 503 at the worst, and has lost nothing', async () => {
  let before = 0
  const statuses = await scene.load(
    12,
    sleep(150 + Math.random() * 200)
      .then(scene.broker.killDatabase)
      .then(scene.broker.databaseBack)
      .then(() => {
        before = scene.answered().tokens
        return sleep(500)
      }),
  )
  // 4xx are refusals: a retried job may find its task closed.
  expect([...statuses].filter(status => status >= 500)).toEqual([503])
  // There is service again.
  expect(scene.answered().tokens).toBeGreaterThan(before)
  await scene.check()
}, 120_000)

it('invariant 12: broker and PostgreSQL killed together lose nothing', async () => {
  await scene.load(
    12,
    sleep(150 + Math.random() * 200)
      .then(scene.broker.killDatabase)
      .then(scene.broker.kill),
  )
  await scene.broker.start()
  await scene.check()
}, 120_000)
