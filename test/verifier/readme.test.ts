import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { refusalCodes } from '../../src/verifier/refusal.ts'

test('the README of the package names every reason, and no other', () => {
  const text = readFileSync(join(import.meta.dirname, '../../src/verifier/README.md'), 'utf8')
  const table = text.slice(text.indexOf('## Reasons'), text.indexOf('## Limits'))
  const named = [...table.matchAll(/^\|.*?\|/gm)].flatMap(([row]) =>
    [...row.matchAll(/`([a-z_]+)`/g)].map(([, code]) => code),
  )
  expect(named.sort()).toEqual([...refusalCodes].sort())
})
