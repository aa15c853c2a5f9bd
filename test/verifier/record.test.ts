import { randomUUID } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createDeadRecord } from '../../src/verifier/dead.ts'
import { createFreshness } from '../../src/verifier/freshness.ts'
import { createFeedRecord, type Listening } from '../../src/verifier/record.ts'
import type { ServerEvent } from '../../src/verifier/sse.ts'
import { createWorldTime } from './world-time.ts'

function begin() {
  const time = createWorldTime()
  const freshness = createFreshness({ clocks: time.clocks, maxStaleness: 10_000 })
  const dead = createDeadRecord()
  const changed: string[] = []
  const record = createFeedRecord({
    dead,
    freshness,
    changes: {
      task: id => changed.push(id),
      credential: id => changed.push(id),
      key: id => changed.push(id),
      everything: () => changed.push('everything'),
    },
  })
  const connect = (): Listening => ({ attempt: freshness.connecting(), isSettled: false })
  const at = () => new Date(time.database()).toISOString()
  const soon = () => new Date(time.database() + 60_000).toISOString()
  const event = (type: string, data: unknown, id?: string): ServerEvent => ({
    type,
    data: typeof data === 'string' ? data : JSON.stringify(data),
    id,
  })
  const snapshot = (seq: number, members: object = {}, epoch = 'e') =>
    event('snapshot', { tasks: [], credentials: [], keys: [], seq, at: at(), ...members }, `${epoch}-${seq}`)
  const tick = (seq: number) => event('tick', { seq, at: at() })
  const closed = (seq: number, task_id: string, more: object = {}, epoch = 'e') =>
    event('task', { task_id, state: 'closed', ver: 1, at: at(), until: soon(), ...more }, `${epoch}-${seq}`)
  const isDead = (id: string, ver = 1) => dead.causeOf({ kid: 'k', jti: 'j', tasks: [{ id, ver }] }) !== null
  return { time, freshness, dead, record, changed, connect, at, soon, event, snapshot, tick, closed, isDead }
}

describe('the order of events', () => {
  test('a snapshot, then events one by one, then a tick that says the same number', () => {
    const { record, connect, snapshot, closed, tick, isDead, freshness } = begin()
    const listening = connect()
    expect(record.lastEventId()).toBeUndefined()
    expect(record.hear(snapshot(7), listening)).toBeNull()
    expect(freshness.isFresh()).toBe(false)
    expect(record.hear(closed(8, 'a'), listening)).toBeNull()
    expect(record.hear(tick(8), listening)).toBeNull()
    expect(freshness.isFresh()).toBe(true)
    expect([isDead('a'), isDead('b')]).toEqual([true, false])
    expect(record.lastEventId()).toBe('e-8')
  })

  test('only a tick proves anything: a snapshot may have been made for somebody else, long ago', () => {
    const { record, connect, snapshot, freshness, time, tick } = begin()
    const old = snapshot(7)
    time.pass(30_000)
    const listening = connect()
    record.hear(old, listening)
    expect(freshness.isFresh()).toBe(false)
    record.hear(tick(7), listening)
    expect(freshness.isFresh()).toBe(true)
  })

  test.each<[string, string, (world: ReturnType<typeof begin>) => (ServerEvent | string)[]]>([
    ['an event before any snapshot', 'out_of_order', ({ closed }) => [closed(8, 'a')]],
    ['a tick before any snapshot', 'out_of_order', ({ tick }) => [tick(8)]],
    ['the same number twice', 'out_of_order', w => [w.snapshot(7), w.closed(8, 'a'), w.closed(8, 'a')]],
    ['a number that goes back', 'out_of_order', w => [w.snapshot(7), w.tick(7), w.closed(6, 'a')]],
    ['a number left out', 'out_of_order', w => [w.snapshot(7), w.tick(7), w.closed(9, 'a')]],
    ['a tick behind', 'out_of_order', w => [w.snapshot(7), w.tick(6)]],
    ['a tick ahead', 'out_of_order', w => [w.snapshot(7), w.tick(7), w.tick(8)]],
    ['another epoch', 'other_epoch', w => [w.snapshot(7), w.closed(8, 'a', {}, 'f')]],
    ['a snapshot without an id', 'malformed', w => [{ ...w.snapshot(7), id: undefined }]],
    ['a snapshot whose id is another number', 'malformed', w => [{ ...w.snapshot(7), id: 'e-8' }]],
    ['an event without an id', 'malformed', w => [w.snapshot(7), { ...w.closed(8, 'a'), id: undefined }]],
    ['an id without a number', 'malformed', w => [w.snapshot(7), { ...w.closed(8, 'a'), id: 'e-x' }]],
    ['an id with leading zeros', 'malformed', w => [w.snapshot(7), { ...w.closed(8, 'a'), id: 'e-08' }]],
    [
      'an id beyond whole numbers',
      'malformed',
      w => [w.snapshot(7), { ...w.closed(8, 'a'), id: 'e-9999999999999999' }],
    ],
  ])('%s is %s: no longer fresh, and a snapshot is needed', (_, fault, script) => {
    const world = begin()
    const { record, connect, freshness, snapshot, tick } = world
    const listening = connect()
    const events = script(world) as ServerEvent[]
    const last = events.pop() as ServerEvent
    for (const event of events) expect(record.hear(event, listening)).toBeNull()
    expect(record.hear(last, listening)).toBe(fault)
    expect(freshness.isFresh()).toBe(false)
    expect(record.lastEventId()).toBeUndefined()
    const again = connect()
    expect(record.hear(snapshot(20), again)).toBeNull()
    expect(record.hear(tick(20), again)).toBeNull()
    expect(freshness.isFresh()).toBe(true)
  })

  test('until the first tick numbers may be left out, which were removed as harmless', () => {
    const { record, connect, snapshot, closed, tick } = begin()
    const first = connect()
    record.hear(snapshot(7), first)
    record.hear(tick(7), first)
    const resumed = connect()
    expect(record.hear(closed(9, 'a'), resumed)).toBeNull()
    expect(record.hear(closed(12, 'b'), resumed)).toBeNull()
    expect(record.hear(tick(15), resumed)).toBeNull()
    expect(record.lastEventId()).toBe('e-15')
    expect(record.hear(closed(16, 'c'), resumed)).toBeNull()
    expect(record.hear(closed(18, 'd'), resumed)).toBe('out_of_order')
  })

  test('events of unknown types are ignored, and their numbers are counted', () => {
    const { record, connect, snapshot, closed, tick, event } = begin()
    const listening = connect()
    record.hear(snapshot(7), listening)
    record.hear(tick(7), listening)
    expect(record.hear(event('message', 'hello'), listening)).toBeNull()
    expect(record.hear(event('weather', '{', 'whatever'), listening)).toBeNull()
    expect(record.hear(event('block', '{}', 'e-8'), listening)).toBeNull()
    expect(record.hear(closed(9, 'a'), listening)).toBeNull()
    expect(record.lastEventId()).toBe('e-9')
  })
})

describe('a malformed event', () => {
  const bad: [string, unknown][] = [
    ['task', 'no JSON'],
    ['task', '[]'],
    ['task', 'null'],
    ['task', {}],
    ['task', { task_id: '', state: 'closed', ver: 1 }],
    ['task', { task_id: 7, state: 'closed', ver: 1 }],
    ['task', { task_id: 'a', state: null, ver: 1 }],
    ['task', { task_id: 'a', state: 'closed', ver: '1' }],
    ['task', { task_id: 'a', state: 'closed', ver: -1 }],
    ['task', { task_id: 'a', state: 'closed', ver: 1.5 }],
    ['task', { task_id: 'a', state: 'closed', ver: 1, until: 'tomorrow' }],
    ['task', { task_id: 'a', state: 'closed', ver: 1, until: 1_700_000_000 }],
    ['task', { task_id: 'a', state: 'closed', ver: 1, until: '2026-13-01T00:00:00Z' }],
    ['task', { task_id: 'a', state: 'closed', ver: 1, until: '2026-01-01' }],
    ['task', { task_id: 'a', state: 'closed', ver: 1, until: null }],
    ['credential', { jti: '' }],
    ['credential', { jti: 'a', until: null }],
    ['key', {}],
    ['key', { kid: 4 }],
    ['tick', { seq: '7' }],
    ['tick', { seq: 7, at: 'now' }],
    ['tick', { seq: 7 }],
    ['snapshot', { tasks: {} }],
    ['snapshot', { keys: null }],
    ['snapshot', { credentials: undefined }],
    ['snapshot', { tasks: [{}] }],
    ['snapshot', { tasks: [null] }],
    ['snapshot', { credentials: ['a'] }],
    ['snapshot', { keys: [{ kid: '' }] }],
    ['snapshot', { at: 'now' }],
  ]

  test.each(bad)('%s %j is a fault', (type, data) => {
    const { record, connect, snapshot, tick, event, soon, at, freshness } = begin()
    const listening = connect()
    record.hear(snapshot(7), listening)
    record.hear(tick(7), listening)
    const rest = type === 'snapshot' ? { tasks: [], credentials: [], keys: [], seq: 8, at: at() } : {}
    const whole = typeof data === 'string' ? data : { until: soon(), ...rest, ...(data as object) }
    expect(record.hear(event(type, whole, type === 'tick' ? undefined : 'e-8'), listening)).toBe('malformed')
    expect(freshness.isFresh()).toBe(false)
  })

  test('a bad snapshot takes nothing away', () => {
    const { record, connect, snapshot, closed, isDead } = begin()
    const listening = connect()
    record.hear(snapshot(7), listening)
    record.hear(closed(8, 'a'), listening)
    record.hear(snapshot(9, { tasks: [{}] }), connect())
    expect(isDead('a')).toBe(true)
  })
})

describe('snapshots', () => {
  test('one replaces everything', () => {
    const { record, connect, snapshot, closed, soon, isDead } = begin()
    const listening = connect()
    record.hear(snapshot(7), listening)
    record.hear(closed(8, 'a'), listening)
    record.hear(snapshot(9, { tasks: [{ task_id: 'b', state: 'closed', ver: 1, until: soon() }] }), connect())
    expect([isDead('a'), isDead('b')]).toEqual([false, true])
  })

  test('one from before what is known brings nothing to life, and suspends nothing that was resumed', () => {
    const { record, connect, snapshot, closed, soon, isDead, dead } = begin()
    const listening = connect()
    const suspended = { state: 'suspended', ver: 1, until: soon() }
    record.hear(snapshot(7, { tasks: [{ task_id: 's', ...suspended }] }), listening)
    record.hear(closed(8, 'a'), listening)
    record.hear(closed(9, 's', { state: 'open' }), listening)
    record.hear(closed(10, 'v', { state: 'open', ver: 3 }), listening)
    const older = snapshot(7, {
      tasks: [
        { task_id: 's', ...suspended },
        { task_id: 'v', state: 'open', ver: 2, until: soon() },
        { task_id: 'x', ...suspended },
      ],
      credentials: [{ jti: 'c', until: soon() }],
      keys: [{ kid: 'w' }],
    })
    const again = connect()
    expect(record.hear(older, again)).toBeNull()
    expect([isDead('a'), isDead('s'), isDead('v', 2), isDead('v', 3), isDead('x')]).toEqual([
      true,
      false,
      true,
      false,
      true,
    ])
    expect(dead.causeOf({ kid: 'k', jti: 'c', tasks: [] })).toBe('credential_revoked')
    expect(dead.causeOf({ kid: 'w', jti: 'j', tasks: [] })).toBe('key_withdrawn')
    // What it leads to is told again, and changes nothing.
    expect(record.hear(closed(8, 'a'), again)).toBeNull()
    expect(record.hear(closed(9, 's', { state: 'open' }), again)).toBeNull()
    expect(record.hear(closed(10, 'v', { state: 'open', ver: 3 }), again)).toBeNull()
    expect([isDead('a'), isDead('s'), isDead('v', 3)]).toEqual([true, false, false])
  })

  test('one of another epoch replaces everything, whatever its number', () => {
    const { record, connect, snapshot, closed, isDead } = begin()
    const listening = connect()
    record.hear(snapshot(7), listening)
    record.hear(closed(8, 'a'), listening)
    expect(record.hear(snapshot(3, {}, 'f'), connect())).toBeNull()
    expect(isDead('a')).toBe(false)
    expect(record.lastEventId()).toBe('f-3')
  })

  test('an older one of the new epoch brings nothing to life either', () => {
    const { record, connect, snapshot, closed, isDead } = begin()
    record.hear(snapshot(700), connect())
    const listening = connect()
    record.hear(snapshot(3, {}, 'f'), listening)
    record.hear(closed(4, 'a', {}, 'f'), listening)
    expect(record.hear(snapshot(3, {}, 'f'), connect())).toBeNull()
    expect(isDead('a')).toBe(true)
  })

  test('until then what is dead stays dead, whatever the fault', () => {
    const { record, connect, snapshot, closed, isDead, freshness } = begin()
    const listening = connect()
    record.hear(snapshot(7), listening)
    record.hear(closed(8, 'a'), listening)
    record.hear(closed(9, 'b', {}, 'f'), listening)
    expect(freshness.isFresh()).toBe(false)
    expect(isDead('a')).toBe(true)
  })
})

describe('what is dead', () => {
  test.each([
    ['closed', 1, 1, 'task_closed'],
    ['suspended', 1, 1, 'task_suspended'],
    ['pending', 1, 1, 'task_closed'],
    ['unheard-of', 1, 9, 'task_closed'],
    ['open', 2, 1, 'task_changed'],
    ['open', 2, 2, null],
    ['open', 2, 3, null],
    ['closed', 2, 9, 'task_closed'],
  ])('a task %s at version %i kills a token of version %i: %s', (state, ver, held, cause) => {
    const { record, connect, snapshot, closed, dead } = begin()
    const listening = connect()
    record.hear(snapshot(7), listening)
    record.hear(closed(8, 'a', { state, ver }), listening)
    for (const tasks of [
      [{ id: 'a', ver: held }],
      [
        { id: 'child', ver: 1 },
        { id: 'root', ver: 1 },
        { id: 'a', ver: held },
      ],
    ])
      expect(dead.causeOf({ kid: 'k', jti: 'j', tasks })).toBe(cause)
    expect(dead.causeOf({ kid: 'k', jti: 'j', tasks: [{ id: 'other', ver: 1 }] })).toBeNull()
  })

  test('suspended and resumed is alive again; closed is final', () => {
    const { record, connect, snapshot, closed, isDead } = begin()
    const listening = connect()
    record.hear(snapshot(7), listening)
    record.hear(closed(8, 'a', { state: 'suspended' }), listening)
    expect(isDead('a')).toBe(true)
    record.hear(closed(9, 'a', { state: 'open' }), listening)
    expect(isDead('a')).toBe(false)
    record.hear(closed(10, 'a'), listening)
    record.hear(closed(11, 'a', { state: 'open' }), listening)
    expect(isDead('a')).toBe(true)
  })

  test('who watches is told what changed', () => {
    const { record, connect, snapshot, closed, event, soon, changed } = begin()
    const listening = connect()
    record.hear(snapshot(7), listening)
    record.hear(closed(8, 'a'), listening)
    record.hear(event('credential', { jti: 'c', until: soon() }, 'e-9'), listening)
    record.hear(event('key', { kid: 'w' }, 'e-10'), listening)
    expect(changed).toEqual(['everything', 'a', 'c', 'w'])
  })

  test('it is forgotten after `until`, by the database’s clock and no other', () => {
    const { record, connect, snapshot, closed, event, soon, tick, dead, time, freshness } = begin()
    const listening = connect()
    record.hear(snapshot(7), listening)
    record.hear(closed(8, 'a'), listening)
    record.hear(event('credential', { jti: 'c', until: soon() }, 'e-9'), listening)
    record.hear(event('key', { kid: 'w' }, 'e-10'), listening)
    time.setWall(86_400_000)
    record.hear(tick(10), listening)
    expect(dead.size()).toBe(3)
    // A wall clock set forward wears out what was known of the clocks; a new connection learns it.
    freshness.distrust()
    for (let seconds = 0; seconds < 130; seconds += 5) {
      time.pass(5_000)
      expect(record.hear(tick(10), listening)).toBeNull()
    }
    // The key stays.
    expect(dead.size()).toBe(1)
    expect(dead.isWithdrawn('w')).toBe(true)
  })

  test('a later event about the same task never makes it be forgotten sooner', () => {
    const { dead, time } = begin()
    const at = time.database()
    dead.task({ taskId: 'a', state: 'open', ver: 2, until: at + 100_000 })
    dead.task({ taskId: 'a', state: 'open', ver: 2, until: at + 1_000 })
    dead.forget(at + 70_000)
    expect(dead.causeOf({ kid: 'k', jti: 'j', tasks: [{ id: 'a', ver: 1 }] })).toBe('task_changed')
  })
})

test('events applied twice, or from an older snapshot in between, leave the same: property', () => {
  const state = fc.constantFrom('open', 'suspended', 'closed')
  const step = fc.record({ task: fc.nat(4), state, ver: fc.integer({ min: 1, max: 4 }) })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 25 }), fc.nat(25), (steps, cut) => {
      const world = begin()
      const { record, connect, snapshot, closed, dead } = world
      // As a task goes: versions grow, and closed is the end.
      const now = new Map<string, { state: string; ver: number }>()
      const history = steps.flatMap(({ task, state, ver }) => {
        const id = `task-${task}`
        const before = now.get(id)
        if (before?.state === 'closed') return []
        const after = { state, ver: Math.max(before?.ver ?? 1, ver) }
        now.set(id, after)
        return [{ id, ...after }]
      })
      const listening = connect()
      record.hear(snapshot(0), listening)
      history.forEach(({ id, ...task }, index) => {
        expect(record.hear(closed(index + 1, id, task), listening)).toBeNull()
      })
      const seen = () =>
        [0, 1, 2, 3, 4].flatMap(task =>
          [1, 2, 3, 4].map(ver => dead.causeOf({ kid: 'k', jti: 'j', tasks: [{ id: `task-${task}`, ver }] })),
        )
      const expected = seen()
      // The snapshot of some moment before, and everything since once more.
      const from = Math.min(cut, history.length)
      const then = new Map<string, object>()
      for (const { id, ...task } of history.slice(0, from)) then.set(id, task)
      const tasks = [...then].map(([task_id, task]) => ({ task_id, ...task, until: world.soon() }))
      const again = connect()
      expect(record.hear(snapshot(from, { tasks }), again)).toBeNull()
      history.slice(from).forEach(({ id, ...task }, index) => {
        expect(record.hear(closed(from + index + 1, id, task), again)).toBeNull()
      })
      expect(seen()).toEqual(expected)
    }),
    { numRuns: 300 },
  )
})

test('a hundred thousand dead tasks are looked up as quickly as one', () => {
  const { dead, time } = begin()
  for (let index = 0; index < 100_000; index++)
    dead.task({ taskId: randomUUID(), state: 'closed', ver: 1, until: time.database() + 1_000 })
  expect(dead.size()).toBe(100_000)
  dead.forget(time.database() + 120_000)
  expect(dead.size()).toBe(0)
})
