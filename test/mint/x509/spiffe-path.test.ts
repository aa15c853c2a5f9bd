import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseSpiffeId } from '../../../src/attest/spiffe-id.ts'
import { segmentOf, spiffeIdOf } from '../../../src/mint/x509/spiffe-path.ts'

const task = {
  id: '0199aabb-0000-7eee-8fff-001122334455',
  kind: 'ci-job',
  ref: 'acme%2Fapi/runs/7',
  principal: 'spiffe://prod.example/ci/deployer',
}
const idOf = (path: string, more: Partial<typeof task> = {}) =>
  spiffeIdOf({ trustDomain: 'hallpass.test', path }, { ...task, ...more })

/** Any text that JSON may bring and PostgreSQL may store, and whatever looks like an escape or a path. */
const anyText = fc.oneof(
  fc.string({ unit: 'grapheme', minLength: 1, maxLength: 40 }),
  fc.string({
    unit: fc.constantFrom('.', '_', '/', '%', '2', 'E', 'F', '5', '-', ':', 'é', '\0'),
    minLength: 1,
    maxLength: 6,
  }),
)

describe('a value as a segment of a SPIFFE ID', () => {
  it('is always one that a SPIFFE ID may have, and no dot segment', () => {
    fc.assert(
      fc.property(anyText, value => {
        const segment = segmentOf(value)
        expect(segment).toMatch(/^[A-Za-z0-9._-]+$/)
        expect(['.', '..']).not.toContain(segment)
      }),
      { numRuns: 2_000 },
    )
  })

  it('is another for every other value', () => {
    fc.assert(
      fc.property(anyText, anyText, (one, other) => {
        expect(segmentOf(one) === segmentOf(other)).toBe(one === other)
      }),
      {
        numRuns: 5_000,
        examples: [
          ['.', '_2E'],
          ['..', '_2E_2E'],
          ['.', '_2e'],
          ['a_', 'a_5F'],
          ['é', '_C3_A9'],
        ],
      },
    )
    // And to the letter: what it was can be read from it.
    const original = (segment: string) =>
      Buffer.from(
        segment.replace(
          /_([0-9A-F]{2})|./g,
          (text, hex: string | undefined) => hex ?? Buffer.from(text).toString('hex'),
        ),
        'hex',
      ).toString()
    fc.assert(
      fc.property(anyText, value => {
        expect(original(segmentOf(value))).toBe(value)
      }),
    )
  })
})

describe('the SPIFFE ID of a task', () => {
  it.each([
    ['/task/{task_id}', `/task/${task.id}`],
    ['/{kind}/{task_id}', `/ci-job/${task.id}`],
    ['/t/{ref}/{task_id}', `/t/acme_252Fapi_2Fruns_2F7/${task.id}`],
    ['/of/{principal}', '/of/spiffe_3A_2F_2Fprod.example_2Fci_2Fdeployer'],
    ['/v1.{kind}/p-{principal}', '/v1.ci-job/p-spiffe_3A_2F_2Fprod.example_2Fci_2Fdeployer'],
  ])('by %s', (path, expected) => {
    expect(idOf(path)).toBe(`spiffe://hallpass.test${expected}`)
  })

  it('is always valid, and tells tasks apart by each of their names', () => {
    const names = fc.record({ kind: anyText, ref: anyText, principal: anyText })
    fc.assert(
      fc.property(names, names, (one, other) => {
        const path = '/x/{kind}/{ref}/of-{principal}'
        const [first, second] = [idOf(path, one), idOf(path, other)]
        expect(parseSpiffeId(first)).not.toBe(null)
        const same = one.kind === other.kind && one.ref === other.ref && one.principal === other.principal
        expect(first === second).toBe(same)
      }),
      { numRuns: 1_000 },
    )
  })

  it('is refused where it is longer than 2,048 bytes, and not a byte before', () => {
    const rest = 'spiffe://hallpass.test/'.length
    expect(idOf('/{ref}', { ref: 'a'.repeat(2048 - rest) })).toHaveLength(2048)
    for (const ref of ['a'.repeat(2049 - rest), '/'.repeat(700)])
      expect(() => idOf('/{ref}', { ref })).toThrow(/too long/)
  })

  it('is refused for text that is none: half a surrogate pair', () => {
    for (const ref of ['\ud800', 'a\udc00b'])
      expect(() => idOf('/{ref}/{task_id}', { ref })).toThrow(/no place/)
  })
})
