import { at, textAt } from './json-path.ts'
import type { JsonValue } from './strict-json.ts'

export type KubernetesKind = 'pod' | 'job'

/** What of Kubernetes' objects can stand for a task; null for all others. */
export function kindOf(object: JsonValue): KubernetesKind | null {
  const kind = `${textAt(object, 'apiVersion')} ${textAt(object, 'kind')}`
  return kind === 'v1 Pod' ? 'pod' : kind === 'batch/v1 Job' ? 'job' : null
}

type Endings = Record<string, 'completed' | 'failed'>

const phases: Endings = Object.assign(Object.create(null), { Succeeded: 'completed', Failed: 'failed' })
const conditions: Endings = Object.assign(Object.create(null), { Complete: 'completed', Failed: 'failed' })

/**
 * How a pod or a job ended, by a phase or a condition that is final; null while it has not. One that is only marked for deletion still
 * runs, and a job whose failure is only decided still has pods.
 */
export function endingOf(object: JsonValue): 'completed' | 'failed' | null {
  const kind = kindOf(object)
  if (kind === 'pod') return phases[textAt(object, 'status.phase') ?? ''] ?? null
  if (kind !== 'job') return null
  const list = at(object, 'status.conditions')
  const final = (Array.isArray(list) ? list : []).find(
    condition => textAt(condition, 'status') === 'True' && (textAt(condition, 'type') ?? '') in conditions,
  )
  return conditions[textAt(final, 'type') ?? ''] ?? null
}
