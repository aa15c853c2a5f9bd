import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect, test } from 'vitest'
import { createAuth } from '../../src/verifier/auth.ts'
import type { Grounds, TokenClaims } from '../../src/verifier/claims.ts'
import { createLiveSignals } from '../../src/verifier/live-signals.ts'
import { VerifierRefusal } from '../../src/verifier/refusal.ts'
import { until } from './verifiers.ts'

const grounds: Grounds = {
  alg: 'ES256',
  kid: 'k',
  jti: 'j',
  exp: 0,
  tasks: [
    { id: 'own', ver: 1 },
    { id: 'root', ver: 1 },
  ],
  status: null,
}

function begin() {
  const world = { dead: false, fresh: true, vouched: true, asked: 0 }
  const signals = createLiveSignals({
    refusalOf: () => (world.dead ? new VerifierRefusal('task_closed') : null),
    isFresh: () => world.fresh,
    async vouch() {
      world.asked++
      if (!world.vouched) throw new VerifierRefusal('status_unreachable')
    },
  })
  return { world, signals }
}

test.each([
  ['its own task', s => s.task('own')],
  ['a task above it', s => s.task('root')],
  ['itself', s => s.credential('j')],
  ['its key', s => s.key('k')],
  ['everything', s => s.everything()],
] as [string, (signals: ReturnType<typeof createLiveSignals>) => void][])(
  'what is told of %s is looked at before the telling is over',
  (_, tell) => {
    const { world, signals } = begin()
    const { signal } = signals.watch(grounds)
    tell(signals)
    expect(signal.aborted).toBe(false)
    world.dead = true
    signals.task('other')
    signals.credential('k')
    signals.key('j')
    expect(signal.aborted).toBe(false)
    tell(signals)
    expect(signal.aborted).toBe(true)
    expect(signals.size()).toBe(0)
  },
)

test('no status list is asked for while the feed is heard', async () => {
  const { world, signals } = begin()
  signals.watch(grounds)
  await signals.look()
  expect(world.asked).toBe(0)
  world.fresh = false
  await signals.look()
  expect(world.asked).toBe(1)
})

test('a feed that comes back while status lists are asked spares what they do not vouch for', async () => {
  const { world, signals } = begin()
  const { signal } = signals.watch(grounds)
  world.fresh = false
  world.vouched = false
  const looked = signals.look()
  world.fresh = true
  await looked
  expect(signal.aborted).toBe(false)
  world.fresh = false
  await signals.look()
  expect(signal.aborted).toBe(true)
})

test('nothing of a token that was released, or has died, is kept in memory', async () => {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const { signals } = begin()
  const kept = (release: boolean) => {
    const auth = createAuth({} as TokenClaims, { ...grounds }, signals)
    void auth.signal
    if (release) auth.release()
    return new WeakRef(auth.signal)
  }
  const refs = Array.from({ length: 10 }, () => kept(true))
  const dead = Array.from({ length: 10 }, () => kept(false))
  signals.close()
  await until(() => {
    collect()
    return [...refs, ...dead].every(ref => ref.deref() === undefined)
  })
})
