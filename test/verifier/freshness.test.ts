import fc from 'fast-check'
import { expect, test } from 'vitest'
import { neverSlow } from '../../src/verifier/clocks.ts'
import { type Attempt, createFreshness } from '../../src/verifier/freshness.ts'
import { createWorldTime } from './world-time.ts'

const maxStaleness = 10_000

function begin(options: { databaseAhead?: number } = {}) {
  const time = createWorldTime(options)
  const freshness = createFreshness({ clocks: time.clocks, maxStaleness })
  return { time, freshness, heard: (attempt: Attempt, at = time.database()) => freshness.heard(at, attempt) }
}

test('nothing was heard: not fresh', () => {
  expect(begin().freshness.isFresh()).toBe(false)
})

test('fresh with each tick, and for less than the time allowed after the last one', () => {
  const { time, freshness, heard } = begin()
  const attempt = freshness.connecting()
  for (let ticks = 0; ticks < 100; ticks++) {
    expect(heard(attempt)).toBe('proof')
    time.pass(5_000)
    expect(freshness.isFresh()).toBe(true)
  }
  // The last tick is 5 s old; 1.5 s more are assumed, and 0.1 s because clocks drift.
  time.pass(3_399)
  expect(freshness.isFresh()).toBe(true)
  time.pass(2)
  expect(freshness.isFresh()).toBe(false)
})

test('how far the database’s clock is from this machine’s is no matter', () => {
  for (const databaseAhead of [-86_400_000, -20_000, 20_000, 86_400_000]) {
    const { time, freshness, heard } = begin({ databaseAhead })
    const attempt = freshness.connecting()
    expect(heard(attempt)).toBe('proof')
    time.pass(8_000)
    expect(freshness.isFresh()).toBe(true)
    time.pass(600)
    expect(freshness.isFresh()).toBe(false)
  }
})

test('distrusted: not fresh until something new is heard', () => {
  const { freshness, heard } = begin()
  heard(freshness.connecting())
  freshness.distrust()
  expect(freshness.isFresh()).toBe(false)
  expect(heard(freshness.connecting())).toBe('proof')
  expect(freshness.isFresh()).toBe(true)
})

test('a wall clock that is set back keeps nothing fresh', () => {
  const { time, freshness, heard } = begin()
  heard(freshness.connecting())
  time.setWall(-3_600_000)
  expect(freshness.isFresh()).toBe(true)
  time.pass(8_600)
  expect(freshness.isFresh()).toBe(false)
})

test('a wall clock that is set forward counts as a sleep, and the next connection mends it', () => {
  const { time, freshness, heard } = begin()
  heard(freshness.connecting())
  time.setWall(3_600_000)
  expect(freshness.isFresh()).toBe(false)
  expect(heard(freshness.connecting())).toBe('proof')
  expect(freshness.isFresh()).toBe(true)
  time.pass(8_600)
  expect(freshness.isFresh()).toBe(false)
})

test('a sleep that only the wall clock noticed ends it, and ticks from before it prove nothing', () => {
  const { time, freshness, heard } = begin()
  const attempt = freshness.connecting()
  heard(attempt)
  const buffered = time.database() + 5_000
  time.sleep(600_000)
  expect(freshness.isFresh()).toBe(false)
  heard(attempt, buffered)
  expect(freshness.isFresh()).toBe(false)
  heard(attempt)
  expect(freshness.isFresh()).toBe(true)
})

test('a sleep that no clock noticed is found by the first tick after it', () => {
  const { time, freshness, heard } = begin()
  const attempt = freshness.connecting()
  heard(attempt)
  time.sleep(600_000, { wallNotices: false })
  expect(heard(attempt)).toBe('contradiction')
  expect(freshness.isFresh()).toBe(false)
  expect(heard(freshness.connecting())).toBe('proof')
  expect(freshness.isFresh()).toBe(true)
})

test('ticks that are held back for long prove nothing when they arrive', () => {
  const { time, freshness, heard } = begin()
  const attempt = freshness.connecting()
  heard(attempt)
  const readings: number[] = []
  for (let second = 0; second < 60; second += 5) {
    time.pass(5_000)
    readings.push(time.database())
  }
  time.pass(9_000)
  for (const at of readings) heard(attempt, at)
  expect(freshness.isFresh()).toBe(false)
  heard(attempt)
  expect(freshness.isFresh()).toBe(true)
})

test('so it is where everything was held back from the very beginning', () => {
  const { time, freshness, heard } = begin()
  const attempt = freshness.connecting()
  const first = time.database()
  time.pass(30_000)
  expect(heard(attempt, first)).toBe('proof')
  expect(freshness.isFresh()).toBe(false)
  time.pass(5_000)
  // Each of them 30 s late.
  for (let at = first + 5_000; at < first + 60_000; at += 5_000) {
    heard(attempt, at)
    expect(freshness.isFresh()).toBe(false)
    time.pass(5_000)
  }
})

test('a server that gives every connection the same old reading is not believed', () => {
  const { time, freshness, heard } = begin()
  const stuck = time.database()
  expect(heard(freshness.connecting(), stuck)).toBe('proof')
  for (let connections = 0; connections < 20; connections++) {
    time.pass(10_000)
    const attempt = freshness.connecting()
    expect(heard(attempt, stuck)).toBe('doubtful')
    time.pass(1_000)
    expect(heard(attempt, stuck)).toBe('doubtful')
    expect(freshness.isFresh()).toBe(false)
  }
})

test('a database’s clock that is set back is told from that: its readings go on', () => {
  const { time, freshness, heard } = begin()
  heard(freshness.connecting())
  time.setDatabase(-60_000)
  time.pass(20_000)
  const attempt = freshness.connecting()
  expect(heard(attempt)).toBe('doubtful')
  expect(freshness.isFresh()).toBe(false)
  time.pass(5_000)
  expect(heard(attempt)).toBe('contradiction')
  const next = freshness.connecting()
  expect(heard(next)).toBe('proof')
  expect(freshness.isFresh()).toBe(true)
})

test('a database’s clock that is set forward is found', () => {
  const { time, freshness, heard } = begin()
  const attempt = freshness.connecting()
  heard(attempt)
  time.setDatabase(5_000)
  time.pass(1_000)
  expect(heard(attempt)).toBe('contradiction')
  expect(freshness.isFresh()).toBe(false)
})

test('a reading of another replica that is a little older takes nothing away', () => {
  const { time, freshness, heard } = begin()
  heard(freshness.connecting())
  expect(heard(freshness.connecting(), time.database() - 1_000)).toBe('proof')
  expect(freshness.isFresh()).toBe(true)
})

test('now is the wall clock’s, but never before what the database’s clock must show', () => {
  const { time, freshness, heard } = begin({ databaseAhead: -2_000 })
  expect(freshness.now()).toBe(time.clocks.wall())
  heard(freshness.connecting())
  expect(freshness.now()).toBe(time.clocks.wall())
  time.setWall(-3_600_000)
  expect(freshness.now()).toBe(time.database())
  time.pass(600_000)
  expect(freshness.now()).toBe(time.database())
  time.setWall(7_200_000)
  expect(freshness.now()).toBe(time.clocks.wall())
})

test('whatever happens to clocks, connections and ticks: fresh means that the record was read as lately as allowed', () => {
  const step = fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({ do: fc.constant('pass' as const), ms: fc.integer({ min: 0, max: 12_000 }) }),
    },
    { weight: 6, arbitrary: fc.record({ do: fc.constant('tick' as const), ms: fc.constant(0) }) },
    // A tick arrives that was sent so many steps ago.
    { weight: 3, arbitrary: fc.record({ do: fc.constant('late' as const), ms: fc.nat(5) }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('connect' as const), ms: fc.nat(1_400) }) },
    {
      weight: 1,
      arbitrary: fc.record({ do: fc.constant('sleep' as const), ms: fc.integer({ min: 300, max: 900_000 }) }),
    },
    {
      weight: 1,
      arbitrary: fc.record({
        do: fc.constant('setWall' as const),
        ms: fc.integer({ min: 300, max: 9_000_000 }),
      }),
    },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('setWallBack' as const), ms: fc.nat(9_000_000) }) },
  )
  fc.assert(
    fc.property(
      fc.array(step, { maxLength: 60 }),
      fc.integer({ min: -1e8, max: 1e8 }),
      (steps, databaseAhead) => {
        const time = createWorldTime({ databaseAhead })
        const freshness = createFreshness({ clocks: time.clocks, maxStaleness })
        let attempt = freshness.connecting()
        /** What the current connection has on its way, and when each was read, in real time. */
        let sent: { at: number; read: number }[] = []
        let newest = Number.NEGATIVE_INFINITY
        let believed = true
        const deliver = (reading: { at: number; read: number } | undefined) => {
          if (!reading || !believed) return
          if (freshness.heard(reading.at, attempt) === 'proof') newest = Math.max(newest, reading.read)
          else believed = false
        }
        for (const { do: what, ms } of steps) {
          if (what === 'pass') time.pass(ms)
          if (what === 'sleep') time.sleep(ms)
          if (what === 'setWall') time.setWall(ms)
          if (what === 'setWallBack') time.setWall(-ms)
          if (what === 'connect') {
            attempt = freshness.connecting()
            believed = true
            // The server begins with a reading that may have been made shortly before.
            sent = [{ at: time.database() - ms, read: time.passed() - ms }]
          }
          if (what === 'tick') {
            sent.push({ at: time.database(), read: time.passed() })
            deliver(sent.at(-1))
          }
          if (what === 'late') deliver(sent.at(-1 - ms))
          // Something looks every so often.
          freshness.elapsed()
          if (freshness.isFresh()) expect(time.passed() - newest).toBeLessThanOrEqual(maxStaleness + 250)
        }
      },
    ),
    { numRuns: 3_000 },
  )
})

test('a clock that is never slow gains nothing by jitter of the two readings', () => {
  const time = createWorldTime()
  const elapsed = neverSlow({
    steady: time.clocks.steady,
    wall: () => time.clocks.wall() + Math.random() * 100,
  })
  const began = elapsed()
  for (let step = 0; step < 10_000; step++) {
    time.pass(10)
    elapsed()
  }
  expect(elapsed() - began).toBe(100_000)
})
