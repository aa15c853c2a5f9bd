import type { Clock } from '../../clock.ts'
import { HallpassError } from '../../errors.ts'
import type { Asker } from '../../observe/asker.ts'
import { allowed, newEvent, refusalsLogged } from '../../observe/record.ts'
import type { DecisionRow } from '../../store/decision-row.ts'

/**
 * Lets somebody follow who proved who they are: policy has no say in what is public, but a Hallpass token is good for its own task and
 * nothing more (contract §3). Throws `refused`.
 */
export function admitFollower(
  deps: { clock: Clock; writeDecision: (row: DecisionRow) => Promise<void> },
  asker: Asker,
): Promise<void> {
  const event = newEvent(asker, 'follow', deps.clock(), {})
  return refusalsLogged(event, deps.writeDecision, async () => {
    if (asker.token) throw new HallpassError('refused', 'A Hallpass token does not follow the feed.')
    await deps.writeDecision(allowed(event))
  })
}
