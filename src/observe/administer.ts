import type { Clock } from '../clock.ts'
import type { Ask, Decision } from '../decide/decision.ts'
import { HallpassError } from '../errors.ts'
import type { DecisionRow } from '../store/decision-row.ts'
import type { Asker } from './asker.ts'
import { allowed, type Event, newEvent, refusalsLogged } from './record.ts'

export interface AdministerDeps {
  clock: Clock
  decide: (ask: Ask) => Decision
  writeDecision: (row: DecisionRow) => Promise<void>
}

/** Does what only those may who administer the broker. Throws `refused`. */
export function administer<T>(
  deps: AdministerDeps,
  asker: Asker,
  asked: Record<string, unknown>,
  work: (event: Event) => Promise<T>,
): Promise<T> {
  const event = newEvent(asker, 'administer', deps.clock(), asked)
  return refusalsLogged(event, deps.writeDecision, async () => {
    const { principal, address } = asker
    if (asker.token) throw new HallpassError('refused', 'A Hallpass token does not administer.')
    const decision = deps.decide({ action: 'administer', caller: principal, now: deps.clock(), ip: address })
    event.decisions.push(decision)
    if (!decision.allow) throw new HallpassError('refused', 'Policy does not allow to administer the broker.')
    return work(event)
  })
}

/** For what is only read: the row is written once it was read. */
export async function readAsAdministrator<T>(
  deps: AdministerDeps,
  asker: Asker,
  asked: Record<string, unknown>,
  read: () => Promise<T>,
): Promise<T> {
  return administer(deps, asker, asked, async event => {
    const answer = await read()
    await deps.writeDecision(allowed(event))
    return answer
  })
}
