import { expect, it } from 'vitest'
import { isLive } from '../../src/revoke/live.ts'
import type { Credential } from '../../src/store/credentials.ts'
import { later, newTask, now } from '../support/stored-tasks.ts'

const root = newTask('root')
const task = newTask('leaf', newTask('middle', root))
const credential: Credential = {
  jti: 'j',
  taskId: task.id,
  taskVer: 1,
  type: 'jwt',
  scope: 'a',
  audience: ['b'],
  kid: 'k',
  issuedAt: now,
  expiresAt: later(300),
  revokedAt: null,
  pathVers: [1, 1],
  keyWithdrawn: false,
}
const live = (more: Partial<Credential>, path = task.ancestors) =>
  isLive({ credential: { ...credential, ...more }, task: { ...task, ancestors: path } }, now.getTime())

it('a credential that was minted on another path than its task has is not live', () => {
  expect(live({})).toBe(true)
  // As where the row of one above was deleted, or a credential was written before there were trees.
  for (const pathVers of [[], [1], [1, 1, 1]]) expect(live({ pathVers })).toBe(false)
  expect(live({}, task.ancestors.slice(1))).toBe(false)
  expect(live({}, [])).toBe(false)
})

it('of a key that was withdrawn, or revoked itself, or at its end, it is not live either', () => {
  expect(live({ keyWithdrawn: true })).toBe(false)
  expect(live({ revokedAt: now })).toBe(false)
  expect(live({ expiresAt: now })).toBe(false)
})

it('a version of a task above that is later than the credential’s kills it; an earlier one there cannot be', () => {
  for (const place of [0, 1]) {
    const path = task.ancestors.map((above, n) => (n === place ? { ...above, ver: 2 } : above))
    expect(live({}, path)).toBe(false)
    expect(live({ pathVers: [2, 2] }, path)).toBe(true)
    for (const state of ['suspended', 'closed'] as const)
      expect(
        live(
          {},
          task.ancestors.map((above, n) => (n === place ? { ...above, state } : above)),
        ),
      ).toBe(false)
  }
})
