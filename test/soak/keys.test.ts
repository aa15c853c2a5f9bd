import { afterAll, beforeAll, expect, it } from 'vitest'
import { monthsOfKeys } from '../support/months-of-keys.ts'
import { type Scene, startScene } from '../support/scene.ts'

let scene: Scene
beforeAll(async () => {
  const signingAlgFor = { 'https://ed.example': 'EdDSA' } as const
  const credentials = { ttlDefault: 300_000, ttlMax: 900_000, signingAlg: 'ES256', signingAlgFor } as const
  scene = await startScene({ replicas: 3, config: { credentials } })
})
afterAll(() => scene?.close())

it('invariant 9: through years of rotations on three replicas every token verifies with any set that may still be held', async () => {
  const seen = await monthsOfKeys(scene, 3_000)
  console.info(seen)
  expect(seen.days).toBeGreaterThan(365)
})

it('invariant 9: and so it is where keys are withdrawn, whichever they are and however often', async () => {
  const seen = await monthsOfKeys(scene, 2_000, { withdrawals: 0.1 })
  console.info(seen)
  expect(seen.withdrawals).toBeGreaterThan(100)
})
