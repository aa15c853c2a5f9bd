import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { epochOf, idOf, positionOf } from '../../src/revoke/feed/position.ts'

const origin = { database: '16384', cluster: { system: '7400000000000000001', timeline: '00000001' } }
const uuid = '0b8f5a4c-1e77-4c3a-9d2f-019f1c526b1e'

describe('an id', () => {
  it('is read as it was written', () => {
    const epochs = fc.stringMatching(/^[0-9a-f]{16}$/)
    fc.assert(
      fc.property(epochs, fc.nat(999_999_999_999_999), (epoch, seq) => {
        expect(positionOf(idOf({ epoch, seq }))).toEqual({ epoch, seq })
      }),
    )
  })

  it('has one spelling: whatever else is read is none', () => {
    const near = fc
      .tuple(
        fc.stringMatching(/^[0-9a-fA-F]{14,18}$/),
        fc.constantFrom('-', '', '--', ' ', '_'),
        fc.string({ maxLength: 20 }),
      )
      .map(parts => parts.join(''))
    fc.assert(
      fc.property(fc.oneof(fc.string(), near), text => {
        const position = positionOf(text)
        if (position) expect(idOf(position)).toBe(text)
      }),
      { numRuns: 2_000 },
    )
    expect(positionOf(undefined)).toBeNull()
    expect(positionOf(`${'a'.repeat(16)}-1\n`)).toBeNull()
  })
})

describe('an epoch', () => {
  it.each([
    ['the epoch in the record', 'another', origin],
    ['the database', uuid, { ...origin, database: '16385' }],
    ['the cluster', uuid, { ...origin, cluster: { ...origin.cluster, system: '7400000000000000002' } }],
    ['the timeline', uuid, { ...origin, cluster: { ...origin.cluster, timeline: '00000002' } }],
    ['what is known of the cluster', uuid, { ...origin, cluster: null }],
  ])('is another with %s', (_, recorded, where) => {
    expect(epochOf(recorded, where)).not.toBe(epochOf(uuid, origin))
  })

  it('is the same for everybody who sees the same', () => {
    expect(epochOf(uuid, structuredClone(origin))).toBe(epochOf(uuid, origin))
    expect(epochOf(uuid, origin)).toMatch(/^[0-9a-f]{16}$/)
  })
})
