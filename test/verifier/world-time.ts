import type { Clocks } from '../../src/verifier/clocks.ts'

/** Time, and three clocks that are to show it: the verifier's two, and the database's. Milliseconds. */
export interface WorldTime {
  clocks: Clocks
  /** The database's clock. */
  database(): number
  /** What really passed. */
  passed(): number
  /** Time passes, and every clock shows it. */
  pass(ms: number): void
  /** The verifier's machine sleeps: its steady clock stands still, and the wall clock too unless it is set right after. */
  sleep(ms: number, options?: { wallNotices?: boolean }): void
  /** Somebody sets a clock. */
  setWall(byMs: number): void
  setDatabase(byMs: number): void
}

export function createWorldTime({ databaseAhead = 0, since = Date.now() } = {}): WorldTime {
  let steady = 1_000
  let wall = since
  let database = since + databaseAhead
  let passed = 0
  return {
    clocks: { steady: () => steady, wall: () => wall },
    database: () => database,
    passed: () => passed,
    pass(ms) {
      steady += ms
      wall += ms
      database += ms
      passed += ms
    },
    sleep(ms, { wallNotices = true } = {}) {
      if (wallNotices) wall += ms
      database += ms
      passed += ms
    },
    setWall(byMs) {
      wall += byMs
    },
    setDatabase(byMs) {
      database += byMs
    },
  }
}
