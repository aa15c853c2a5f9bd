import { afterAll, beforeAll, expect, it } from 'vitest'
import { allowAll } from '../support/broker.ts'
import { bulkRaceRound } from '../support/bulk-race.ts'
import { watchCredentials } from '../support/race-round.ts'
import { pick, type Scene, startScene } from '../support/scene.ts'

let scene: Scene
beforeAll(async () => {
  const policies = `${allowAll}
    @id("operators-open") permit (principal is Operator, action in [Action::"open", Action::"open_child"], resource);`
  scene = await startScene({ replicas: 3, policies })
  await watchCredentials(scene)
})
afterAll(() => scene?.close())

it('invariant 3: through 100 bulk revocations against 200 opens and mints each, nothing of the ended is opened, minted or live', async () => {
  let had = 0
  let refused = 0
  for (let round = 0; round < 100; round++) {
    const selected = pick(['principal', 'principal', 'trust', 'everything'] as const)
    const seen = await bulkRaceRound(scene, { selected, flights: 200 })
    had += seen.had
    refused += seen.refused
  }
  console.info({ had, refused })
  expect(had).toBeGreaterThan(1000)
  expect(refused).toBeGreaterThan(1000)
})
