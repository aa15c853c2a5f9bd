import { describe, expect, test } from 'vitest'
import type { Court, Presented } from './court.ts'
import { acted, ends, withdrawAuthority } from './ends.ts'
import { expired, forged } from './forgeries.ts'

/** What a judge says of a certificate: null where it takes it, else why it does not. */
export type Verdict = string | null

export interface Judge {
  verdict(presented: Presented): Promise<Verdict>
  /** How it words its refusals. */
  says: {
    ended: RegExp
    forged: RegExp
    expired: RegExp
    /** null: it has the authorities from elsewhere, and accepts. */
    withoutChain: RegExp | null
    withdrawn: RegExp
  }
}

type Why = keyof Judge['says']

/** Milliseconds: each of several programs is started several times. */
const withPatience = { timeout: 120_000 }

/** What every judge must say, whoever it is. In the end the court's authority is withdrawn: nothing may come after it. */
export function judgeCertificates(court: () => Court, judges: Record<string, Judge>): void {
  const all = Object.entries(judges)

  /** Holds against it what each of them says; one after the other, as some of them have a server to configure. */
  async function judged(presented: Presented, why: Why | null): Promise<void> {
    for (const [name, { verdict, says }] of all) {
      const expected = why && says[why]
      const said = await verdict(presented)
      if (expected) expect(said, name).toMatch(expected)
      else expect(said, name).toBeNull()
    }
  }

  describe('a live certificate is accepted, and refused at once when', withPatience, () => {
    test.each(Object.entries(ends))('%s', async (_, story) => {
      const { certified, end } = await story(court())
      await judged(certified, null)
      const other = await court().certified('/agent/other')
      await end()
      await judged(certified, 'ended')
      // Nobody else's.
      await judged(other, null)
    })
  })

  test(
    'while its task is suspended it is refused, and accepted again when that is resumed',
    withPatience,
    async () => {
      const certified = await court().certified('/agent/judged')
      await acted(court(), certified.task, 'suspend')
      await judged(certified, 'ended')
      await acted(court(), certified.task, 'resume')
      await judged(certified, null)
      await acted(court(), certified.task, 'close')
      await judged(certified, 'ended')
    },
  )

  test(
    'one of another authority is refused, though it has every name and number of a live one',
    withPatience,
    async () => {
      const certified = await court().certified('/agent/a')
      const forgery = await forged(court(), certified)
      await judged(forgery, 'forged')
      await judged({ ...forgery, chain: certified.chain }, 'forged')
      await judged(certified, null)
    },
  )

  test('one that has expired is refused', withPatience, async () => {
    await judged(await expired(court()), 'expired')
  })

  test(
    'one without its chain is refused, where the authorities are not known already',
    withPatience,
    async () => {
      await judged({ ...(await court().certified('/agent/a')), chain: '' }, 'withoutChain')
    },
  )

  test('all that an authority signed is refused when that is withdrawn', withPatience, async () => {
    const certified = await court().certified('/agent/a')
    await judged(certified, null)
    await withdrawAuthority(court())
    await judged(certified, 'withdrawn')
  })
}
