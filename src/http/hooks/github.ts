import { type Ended, type Ending, githubRun } from '../../task/ended.ts'
import type { Delivery } from './delivery.ts'
import { word } from './delivery.ts'
import { idAt, type JsonValue, objectAt, textAt, wrongShape } from './payload.ts'
import type { Header } from './signature.ts'

/**
 * GitHub's `workflow_job` and `workflow_run` ("Webhook events and payloads"). The header says which event it is, the signed body has to
 * agree. Throws `invalid`.
 */
export function readGithub(payload: JsonValue, header: Header): Delivery {
  const event = word(header('X-GitHub-Event')) ?? ''
  const ends = event === 'workflow_job' ? job(payload) : event === 'workflow_run' ? run(payload) : []
  return { event, id: word(header('X-GitHub-Delivery')), ends }
}

function job(payload: JsonValue): Ended[] {
  if (!isCompleted(payload, 'workflow_job')) return []
  const facts = {
    ...repository(payload),
    run_id: idAt(payload, 'workflow_job.run_id'),
    run_attempt: idAt(payload, 'workflow_job.run_attempt'),
    // The ID of a job is that of its check run.
    check_run_id: needed(payload, 'workflow_job.id'),
    sha: textAt(payload, 'workflow_job.head_sha'),
    workflow: textAt(payload, 'workflow_job.workflow_name'),
    environment: textAt(payload, 'deployment.environment'),
  }
  const own = ['check_run_id', 'workflow_job.id']
  return [ended('job', payload, { facts, own, holds: null })]
}

function run(payload: JsonValue): Ended[] {
  if (!isCompleted(payload, 'workflow_run')) return []
  const facts = {
    ...repository(payload),
    run_id: needed(payload, 'workflow_run.id'),
    run_attempt: needed(payload, 'workflow_run.run_attempt'),
    run_number: idAt(payload, 'workflow_run.run_number'),
    event_name: textAt(payload, 'workflow_run.event'),
    sha: textAt(payload, 'workflow_run.head_sha'),
    workflow: textAt(payload, 'workflow.name'),
  }
  const own = ['run_id', 'workflow_run.id']
  return [ended('run', payload, { facts, own, holds: githubRun })]
}

/** Other events hold a run too, and other actions tell of one that goes on. */
function isCompleted(payload: JsonValue, member: 'workflow_job' | 'workflow_run'): boolean {
  if (!objectAt(payload, member)) throw wrongShape(`/${member}`, 'must be an object')
  const status = textAt(payload, `${member}.status`) ?? 'completed'
  return textAt(payload, 'action') === 'completed' && status === 'completed'
}

const repository = (payload: JsonValue): Record<string, string | null> => ({
  repository: textAt(payload, 'repository.full_name'),
  repository_id: idAt(payload, 'repository.id'),
  repository_owner: textAt(payload, 'repository.owner.login'),
  repository_owner_id: idAt(payload, 'repository.owner.id'),
  enterprise: textAt(payload, 'enterprise.slug'),
  enterprise_id: idAt(payload, 'enterprise.id'),
})

function ended(
  what: 'job' | 'run',
  payload: JsonValue,
  { facts, ...rest }: Pick<Ended, 'own' | 'holds'> & { facts: Record<string, string | null> },
): Ended {
  const conclusion = textAt(payload, `workflow_${what}.conclusion`)
  return { what, ending: endings[conclusion ?? ''] ?? 'failed', facts, payload, ...rest }
}

const endings: Record<string, Ending> = Object.assign(Object.create(null), {
  success: 'completed',
  cancelled: 'cancelled',
  skipped: 'cancelled',
})

function needed(payload: JsonValue, path: string): string {
  const id = idAt(payload, path)
  if (id === null) throw wrongShape(`/${path.replaceAll('.', '/')}`, 'must be an ID')
  return id
}
