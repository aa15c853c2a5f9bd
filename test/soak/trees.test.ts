import { afterAll, beforeAll, expect, it } from 'vitest'
import { type Scene, startScene } from '../support/scene.ts'
import { makeMoves, moveScene } from '../support/tree-moves.ts'

let scene: Scene
beforeAll(async () => {
  scene = await startScene(moveScene)
})
afterAll(() => scene?.close())

it('invariant 3: on 100 random trees a token is live exactly as contract §6 has it', async () => {
  const seen = await makeMoves(scene, 100)
  console.info(seen)
  for (const count of Object.values(seen)) expect(count).toBeGreaterThan(20)
})
