import { randomBytes } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { cursorsFor } from '../../src/http/cursor.ts'
import { newId } from '../../src/ids.ts'
import { masterKeyFrom } from '../../src/secrets/master-key.ts'

const key = masterKeyFrom(randomBytes(32))
const search = { tasks: { principal: 'agent:victim' } }

describe('a cursor', () => {
  it('leads on in the same search of the same caller', () => {
    const id = newId()
    const cursors = cursorsFor(key, 'ci:me', search)
    expect(cursors.open(cursors.seal(id) ?? undefined)).toBe(id)
    expect(cursors.open(undefined)).toBeNull()
    expect(cursors.seal(null)).toBeNull()
  })

  it('tells nothing of the ID in it, which its reader may not be allowed to know', () => {
    const id = newId()
    const sealed = cursorsFor(key, 'ci:me', search).seal(id) ?? ''
    const plain = Buffer.from(sealed, 'base64url').toString('latin1')
    expect(plain).not.toContain(id.slice(0, 8))
    expect(sealed).toMatch(/^[A-Za-z0-9_-]{1,512}$/)
  })

  it.each([
    ['another caller', key, 'ci:you', search],
    ['another search', key, 'ci:me', { tasks: {} }],
    ['another broker', masterKeyFrom(randomBytes(32)), 'ci:me', search],
  ])('of %s is refused', (_, otherKey, caller, otherSearch) => {
    const sealed = cursorsFor(otherKey, caller, otherSearch).seal(newId()) ?? undefined
    expect(() => cursorsFor(key, 'ci:me', search).open(sealed)).toThrow('not one of this search')
  })

  it.each(['', 'AAAA', newId()])('that we did not make is refused: %s', text => {
    expect(() => cursorsFor(key, 'ci:me', search).open(text)).toThrow('not one of this search')
  })
})
