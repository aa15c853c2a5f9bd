import type { Ended, Ending } from '../../task/ended.ts'
import type { Delivery } from './delivery.ts'
import { word } from './delivery.ts'
import { at, idAt, type JsonValue, textAt, wrongShape } from './payload.ts'
import type { Header } from './signature.ts'

/**
 * GitLab's job and pipeline events ("Webhook events"). What they are is in the body, since the secret token vouches for no header.
 * Throws `invalid`.
 */
export function readGitlab(payload: JsonValue, header: Header): Delivery {
  const event = textAt(payload, 'object_kind') ?? ''
  const ends = event === 'build' ? job(payload) : event === 'pipeline' ? pipeline(payload) : []
  return { event: word(event) ?? '', id: word(header('webhook-id') ?? header('X-Gitlab-Event-UUID')), ends }
}

/**
 * A job that is retried gets another ID. Not so one that was `skipped`: it is taken up again when what it waited for is retried, and
 * has had no task so far.
 */
const endings: Record<string, Ending> = Object.assign(Object.create(null), {
  success: 'completed',
  failed: 'failed',
  canceled: 'cancelled',
})

const ownOfJob = ['job_id', 'build_id']

function job(payload: JsonValue): Ended[] {
  const ending = endings[textAt(payload, 'build_status') ?? '']
  if (ending === undefined) return []
  const facts = {
    ...project(payload, 'project_id'),
    pipeline_id: idAt(payload, 'pipeline_id'),
    job_id: needed(payload, 'build_id', '/build_id'),
    ref: branch(textAt(payload, 'ref')),
    sha: textAt(payload, 'sha'),
    environment: textAt(payload, 'environment.name'),
  }
  return [{ what: 'job', ending, facts, own: ownOfJob, holds: null, payload }]
}

/**
 * The pipeline, for names that stand for all of it, and each of its jobs that is over. It does not hold them as one that is over for
 * good: a job that is retried, or started by hand later, runs in the same pipeline.
 */
function pipeline(payload: JsonValue): Ended[] {
  const facts = {
    ...project(payload, 'project.id'),
    pipeline_id: needed(payload, 'object_attributes.id', '/object_attributes/id'),
    pipeline_source: textAt(payload, 'object_attributes.source'),
    ref: branch(textAt(payload, 'object_attributes.ref')),
    sha: textAt(payload, 'object_attributes.sha'),
  }
  const ending = endings[textAt(payload, 'object_attributes.status') ?? '']
  const own = ['pipeline_id', 'object_attributes.id']
  const whole = { what: 'pipeline', facts, own, holds: null, payload }
  return [...(ending === undefined ? [] : [{ ...whole, ending }]), ...jobsOf(payload, facts)]
}

function jobsOf(payload: JsonValue, facts: Record<string, string | null>): Ended[] {
  const builds = at(payload, 'builds') ?? []
  if (!Array.isArray(builds)) throw wrongShape('/builds', 'must be an array')
  return builds.flatMap((build, index): Ended[] => {
    const ending = endings[textAt(build, 'status') ?? '']
    if (ending === undefined) return []
    const own = {
      job_id: needed(build, 'id', `/builds/${index}/id`),
      environment: textAt(build, 'environment.name'),
    }
    return [{ what: 'job', ending, facts: { ...facts, ...own }, own: ownOfJob, holds: null, payload }]
  })
}

/** The path has been in job events since GitLab 16; the names of groups and projects, which always were, are none. */
function project(payload: JsonValue, id: string): Record<string, string | null> {
  const path = textAt(payload, 'project.path_with_namespace')
  return {
    project_id: idAt(payload, id),
    project_path: path,
    namespace_path: path?.split('/').slice(0, -1).join('/') || null,
  }
}

/** A merge request's job event tells the request's ref, where the ID token has that of the branch. */
const branch = (ref: string | null): string | null => (ref?.startsWith('refs/merge-requests/') ? null : ref)

function needed(value: JsonValue, path: string, pointer: string): string {
  const id = idAt(value, path)
  if (id === null) throw wrongShape(pointer, 'must be an ID')
  return id
}
