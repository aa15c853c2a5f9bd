import { HallpassError } from '../errors.ts'
import type { Asker } from '../observe/asker.ts'
import type { Task } from '../store/task-record.ts'
import { findTask, findTaskByName } from '../store/tasks.ts'
import type { TaskDeps } from './deps.ts'
import { drift, type Job, jobOf } from './job.ts'
import { openTask } from './open.ts'

export interface Wanted {
  taskId: string | null
  taskVer: number | null
}

/**
 * The task that the caller may mint for (contract §4, which task): its job's, opened if it never was, or the one it names, if that is
 * its own. Throws `malformed`, `task_unknown`, `task_closed`, `task_suspended`, `task_changed` or `context_drift`.
 * `seen` is told of the task as soon as it is known to be the caller's, for the log.
 */
export async function taskForMint(
  deps: TaskDeps,
  asker: Asker,
  wanted: Wanted,
  seen: (task: Task) => void,
): Promise<Task> {
  const job = jobOf(asker.principal)
  const task = job
    ? await taskOfJob(deps, asker, job, wanted.taskId)
    : await taskNamed(deps, asker, wanted.taskId)
  seen(task)
  if (task.state === 'closed' || task.deadline.getTime() <= deps.clock())
    throw new HallpassError('task_closed', 'The task is closed.')
  if (task.state === 'suspended') throw new HallpassError('task_suspended', 'The task is suspended.')
  if (wanted.taskVer !== null && wanted.taskVer !== task.ver)
    throw new HallpassError('task_changed', 'The task’s context has changed since that task_ver.')
  if (job) mustAgree(job, task)
  return task
}

async function taskOfJob(deps: TaskDeps, asker: Asker, job: Job, taskId: string | null): Promise<Task> {
  const { trust, id: principal } = asker.principal
  const found = await findTaskByName(deps.db, { trust, principal, ref: job.ref, templated: true })
  if (found === 'ended') {
    if (taskId !== null) throw unknown()
    throw new HallpassError('task_closed', 'The task that stood for this job is closed.')
  }
  if (found && (found.principal !== principal || (taskId !== null && taskId !== found.id))) throw unknown()
  if (found) return found
  if (taskId !== null) throw unknown()
  const { task } = await openTask(deps, asker, {
    ...job,
    trust,
    principal,
    templated: true,
    purpose: null,
    deadline: null,
    heartbeatTimeout: null,
  })
  return task
}

async function taskNamed({ db }: TaskDeps, { principal }: Asker, taskId: string | null): Promise<Task> {
  if (taskId === null)
    throw new HallpassError('malformed', 'task_id is required: the attestation names no job.')
  const task = await findTask(db, taskId)
  if (!task || task.templated || task.principal !== principal.id || task.trust !== principal.trust)
    throw unknown()
  return task
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
