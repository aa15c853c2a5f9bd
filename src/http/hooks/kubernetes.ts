import { endingOf, kindOf } from '../../kubernetes-end.ts'
import type { Ended } from '../../task/ended.ts'
import type { Delivery } from './delivery.ts'
import { word } from './delivery.ts'
import { at, isJsonObject, type JsonObject, type JsonValue, textAt, wrongShape } from './payload.ts'
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
  const kind = kindOf(object)
  const ending = endingOf(object) ?? (deleted ? 'cancelled' : null)
  if (kind === null || ending === null) return []
  const { facts, own } = kind === 'pod' ? pod(object) : job(object)
  return [
    {
      what: kind,
      ending,
      facts,
      own: [...own, 'metadata.name', 'metadata.uid'],
      holds: null,
      payload: object,
    },
  ]
}

interface Told {
  facts: Record<string, string | null>
  own: string[]
}

function pod(object: JsonObject): Told {
  const owners = at(object, 'metadata.ownerReferences')
  const job = (Array.isArray(owners) ? owners : []).find(owner => textAt(owner, 'kind') === 'Job')
  const facts = {
    ...shared(object, 'spec'),
    'kubernetes.io.pod.name': textAt(object, 'metadata.name'),
    'kubernetes.io.pod.uid': textAt(object, 'metadata.uid'),
    'kubernetes.io.node.name': textAt(object, 'spec.nodeName'),
    'kubernetes.io.job.name': textAt(job, 'name'),
    'kubernetes.io.job.uid': textAt(job, 'uid'),
  }
  return { facts, own: ['kubernetes.io.pod.name', 'kubernetes.io.pod.uid'] }
}

function job(object: JsonObject): Told {
  const facts = {
    ...shared(object, 'spec.template.spec'),
    'kubernetes.io.job.name': textAt(object, 'metadata.name'),
    'kubernetes.io.job.uid': textAt(object, 'metadata.uid'),
  }
  return { facts, own: ['kubernetes.io.job.name', 'kubernetes.io.job.uid'] }
}

const shared = (object: JsonObject, spec: string): Record<string, string | null> => ({
  'kubernetes.io.namespace': textAt(object, 'metadata.namespace'),
  'kubernetes.io.serviceaccount.name': textAt(object, `${spec}.serviceAccountName`),
})
