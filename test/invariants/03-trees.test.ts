import { afterAll, beforeAll, expect, it } from 'vitest'
import { type Scene, startScene } from '../support/scene.ts'
import { makeMoves, moveScene } from '../support/tree-moves.ts'

let scene: Scene
beforeAll(async () => {
  scene = await startScene(moveScene)
})
afterAll(() => scene?.close())

it('invariant 3: on random trees a token is live exactly as contract §6 has it, on every replica and by the record alone', async () => {
  const seen = await makeMoves(scene, 6)
  // Otherwise it said less than it seems.
  for (const count of Object.values(seen)) expect(count, JSON.stringify(seen)).toBeGreaterThan(0)
}, 120_000)
