import fc from 'fast-check'
import { expect, it } from 'vitest'
import { createRing, type Ring } from '../../src/revoke/feed/ring.ts'

const frameOf = (seq: number, length: number) => {
  const bytes = Buffer.from(`${seq}:`.padEnd(length, 'x'))
  return { seq, bytes: { anonymous: bytes, authenticated: Buffer.concat([bytes, Buffer.from('!')]) } }
}

/** What a reader gets who has everything up to this number. */
function readAll(
  ring: Ring,
  from: number,
  view: 'anonymous' | 'authenticated',
): { bytes: string; seq: number } {
  let bytes = ''
  let seq = from
  for (let chunk = ring.after(seq, view); chunk; chunk = ring.after(seq, view)) {
    expect(chunk.seq).toBeGreaterThan(seq)
    bytes += chunk.bytes.toString()
    seq = chunk.seq
  }
  return { bytes, seq }
}

it('hands on exactly what came after any number that it holds, whatever the gaps, and holds what its size says', () => {
  const steps = fc.array(
    fc.record({ gap: fc.constantFrom(1, 1, 1, 2, 7), length: fc.integer({ min: 12, max: 3_000 }) }),
    { maxLength: 120 },
  )
  const sizes = fc.record({
    frames: fc.integer({ min: 1, max: 40 }),
    bytes: fc.integer({ min: 100, max: 60_000 }),
  })
  fc.assert(
    fc.property(steps, sizes, fc.nat(20), (given, size, start) => {
      const ring = createRing(size)
      ring.reset(start)
      const all: ReturnType<typeof frameOf>[] = []
      for (const { gap, length } of given) {
        const frame = frameOf((all.at(-1)?.seq ?? start) + gap, length)
        ring.append(frame)
        all.push(frame)
        const held = all.filter(one => ring.holds(one.seq - 1))
        const weight = held.reduce(
          (sum, { bytes }) => sum + bytes.anonymous.length + bytes.authenticated.length,
          0,
        )
        expect(held.length).toBeLessThanOrEqual(size.frames)
        expect(weight).toBeLessThanOrEqual(size.bytes)
      }
      const end = all.at(-1)?.seq ?? start
      expect(ring.end()).toBe(end)
      for (let from = start; from <= end; from++) {
        if (!ring.holds(from)) {
          expect(ring.after(from, 'anonymous')).toBeNull()
          continue
        }
        for (const view of ['anonymous', 'authenticated'] as const) {
          const after = all.filter(({ seq }) => seq > from)
          const { bytes, seq } = readAll(ring, from, view)
          expect(bytes).toBe(after.map(one => one.bytes[view].toString()).join(''))
          expect(seq).toBe(after.at(-1)?.seq ?? from)
        }
      }
      // What is not there is not held: nothing that was dropped is between what is held and what is not.
      const dropped = all.filter(({ seq }) => !ring.holds(seq - 1))
      expect(all.slice(0, dropped.length)).toEqual(dropped)
    }),
    { numRuns: 60 },
  )
})

it('gives those who are at the same place the same bytes, and no more of them at a time than it says', () => {
  const ring = createRing({ frames: 1_000, bytes: 10_000_000 })
  ring.reset(0)
  for (let seq = 1; seq <= 200; seq++) ring.append(frameOf(seq, 400))
  const chunk = ring.after(0, 'anonymous')
  expect(ring.after(0, 'anonymous')?.bytes).toBe(chunk?.bytes)
  expect(chunk?.bytes.length).toBeLessThanOrEqual(16 * 1024)
  ring.append(frameOf(201, 400))
  // The last event alone is not copied at all.
  expect(ring.after(200, 'anonymous')?.bytes).toBe(ring.after(200, 'anonymous')?.bytes)
})

it('holds nothing of another history', () => {
  const ring = createRing({ frames: 10, bytes: 10_000 })
  ring.reset(0)
  ring.append(frameOf(1, 20))
  ring.append(frameOf(2, 20))
  expect(ring.after(0, 'anonymous')).not.toBeNull()
  ring.reset(5)
  expect([ring.holds(2), ring.holds(4), ring.holds(5), ring.end()]).toEqual([false, false, true, 5])
  expect(ring.after(0, 'anonymous')).toBeNull()
  expect(ring.after(5, 'anonymous')).toBeNull()
})
