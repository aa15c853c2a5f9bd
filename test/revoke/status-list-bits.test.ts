import fc from 'fast-check'
import { expect, test } from 'vitest'
import { killAll, newBits, place, type StatusType } from '../../src/revoke/status-list/bits.ts'

/** As they come from the database. */
const placesOf = (indexes: number[]): Buffer => {
  const places = Buffer.alloc(indexes.length * 4)
  for (const [n, index] of indexes.entries()) places.writeUInt32BE(index, n * 4)
  return places
}

test('the bits of the standard’s example are those of the standard (Token Status List, Compressed Byte Array)', () => {
  const statuses = [1, 2, 0, 3, 0, 1, 0, 1, 1, 2, 3, 3]
  const bits = newBits(statuses.length)
  for (const [index, status] of statuses.entries()) place(bits, placesOf([index]), status as StatusType)
  expect(Buffer.from(bits).toString('hex')).toBe('c944f9')
})

test('each place has what it was given last, and no other place is touched', () => {
  const size = 1_000
  const change = fc.record({
    indexes: fc.array(fc.nat({ max: size - 1 }), { maxLength: 20 }),
    status: fc.constantFrom<StatusType>(0, 1, 2),
  })
  fc.assert(
    fc.property(fc.array(change, { maxLength: 50 }), changes => {
      const bits = newBits(size)
      const expected = Array.from({ length: size }, () => 0)
      for (const { indexes, status } of changes) {
        const differs = indexes.some(index => expected[index] !== status)
        expect(place(bits, placesOf(indexes), status)).toBe(differs)
        for (const index of indexes) expected[index] = status
      }
      expect(Array.from(expected, (_, n) => Math.floor((bits[n >> 2] as number) / 4 ** (n % 4)) % 4)).toEqual(
        expected,
      )
    }),
  )
})

test('what is killed as a whole is invalid everywhere', () => {
  const bits = newBits(8)
  place(bits, placesOf([1, 5]), 2)
  killAll(bits)
  expect([...bits]).toEqual([0b01010101, 0b01010101])
})
