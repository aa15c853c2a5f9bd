import { HallpassError } from '../errors.ts'
import type { Asker } from '../observe/asker.ts'
import type { Found, TaskMemory } from '../store/task-memory.ts'
import type { Task } from '../store/task-record.ts'
import type { TaskDeps } from './deps.ts'
import { isDue } from './due.ts'
import { drift, type Job, jobOf } from './job.ts'
import { openTask } from './open.ts'

export interface ForMintDeps extends TaskDeps {
  memory: TaskMemory
}

export interface Wanted {
  taskId: string | null
  taskVer: number | null
}

/**
 * The task that the caller may mint for (contract §4, which task): its job's, opened if it never was, or the one it names, if that is
 * its own. Throws `malformed`, `task_unknown`, `task_closed`, `task_suspended`, `task_changed` or `context_drift`.
 * Answers from memory unless `fresh`; `seen` is told of the task as soon as it is known to be the caller's, before anything that can
 * change about it is looked at.
 */
export async function taskForMint(
  deps: ForMintDeps,
  asker: Asker,
  wanted: Wanted,
  fresh: boolean,
  seen: (found: Found<Task>) => void,
): Promise<Task> {
  const job = jobOf(asker.principal)
  const found = job
    ? await taskOfJob(deps, asker, job, wanted.taskId, fresh)
    : await taskNamed(deps, asker, wanted.taskId, fresh)
  const { task } = found
  seen(found)
  if (task.state === 'closed' || isDue(task, deps.clock()))
    throw new HallpassError('task_closed', 'The task is closed.')
  if (task.state === 'suspended') throw new HallpassError('task_suspended', 'The task is suspended.')
  if (task.ancestors.some(({ state }) => state !== 'open'))
    throw new HallpassError('task_suspended', 'A task above it is suspended.')
  if (wanted.taskVer !== null && wanted.taskVer !== task.ver)
    throw new HallpassError('task_changed', 'The task’s context has changed since that task_ver.')
  if (job) mustAgree(job, task)
  return task
}

async function taskOfJob(
  deps: ForMintDeps,
  asker: Asker,
  job: Job,
  taskId: string | null,
  fresh: boolean,
): Promise<Found<Task>> {
  const { trust, id: principal } = asker.principal
  const name = { trust, principal, ref: job.ref, templated: true }
  const { task, recalled } = await deps.memory.byName(name, fresh)
  if (task === 'ended' && taskId === null)
    throw new HallpassError('task_closed', 'The task that stood for this job is closed.')
  if (task === 'ended' || (task && (task.principal !== principal || (taskId !== null && taskId !== task.id))))
    throw unknown()
  if (task) return { task, recalled }
  if (taskId !== null) throw unknown()
  const request = {
    purpose: null,
    deadline: null,
    heartbeatTimeout: null,
    parentId: null,
    ...job,
    trust,
    principal,
    templated: true,
  }
  const opened = await openTask(deps, asker, request, { isNew: task === null && !recalled })
  return { task: opened.task, recalled: false }
}

async function taskNamed(
  { memory }: ForMintDeps,
  { principal }: Asker,
  taskId: string | null,
  fresh: boolean,
): Promise<Found<Task>> {
  if (taskId === null)
    throw new HallpassError('malformed', 'task_id is required: the attestation names no job.')
  const { task, recalled } = await memory.byId(taskId, fresh)
  if (!task || task.templated || task.principal !== principal.id || task.trust !== principal.trust)
    throw unknown()
  return { task, recalled }
}

function mustAgree(job: Job, task: Task): void {
  const keys = drift(job, task)
  if (keys.length > 0)
    throw new HallpassError(
      'context_drift',
      `The attestation differs from the task’s context in ${keys.join(', ')}.`,
    )
}

const unknown = (): HallpassError =>
  new HallpassError('task_unknown', 'There is no such task of the caller’s.')
