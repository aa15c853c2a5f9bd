import type { Clock } from '../clock.ts'
import type { Config, Hook } from '../config.ts'
import { newId } from '../ids.ts'
import type { Database } from '../store/database.ts'
import type { DecisionRow } from '../store/decision-row.ts'
import { writeDecisions } from '../store/decisions.ts'
import { findOpenByRef, findOpenUnder, holdRun, type Name, rememberEnd, runKey } from '../store/names.ts'
import { appendRevocations } from '../store/revocations.ts'
import type { Task } from '../store/task-record.ts'
import { nameKey } from '../store/tasks.ts'
import { inTree } from '../store/tree.ts'
import { closed, writeChange } from './end.ts'
import type { EndedName } from './ended-name.ts'
import { isTemplated } from './runs.ts'

export interface AuthorityDeps {
  db: Database
  clock: Clock
  trust: Config['trust']
}

/** An authentic delivery of an authority's, and where it came from: what the log is to say of it. */
export interface Report {
  hook: Pick<Hook, 'name' | 'trust'>
  event: string
  /** What the authority calls this delivery. */
  delivery: string | null
  requestId: string
  address: string | null
}

/** What came of a report. */
export interface Ends {
  /** Tasks that it closed, without those that closed with them. */
  ended: number
  /** Names that nobody has had, whose end is remembered. */
  remembered: number
  /** Names that had ended before, or have no open task and are not remembered. */
  unchanged: number
}

/**
 * Ends what an authority says is over. Nobody is asked: who holds the hook's secret may end the tasks that its configuration names, and
 * do nothing else. Late, doubled or out of order, it changes nothing that has ended. Each task ends in a transaction of its own;
 * when one fails, what came before it stays ended, and the delivery can be repeated.
 */
export async function endByAuthority(deps: AuthorityDeps, report: Report, names: EndedName[]): Promise<Ends> {
  const ends: Ends = { ended: 0, remembered: 0, unchanged: 0 }
  for (const name of names) {
    const remembered = await remember(deps, report, name)
    const ids = await openTasks(deps, report, name, remembered)
    let ended = 0
    for (const id of ids) if (await end(deps, report, name, id)) ended++
    ends.ended += ended
    if (remembered === 'now') ends.remembered++
    else if (ended === 0) ends.unchanged++
  }
  return ends
}

/** `now` where nobody had the name, and nobody can have it any more; whose it is otherwise; null for what is not remembered. */
async function remember(deps: AuthorityDeps, report: Report, name: EndedName): Promise<Name | 'now' | null> {
  const { trust } = report.hook
  if (trust === null || !isTemplated(deps.trust, trust)) return null
  const at = new Date(deps.clock())
  return deps.db.transaction(async tx => {
    const key =
      'prefix' in name
        ? runKey(trust, name.prefix)
        : nameKey({ trust, principal: '', ref: name.ref, templated: true })
    if ('prefix' in name) await holdRun(tx, key)
    const had = await rememberEnd(tx, key, at)
    if (had) return had
    await writeDecisions(tx, [decisionRow(report, name, null, at)])
    return 'now'
  })
}

/** Once its end is remembered, nothing is opened under the name any more: what is found then is all there is. */
async function openTasks(
  { db }: AuthorityDeps,
  { hook: { trust } }: Report,
  name: EndedName,
  remembered: Name | 'now' | null,
): Promise<string[]> {
  if ('prefix' in name) return trust === null ? [] : findOpenUnder(db, { trust, prefix: name.prefix })
  if (remembered === null) return findOpenByRef(db, { trust, ref: name.ref })
  return typeof remembered === 'object' ? [remembered.taskId] : []
}

/** False where it has ended already. */
function end(deps: AuthorityDeps, report: Report, name: EndedName, id: string): Promise<boolean> {
  const at = new Date(deps.clock())
  return inTree(
    deps.db,
    id,
    async (tx, task) => {
      if (!task || task.state === 'closed') return false
      const ended = closed(task, task.deadline <= at ? 'expired' : name.ending, at)
      const revocations = await writeChange(tx, task, ended, at)
      await writeDecisions(tx, [decisionRow(report, name, ended, at)])
      await appendRevocations(tx, revocations)
      return true
    },
    { isOrder: true },
  )
}

/** Of a `ref` in the log: it can be as long as the authority likes. */
const refMost = 1024

function decisionRow(report: Report, name: EndedName, task: Task | null, at: Date): DecisionRow {
  const { hook, event, delivery } = report
  const ref = 'prefix' in name ? `${name.prefix}…` : name.ref
  return {
    id: newId(),
    at,
    requestId: report.requestId,
    action: 'close',
    decision: 'allow',
    code: null,
    reason: `the authority ${hook.name} reported that the ${name.what} ended: ${name.ending}`,
    principal: null,
    trust: task?.trust ?? hook.trust,
    taskId: task?.id ?? null,
    taskVer: task?.ver ?? null,
    jti: null,
    policyVersion: null,
    policies: [],
    asked: { hook: hook.name, event, delivery, outcome: name.ending, ref: ref.slice(0, refMost) },
    workload: null,
    context: task?.context ?? null,
    attestation: null,
    address: report.address,
  }
}
