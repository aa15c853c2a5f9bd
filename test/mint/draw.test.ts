import fc from 'fast-check'
import { expect, test } from 'vitest'
import { drawFrom } from '../../src/mint/draw.ts'

const all = (size: number): number[] => {
  const draw = drawFrom(size)
  return Array.from({ length: size }, () => draw.next())
}

test('each number is drawn once, and none is left out, for any size', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 5_000 }), size => {
      expect(all(size).sort((a, b) => a - b)).toEqual(Array.from({ length: size }, (_, n) => n))
    }),
  )
})

test('it is so for a whole list, of a million, too', () => {
  const size = 2 ** 20
  const draw = drawFrom(size)
  const seen = new Uint8Array(size)
  for (let n = 0; n < size; n++) {
    const number = draw.next()
    if (seen[number] !== 0) throw new Error(`${number} was drawn twice`)
    seen[number] = 1
  }
  expect(draw.left()).toBe(0)
  expect(() => draw.next()).toThrow()
})

test('the order is another each time, and every order of three comes up', () => {
  expect(all(1_000)).not.toEqual(all(1_000))
  // Each is missing from 600 with a probability of 10^-47.
  const orders = new Set(Array.from({ length: 600 }, () => all(3).join('')))
  expect([...orders].sort()).toEqual(['012', '021', '102', '120', '201', '210'])
})

test('what is drawn one after the other lies far apart', () => {
  const draw = drawFrom(2 ** 20)
  const drawn = Array.from({ length: 1_001 }, () => draw.next())
  const near = drawn.slice(1).filter((number, n) => Math.abs(number - (drawn[n] as number)) <= 16)
  // Of 1,000 pairs 0.03 are as near as that by chance; six or more with a probability of 10^-12.
  expect(near.length).toBeLessThan(6)
  for (const quarter of [0, 1, 2, 3])
    expect(drawn.some(number => Math.floor(number / 2 ** 18) === quarter)).toBe(true)
})
