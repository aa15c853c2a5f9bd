import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Entry } from '../../../src/revoke/x509/entry.ts'
import { entryPages } from '../../../src/revoke/x509/pages.ts'

test('whatever is put and removed, and whenever it is looked at: what is together is what is there, but for what is good again', () => {
  // More than a page has.
  const jti = fc.nat({ max: 2_500 }).map(String)
  const many = fc.tuple(fc.nat({ max: 2_500 }), fc.nat({ max: 1_500 }))
  const move = fc.oneof(
    fc.record({ put: jti, reason: fc.constantFrom(5, 6, 8), of: fc.string({ minLength: 1, maxLength: 3 }) }),
    fc.record({ putMany: many }),
    fc.record({ remove: jti }),
    fc.record({ removeMany: many }),
    fc.constant({ look: true }),
  )
  fc.assert(
    fc.property(fc.array(move, { maxLength: 30 }), moves => {
      const pages = entryPages()
      const model = new Map<string, Entry>()
      const put = (id: string, text: string, reason: Entry['reason']) => {
        const entry = { der: Buffer.from(`<${id}${text}>`), reason, at: 0, changedAt: 0, expiresAt: 0 }
        model.set(id, entry)
        pages.put(id, entry)
      }
      const remove = (id: string) => {
        model.delete(id)
        pages.remove(id)
      }
      const mustAgree = () => {
        const text = Buffer.concat([...pages.complete()]).toString()
        const expected = [...model.values()]
          .filter(({ reason }) => reason !== 8)
          .map(({ der }) => der.toString())
        expect((text.match(/<[\s\S]*?>(?=<|$)/g) ?? []).sort()).toEqual(expected.sort())
      }
      for (const one of moves) {
        if ('put' in one) put(one.put, one.of.replace(/[<>]/g, '.'), one.reason as Entry['reason'])
        else if ('putMany' in one)
          for (let n = 0; n < one.putMany[1]; n++) put(`${one.putMany[0] + n}`, '', 5)
        else if ('remove' in one) remove(one.remove)
        else if ('removeMany' in one)
          for (let n = 0; n < one.removeMany[1]; n++) remove(`${one.removeMany[0] + n}`)
        else mustAgree()
      }
      mustAgree()
    }),
    { numRuns: 200 },
  )
})
