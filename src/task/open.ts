import { HallpassError } from '../errors.ts'
import { newId } from '../ids.ts'
import type { Asker } from '../observe/asker.ts'
import { allowed, type Event, newEvent, refusalsLogged } from '../observe/record.ts'
import type { Task } from '../store/task-record.ts'
import { authorize, circumstances } from './authorize.ts'
import { mustNotBeBlocked } from './blocked.ts'
import type { TaskDeps } from './deps.ts'
import { closeIfDue, isDue } from './due.ts'
import { deadlineFault } from './life.ts'
import { ancestorOf, fullTree, mayOpenChild, mustBearChild, readParent } from './open-child.ts'
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
  /** The task that it is to end with; null for one that stands alone. */
  parentId: string | null
}

/** How often it is decided again because what it rested on changed meanwhile. */
const attemptsMost = 8

/**
 * Opens a task, or answers the one that is open under that name already. Throws `task_closed` where the name stood for a job that is
 * over, `task_unknown` where it is another principal's, `refused` where policy does not allow it, `blocked` where its principal gets
 * nothing new; with a parent also `not_found`, `task_closed`, `task_suspended` and `invalid` of the parent.
 */
export async function openTask(
  deps: TaskDeps,
  asker: Asker,
  request: OpenRequest,
  { isNew = false } = {},
): Promise<{ task: Task; created: boolean }> {
  const event = newEvent(asker, request.parentId === null ? 'open' : 'open_child', deps.clock(), {
    kind: request.kind,
    ref: request.ref,
    purpose: request.purpose,
    principal: request.principal,
    bind: request.bind,
    deadline: request.deadline,
    heartbeat_timeout: request.heartbeatTimeout,
    ...(request.parentId !== null && { parent_id: request.parentId }),
  })
  return refusalsLogged(event, deps.writeDecision, async () => {
    if (asker.token)
      throw new HallpassError('refused', 'A Hallpass token opens no task: an attestation does.')
    for (let attempt = 1; attempt <= attemptsMost; attempt++) {
      event.decisions = []
      const generation = deps.blocks.generation()
      // Before the name is looked up: who may not open a task learns nothing of names.
      const task = await allowedTask(deps, event, request)

      const found = isNew && attempt === 1 ? null : await findUndue(deps, request)
      if (found) return { task: await known(deps, event, found, request), created: false }
      const opened = await insert(deps, event, task, generation)
      if (opened === 'opened') return { task, created: true }
      // Another was first with the name, or the blocks or the tree have changed.
      if (opened === 'stale') await deps.blocks.reload()
    }
    throw new HallpassError('unavailable', 'What the task rests on keeps changing.', { retryAfter: 1 })
  })
}

/** The task as it would be, once policy allows it and nothing blocks its principal. */
async function allowedTask(deps: TaskDeps, event: Event, request: OpenRequest): Promise<Task> {
  const parent = request.parentId === null ? null : await readParent(deps, event, request.parentId)
  const task = newTask(deps, request, parent, event.at)
  event.task = task
  if (parent) mayOpenChild(deps, event, parent, task)
  else mayOpen(deps, event, task)
  await mustNotBeBlocked(deps.blocks, task)
  if (parent) mustBearChild(deps, parent)
  if (parent && task.deadline > parent.deadline) throw deadlineFault('is later than the parent’s')
  return task
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

/**
 * Throws `attestation_reused`, `task_closed` for a job whose run is over, and `invalid` below a root that has too many below it. Unless it
 * answers `opened`, nothing was written.
 */
async function insert(
  deps: TaskDeps,
  event: Event,
  task: Task,
  generation: string,
): Promise<'opened' | 'taken' | 'stale'> {
  const { principal, requestId } = event.asker
  const { reuse, useKey: key, acceptableUntil } = principal.attestation
  const opened = await deps.open({
    task,
    generation,
    runs: deps.runsOf(task),
    use: reuse === 'once' ? { key, requestId, acceptableUntil: new Date(acceptableUntil) } : null,
    decision: allowed(event),
  })
  if (opened === 'reused') throw new HallpassError('attestation_reused', 'The attestation was used before.')
  if (opened === 'full') throw fullTree()
  if (opened === 'ended') throw new HallpassError('task_closed', 'The run that the job is part of is over.')
  return opened
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
  if (request.parentId !== null && found.parentId !== request.parentId)
    throw new HallpassError('wrong_state', 'The task that is open under that name has another parent.')
  await deps.writeDecision(allowed(event))
  return found
}

function newTask({ tasks }: TaskDeps, request: OpenRequest, parent: Task | null, now: Date): Task {
  const id = newId()
  const latest = now.getTime() + tasks.deadlineDefault
  return {
    id,
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
    // Never later than the parent's.
    deadline:
      request.deadline ?? new Date(Math.min(latest, parent?.deadline.getTime() ?? Number.POSITIVE_INFINITY)),
    heartbeatTimeout: request.heartbeatTimeout,
    lastHeartbeatAt: null,
    closedAt: null,
    parentId: parent?.id ?? null,
    rootId: parent?.rootId ?? id,
    ancestors: parent ? [...parent.ancestors, ancestorOf(parent)] : [],
  }
}
