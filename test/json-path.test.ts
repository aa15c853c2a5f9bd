import { expect, test } from 'vitest'
import { at, textAt } from '../src/json-path.ts'

test('a path leads through members, and through nothing that JavaScript’s objects inherit', () => {
  expect(at({ a: { b: [1] } }, 'a.b')).toEqual([1])
  for (const path of [
    'a.b.0',
    'a.b.length',
    'a.c',
    'constructor',
    'toString',
    '__proto__',
    'a.__proto__',
    '',
  ])
    expect(at({ a: { b: [1] } }, path)).toBeUndefined()
  expect(at({ '': { '': 'x' } }, '.')).toBe('x')
})

test('what is no scalar, or empty, is no text', () => {
  expect(['s', 0, false, 1.5].map(a => textAt({ a }, 'a'))).toEqual(['s', '0', 'false', '1.5'])
  for (const a of ['', null, [], {}, ['s']]) expect(textAt({ a }, 'a')).toBeNull()
})
