import { afterEach, it } from 'vitest'
import { databaseAway } from '../support/database-away.ts'

let ends: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const end of ends.reverse()) await end()
  ends = []
})

it('invariant 5: while the database does not answer, every door says 503 and when to come back', () =>
  databaseAway('freeze', ends))

it('invariant 5: a way to the database that is cut again and again is no more than 503', async () => {
  for (let round = 0; round < 20; round++) await databaseAway('cut', ends)
})
