import { newId } from '../ids.ts'
import type { DecisionRow } from '../store/decision-row.ts'
import type { Task } from '../store/task-record.ts'

/** The row of the broker's own decision to close a task that was due: nobody asked. */
export function ownDecision(task: Task, at: Date): DecisionRow {
  return {
    id: newId(),
    at,
    requestId: newId(),
    action: 'close',
    decision: 'allow',
    code: null,
    reason:
      task.closeReason === 'silent' ? 'the task was silent past its heartbeat' : 'the task’s deadline passed',
    principal: null,
    trust: null,
    taskId: task.id,
    taskVer: task.ver,
    jti: null,
    policyVersion: null,
    policies: [],
    asked: { outcome: task.closeReason },
    workload: null,
    context: task.context,
    attestation: null,
    address: null,
  }
}
