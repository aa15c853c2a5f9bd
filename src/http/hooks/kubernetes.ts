import type { Ended, Ending } from '../../task/ended.ts'
import type { Delivery } from './delivery.ts'
import { word } from './delivery.ts'
import { at, isJsonObject, type JsonObject, type JsonValue, present, textAt, wrongShape } from './payload.ts'
import type { Header } from './signature.ts'

/**
 * Jobs and pods of Kubernetes, as its API's watches give them (`{type, object}`), as CloudEvents, or bare; one, or several in an array.
 * An end is a phase or a condition that is final, or a deletion that was carried out: an object that is only marked for deletion
 * still runs. Throws `invalid`.
 */
export function readKubernetes(payload: JsonValue, header: Header): Delivery {
  const items = Array.isArray(payload) ? payload : [payload]
  const seen = items.map((item, index) => observed(item, Array.isArray(payload) ? `/${index}` : ''))
  const kinds = [...new Set(seen.flatMap(({ object }) => word(textAt(object, 'kind') ?? '') ?? []))]
  return {
    event: kinds.slice(0, 3).join(' '),
    id: word(header('ce-id')),
    ends: seen.flatMap(({ object, deleted }) => endOf(object, deleted)),
  }
}

interface Observed {
  object: JsonObject
  deleted: boolean
}

/**
 * What of CloudEvents is in headers (binary mode) is not looked at: nobody has signed it, and an event that says that a pod has changed
 * must not become one that says that it is gone.
 */
function observed(item: JsonValue, pointer: string): Observed {
  if (!isJsonObject(item)) throw wrongShape(pointer, 'must be an object')
  const isCloudEvent = textAt(item, 'specversion') !== null
  const member = isCloudEvent ? 'data' : 'object'
  if (!isCloudEvent && !Object.hasOwn(item, 'object')) return { object: item, deleted: false }
  const object = at(item, member)
  if (!isJsonObject(object)) throw wrongShape(`${pointer}/${member}`, 'must be an object')
  return { object, deleted: deletions.includes(textAt(item, 'type') ?? '') }
}

/** Of the API's watch, and of Knative's ApiServerSource. */
const deletions = ['DELETED', 'dev.knative.apiserver.resource.delete']

function endOf(object: JsonObject, deleted: boolean): Ended[] {
  const kind = `${textAt(object, 'apiVersion')} ${textAt(object, 'kind')}`
  if (kind === 'v1 Pod') return podEnd(object, deleted)
  return kind === 'batch/v1 Job' ? jobEnd(object, deleted) : []
}

const phases: Record<string, Ending> = Object.assign(Object.create(null), {
  Succeeded: 'completed',
  Failed: 'failed',
})

function podEnd(object: JsonObject, deleted: boolean): Ended[] {
  const ending = phases[textAt(object, 'status.phase') ?? ''] ?? (deleted ? 'cancelled' : null)
  if (ending === null) return []
  const job = listAt(object, 'metadata.ownerReferences').find(owner => textAt(owner, 'kind') === 'Job')
  const facts = {
    ...shared(object, 'spec'),
    'kubernetes.io.pod.name': textAt(object, 'metadata.name'),
    'kubernetes.io.pod.uid': textAt(object, 'metadata.uid'),
    'kubernetes.io.node.name': textAt(object, 'spec.nodeName'),
    'kubernetes.io.job.name': textAt(job, 'name'),
    'kubernetes.io.job.uid': textAt(job, 'uid'),
  }
  const own = ['kubernetes.io.pod.name', 'kubernetes.io.pod.uid', 'metadata.name', 'metadata.uid']
  return [{ what: 'pod', ending, facts: present(facts), own, holds: null, payload: object }]
}

const conditions: Record<string, Ending> = Object.assign(Object.create(null), {
  Complete: 'completed',
  Failed: 'failed',
})

function jobEnd(object: JsonObject, deleted: boolean): Ended[] {
  const final = listAt(object, 'status.conditions').find(
    condition => textAt(condition, 'status') === 'True' && (textAt(condition, 'type') ?? '') in conditions,
  )
  const ending = conditions[textAt(final, 'type') ?? ''] ?? (deleted ? 'cancelled' : null)
  if (ending === null) return []
  const facts = {
    ...shared(object, 'spec.template.spec'),
    'kubernetes.io.job.name': textAt(object, 'metadata.name'),
    'kubernetes.io.job.uid': textAt(object, 'metadata.uid'),
  }
  const own = ['kubernetes.io.job.name', 'kubernetes.io.job.uid', 'metadata.name', 'metadata.uid']
  return [{ what: 'job', ending, facts: present(facts), own, holds: null, payload: object }]
}

const shared = (object: JsonObject, spec: string): Record<string, string | null> => ({
  'kubernetes.io.namespace': textAt(object, 'metadata.namespace'),
  'kubernetes.io.serviceaccount.name': textAt(object, `${spec}.serviceAccountName`),
})

function listAt(object: JsonObject, path: string): JsonValue[] {
  const list = at(object, path)
  return Array.isArray(list) ? list : []
}
