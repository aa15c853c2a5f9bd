import { afterAll, beforeAll, expect, it } from 'vitest'
import { allowAll } from '../support/broker.ts'
import { bulkRaceRound, type Selected } from '../support/bulk-race.ts'
import { watchCredentials } from '../support/race-round.ts'
import { type Scene, startScene } from '../support/scene.ts'

let scene: Scene
beforeAll(async () => {
  const policies = `${allowAll}
    @id("operators-open") permit (principal is Operator, action in [Action::"open", Action::"open_child"], resource);`
  scene = await startScene({ replicas: 3, policies })
  await watchCredentials(scene)
})
afterAll(() => scene?.close())

const races: [string, Selected][] = [
  ['invariant 3: after all of a principal was revoked nothing of it is opened, minted or live', 'principal'],
  ['invariant 3: after all of a trust source was revoked nothing of it is opened, minted or live', 'trust'],
  ['invariant 3: after everything was revoked nothing is opened, minted or live', 'everything'],
]

it.each(races)('%s', { timeout: 120_000 }, async (_, selected) => {
  let had = 0
  let refused = 0
  // Three, and more only where none of them was a race.
  for (let round = 0; round < 3 || (round < 15 && (had === 0 || refused === 0)); round++) {
    const seen = await bulkRaceRound(scene, { selected, flights: 200 })
    had += seen.had
    refused += seen.refused
  }
  expect(had).toBeGreaterThan(0)
  expect(refused).toBeGreaterThan(0)
})
