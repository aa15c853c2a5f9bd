import { afterAll, beforeAll, expect, it } from 'vitest'
import { type End, raceRound, watchCredentials } from '../support/race-round.ts'
import { type Scene, startScene } from '../support/scene.ts'

let scene: Scene
beforeAll(async () => {
  scene = await startScene({ replicas: 3 })
  await watchCredentials(scene)
})
afterAll(() => scene?.close())

const ends: End[] = ['close', 'suspend', 'context']

it.each(ends)('invariant 3: 100 races of 200 mints against the end of their task (%s)', async end => {
  let handedOut = 0
  let refused = 0
  for (let round = 0; round < 100; round++) {
    const seen = await raceRound(scene, { end, mints: 200 })
    handedOut += seen.handedOut
    refused += seen.refused
  }
  console.info(`${end}: ${handedOut} tokens handed out before, ${refused} refused or of the next version`)
  expect(Math.min(handedOut, refused)).toBeGreaterThan(100)
})
