import fc from 'fast-check'
import { expect, test } from 'vitest'
import { parseDuration } from '../src/duration.ts'

const unit = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }

test('a whole number and a unit are read as milliseconds', () => {
  fc.assert(
    fc.property(fc.nat(36_500), fc.constantFrom('s', 'm', 'h', 'd'), (count, of) => {
      expect(parseDuration(`${count}${of}`)).toBe(count * unit[of])
    }),
  )
})

test('whatever is read is a whole number of seconds within a hundred years, and has one spelling', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.stringMatching(/^[-+ 0-9.]{0,14}[smhdSMHD]{0,2}\n?$/)), text => {
      const read = parseDuration(text)
      if (read === null) return
      expect(read % 1000).toBe(0)
      expect(read).toBeGreaterThanOrEqual(0)
      expect(read).toBeLessThanOrEqual(36_500 * unit.d)
      expect(text).toMatch(/^(0|[1-9]\d*)[smhd]$/)
    }),
  )
})

test.each([
  '',
  '5',
  'm',
  '05m',
  '5 m',
  ' 5m',
  '5m ',
  '5m\n',
  '-5m',
  '+5m',
  '1.5h',
  '1h30m',
  '5M',
  '5ms',
  '٥m',
  '36501d',
  '9999999999d',
  '99999999999999999999s',
])('refuses %j', text => {
  expect(parseDuration(text)).toBeNull()
})
