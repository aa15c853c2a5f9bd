import type { Principal } from '../attest/principal.ts'
import type { TaskView } from '../decide/decision.ts'
import type { Asker } from '../observe/asker.ts'
import type { Task } from '../store/task-record.ts'
import { renderRef } from './job.ts'

/** The task as policy sees it when this caller asks. */
export function viewOf(task: Task, asker: Asker): TaskView {
  return {
    id: task.id,
    kind: task.kind,
    state: task.state,
    context: task.context,
    subject: task.subject,
    owner: ownerFor(task, asker),
    depth: task.ancestors.length,
    path: task.ancestors.map(({ id }) => id),
    openedAt: task.openedAt.getTime(),
  }
}

/** What names a task and its owner. */
export type Owned = Pick<Task, 'id' | 'trust' | 'ref' | 'templated' | 'principal'>

/** The owner as policy sees it when this caller asks. */
export const ownerFor = (task: Owned, asker: Pick<Asker, 'principal' | 'token'>): string =>
  standsForOwner(task, asker) ? task.principal : nobody(task)

/**
 * Whether the caller may stand for the task's owner, if its ID is the owner's. Jobs of one workflow share their ID, so where the
 * source has a template the attestation must be of the very job; a source that has gained or lost its template since the task
 * was opened can stand for nobody.
 */
export function standsForOwner(
  task: Owned,
  { principal, token }: Pick<Asker, 'principal' | 'token'>,
): boolean {
  if (token) return token.taskId === task.id
  if (principal.kind === 'operator') return true
  if (task.templated !== (principal.template !== null)) return false
  return task.trust === principal.trust && (!principal.template || task.ref === ownRef(principal))
}

function ownRef(principal: Principal): string | null {
  try {
    return principal.template && renderRef(principal.template, principal.tags)
  } catch {
    return null
  }
}

/** No principal has this ID: a trust source's name begins with a letter. */
const nobody = (task: Owned): string => `#another-job-of ${task.principal}`
