import { HallpassError } from '../errors.ts'
import { newId } from '../ids.ts'
import type { Asker } from '../observe/asker.ts'
import { allowed, type Event, newEvent, refusalsLogged } from '../observe/record.ts'
import type { Task } from '../store/task-record.ts'
import { authorize, circumstances } from './authorize.ts'
import type { TaskDeps } from './deps.ts'
import { closeIfDue, isDue } from './due.ts'
import { viewOf } from './view.ts'

/** A task as it is to be opened. */
export interface OpenRequest {
  kind: string
  ref: string
  purpose: string | null
  trust: string
  principal: string
  templated: boolean
  context: Record<string, string>
  bind: string[]
  /** null: `deadline_default` from now. */
  deadline: Date | null
  /** Seconds. */
  heartbeatTimeout: number | null
}

/**
 * Opens a task, or answers the one that is open under that name already. Throws `task_closed` where the name stood for a job that is
 * over, `task_unknown` where it is another principal's, `refused` where policy does not allow it.
 */
export async function openTask(
  deps: TaskDeps,
  asker: Asker,
  request: OpenRequest,
  { isNew = false } = {},
): Promise<{ task: Task; created: boolean }> {
  const event = newEvent(asker, 'open', deps.clock(), {
    kind: request.kind,
    ref: request.ref,
    purpose: request.purpose,
    principal: request.principal,
    bind: request.bind,
    deadline: request.deadline,
    heartbeat_timeout: request.heartbeatTimeout,
  })
  return refusalsLogged(event, deps.writeDecision, async () => {
    if (asker.token)
      throw new HallpassError('refused', 'A Hallpass token opens no task: an attestation does.')
    const task = newTask(deps, request, event.at)
    event.task = task
    // Before the name is looked up: who may not open a task learns nothing of names.
    mayOpen(deps, event, task)

    const found = isNew ? null : await findUndue(deps, request)
    if (found) return { task: await known(deps, event, found, request), created: false }
    if (await insert(deps, event, task)) return { task, created: true }
    const first = await findUndue(deps, request)
    if (!first)
      throw new HallpassError('unavailable', 'The task was closed while it was being opened.', {
        retryAfter: 1,
      })
    return { task: await known(deps, event, first, request), created: false }
  })
}

function mayOpen(deps: TaskDeps, event: Event, task: Task): void {
  const decision = deps.decide({
    ...circumstances(deps, event.asker),
    action: 'open',
    task: { ...viewOf(task, event.asker), owner: task.principal },
  })
  event.decisions.push(decision)
  if (!decision.allow)
    throw new HallpassError('refused', `Policy does not allow to open a task of kind ${task.kind}.`)
}

/** The task of that name. One that is past its time holds the name no longer than it takes to close it. */
async function findUndue(
  { db, clock, findByName }: TaskDeps,
  request: OpenRequest,
): Promise<Task | 'ended' | null> {
  const found = await findByName(request)
  if (!found || found === 'ended' || found.state === 'closed' || !isDue(found, clock())) return found
  await closeIfDue(db, found.id, clock())
  return findByName(request)
}

/** False where another request was first with the name: then nothing is written. */
async function insert(deps: TaskDeps, event: Event, task: Task): Promise<boolean> {
  const { principal, requestId } = event.asker
  const { reuse, useKey: key, acceptableUntil } = principal.attestation
  const opened = await deps.open({
    task,
    use: reuse === 'once' ? { key, requestId, acceptableUntil: new Date(acceptableUntil) } : null,
    decision: allowed(event),
  })
  if (opened === 'reused') throw new HallpassError('attestation_reused', 'The attestation was used before.')
  return opened === 'opened'
}

async function known(
  deps: TaskDeps,
  event: Event,
  found: Task | 'ended',
  request: OpenRequest,
): Promise<Task> {
  if (found === 'ended') throw new HallpassError('task_closed', 'The task that stood for this job is closed.')
  event.task = found
  if (found.principal !== request.principal)
    throw new HallpassError('task_unknown', 'The task of that name is another principal’s.')
  // A workload is the owner here; an operator may have no right to see what others opened.
  if (event.asker.principal.kind === 'operator') authorize(deps, event, found, 'read')
  if (found.state === 'closed')
    throw new HallpassError('task_closed', 'The task that stood for this job is closed.')
  await deps.writeDecision(allowed(event))
  return found
}

function newTask({ tasks }: TaskDeps, request: OpenRequest, now: Date): Task {
  return {
    id: newId(),
    trust: request.trust,
    kind: request.kind,
    ref: request.ref,
    templated: request.templated,
    purpose: request.purpose,
    principal: request.principal,
    subject: request.principal,
    state: 'open',
    closeReason: null,
    context: request.context,
    bind: request.bind,
    ver: 1,
    rev: 1,
    openedAt: now,
    deadline: request.deadline ?? new Date(now.getTime() + tasks.deadlineDefault),
    heartbeatTimeout: request.heartbeatTimeout,
    lastHeartbeatAt: null,
    closedAt: null,
  }
}
