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

it('invariant 9: whichever keys are withdrawn, on three replicas, every other token verifies with any set that may still be held', {
  timeout: 120_000,
}, async () => {
  const { withdrawals, signers, tokens } = await monthsOfKeys(scene, 100, { withdrawals: 0.15 })
  expect(withdrawals).toBeGreaterThan(3)
  expect(signers).toBeGreaterThan(4)
  // How many there are is for chance to say: a withdrawal can stop mints for minutes.
  expect(tokens).toBeGreaterThan(20)
})

it('invariant 9: no key signed before it was published for a cache lifetime, after it was withdrawn, or for longer than its last day', async () => {
  const rows = await scene.broker.sql<{ published_at: Date; first: Date }>(
    `SELECT k.published_at, min(c.issued_at) AS first FROM signing_keys k JOIN credentials c USING (kid)
      WHERE k.published_at > (SELECT min(opened_at) FROM tasks) GROUP BY k.kid`,
  )
  // `iat` is in whole seconds.
  for (const { published_at, first } of rows)
    expect(first.getTime()).toBeGreaterThan(published_at.getTime() + 299_000)
  const late = await scene.broker.sql(
    'SELECT c.jti FROM credentials c JOIN signing_keys k USING (kid) WHERE c.expires_at > k.last_day OR c.issued_at > k.withdrawn_at',
  )
  expect(late).toEqual([])
})
