import type { Decision } from '../decide/decision.ts'
import { HallpassError, publicCode } from '../errors.ts'
import { newId } from '../ids.ts'
import type { DecisionRow } from '../store/decision-row.ts'
import type { Task } from '../store/task-record.ts'
import type { Asker } from './asker.ts'

/** What becomes known of a call while it advances; at its end it is one row of the decision log. */
export interface Event {
  id: string
  at: Date
  asker: Asker
  action: string
  /** What was asked, without anything secret. */
  asked: Record<string, unknown>
  task: Task | null
  jti: string | null
  /** Of each question that was put to policy. */
  decisions: Decision[]
}

export function newEvent(asker: Asker, action: string, now: number, asked: Record<string, unknown>): Event {
  return { id: newId(), at: new Date(now), asker, action, asked, task: null, jti: null, decisions: [] }
}

export const allowed = (event: Event): DecisionRow => row(event, 'allow', null, null)

/** The row of a refusal. The reason is the cause's, where there is one that says more than the caller may know. */
export function denied(event: Event, error: HallpassError): DecisionRow {
  const refused = event.decisions.find(decision => !decision.allow)
  const cause = error.cause instanceof Error ? error.cause.message : null
  return row(event, 'deny', publicCode(error.code), refused?.reason ?? cause ?? error.message)
}

/**
 * Does the work, and writes a refusal's row before the refusal is answered (invariant 4). What is not a refusal, such as a database
 * that is away, passes: there is nothing to write it with.
 */
export async function refusalsLogged<T>(
  event: Event,
  write: (row: DecisionRow) => Promise<void>,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (!(error instanceof HallpassError) || error.code === 'unavailable' || error.code === 'internal')
      throw error
    // A story within this one has written it.
    if (error.decisionId !== undefined) throw error
    await write(denied(event, error))
    throw new HallpassError(error.code, error.message, {
      cause: error.cause,
      decisionId: event.id,
      ...(error.paths && { paths: error.paths }),
      ...(error.retryAfter !== undefined && { retryAfter: error.retryAfter }),
    })
  }
}

function row(
  event: Event,
  decision: 'allow' | 'deny',
  code: string | null,
  reason: string | null,
): DecisionRow {
  const { asker, task } = event
  const { principal } = asker
  return {
    id: event.id,
    at: event.at,
    requestId: asker.requestId,
    action: event.action,
    decision,
    code,
    reason: reason?.slice(0, 2048) ?? null,
    principal: principal.id,
    trust: principal.trust,
    taskId: task?.id ?? null,
    taskVer: task?.ver ?? null,
    jti: event.jti,
    policyVersion: event.decisions[0]?.version ?? null,
    policies: [
      ...new Set(event.decisions.flatMap(d => (decision === 'allow' || !d.allow ? d.policies : []))),
    ],
    asked: event.asked,
    workload: { tags: principal.tags, groups: principal.groups },
    context: task?.context ?? null,
    attestation: principal.attestation.sha256,
    address: asker.address,
  }
}
