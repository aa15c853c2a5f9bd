import { afterAll, beforeAll, expect, it } from 'vitest'
import { type End, raceRound, watchCredentials } from '../support/race-round.ts'
import { act, isActive, mint, opened, type Scene, startScene } from '../support/scene.ts'
import { treeRaceRound } from '../support/tree-race.ts'

let scene: Scene

beforeAll(async () => {
  scene = await startScene({ replicas: 3 })
  await watchCredentials(scene)
})
afterAll(() => scene?.close())

const races: [string, End][] = [
  [
    'invariant 3: after a close was answered nothing is minted, and all that was is dead on every replica',
    'close',
  ],
  [
    'invariant 3: after a suspension was answered nothing is minted, and all that was is dead on every replica',
    'suspend',
  ],
  [
    'invariant 3: after a change of context was answered nothing of the old version is minted or live',
    'context',
  ],
]

it.each(races)('%s', async (_, end) => {
  let handedOut = 0
  let refused = 0
  // Five, and more only where none of them was a race.
  for (let round = 0; round < 5 || (round < 25 && (handedOut === 0 || refused === 0)); round++) {
    const seen = await raceRound(scene, { end, mints: 60 })
    handedOut += seen.handedOut
    refused += seen.refused
  }
  // Otherwise it was no race.
  expect(handedOut).toBeGreaterThan(0)
  expect(refused).toBeGreaterThan(0)
})

const treeRaces: [string, End, 'root' | 'middle'][] = [
  ['closed: none is minted for, none opened below, and all that was is dead', 'close', 'root'],
  ['suspended: none is minted for, none opened below, and all that was is dead', 'suspend', 'root'],
  ['changed in context: what was minted anywhere below is dead', 'context', 'root'],
  ['closed in its middle: the same for what is below, and for nothing else', 'close', 'middle'],
]

it.each(treeRaces)('invariant 3: after a tree was %s', async (_, end, top) => {
  let [before, after] = [0, 0]
  for (let round = 0; round < 3 || (round < 25 && (before === 0 || after === 0)); round++) {
    const seen = await treeRaceRound(scene, { end, flights: 60, top })
    before += seen.before
    after += seen.after
  }
  expect(Math.min(before, after)).toBeGreaterThan(0)
})

it('invariant 3: a task that is minted for without a pause can be ended', async () => {
  const { broker, replicas } = scene
  const owner = scene.agent('busy')
  const task = await opened(broker, owner)
  let ended = false
  const tokens: string[] = []
  const minting = Array.from({ length: 24 }, async (_, i) => {
    while (!ended) {
      const { status, body } = await mint(replicas[i % 3] as typeof broker, owner, { task_id: task.id })
      if (status === 200) tokens.push(body.access_token)
    }
  })
  await expect.poll(() => tokens.length).toBeGreaterThan(50)
  const closed = await act(broker, await broker.operatorToken(), task.id, 'close', { outcome: 'risk' })
  ended = true
  await Promise.all(minting)

  expect(closed.body).toMatchObject({ state: 'closed', close_reason: 'risk' })
  const service = scene.agent('service')
  const answers = await Promise.all(
    tokens.map(token => isActive(replicas[1] as typeof broker, service, token)),
  )
  expect(answers.filter(active => active)).toEqual([])
})
