import { afterAll, beforeAll, expect, it } from 'vitest'
import { type End, raceRound, watchCredentials } from '../support/race-round.ts'
import { type Scene, startScene } from '../support/scene.ts'
import { treeRaceRound } from '../support/tree-race.ts'

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

it.each(ends)(
  'invariant 3: 100 races of 200 mints and openings in a tree against its end (%s)',
  async end => {
    let [before, after] = [0, 0]
    for (let round = 0; round < 100; round++) {
      const seen = await treeRaceRound(scene, { end, flights: 200, top: round % 3 ? 'root' : 'middle' })
      before += seen.before
      after += seen.after
    }
    console.info(
      `${end} of a tree: ${before} tokens and tasks before, ${after} refused or of the next version`,
    )
    expect(Math.min(before, after)).toBeGreaterThan(100)
  },
)
