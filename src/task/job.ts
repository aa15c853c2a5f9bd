import type { Principal } from '../attest/principal.ts'
import type { TaskTemplate } from '../config.ts'
import { HallpassError } from '../errors.ts'
import type { Task } from '../store/task-record.ts'

/** The one job that an attestation stands for (contract §4, which task). */
export interface Job {
  kind: string
  ref: string
  bind: string[]
  /** The bound claims, as attested; an absent claim is absent here. */
  context: Record<string, string>
}

/** Characters that `encodeURIComponent` leaves alone and that RFC 3986 §2.3 does not count as unreserved. */
const notUnreserved = /[!'()*]/g

/**
 * The job of an attestation, or null where its source has no template. Throws `malformed` when the attestation lacks a claim that
 * the job's name is made of.
 */
export function jobOf(principal: Principal): Job | null {
  const { template, tags } = principal
  if (!template) return null
  return {
    kind: template.kind,
    ref: renderRef(template, tags),
    bind: template.bind,
    context: attested(template, tags),
  }
}

/** Each value is percent-encoded, so that no value can pass for a part of the template and no two jobs share a name. */
export function renderRef(template: Pick<TaskTemplate, 'ref'>, tags: Record<string, string>): string {
  return template.ref.replace(/\{([^{}]+)\}/g, (_, claim: string) => {
    const value = Object.hasOwn(tags, claim) ? tags[claim] : undefined
    if (value === undefined || value === '')
      throw new HallpassError('malformed', `The attestation lacks the claim ${claim}, which names its job.`)
    return encodeURIComponent(value).replace(
      notUnreserved,
      c => `%${c.charCodeAt(0).toString(16).toUpperCase()}`,
    )
  })
}

function attested(template: TaskTemplate, tags: Record<string, string>): Record<string, string> {
  return Object.fromEntries(
    template.bind.flatMap(key => (Object.hasOwn(tags, key) ? [[key, tags[key] as string]] : [])),
  )
}

/** The bound claims in which the attestation differs from the record, an absent one included (contract §6, drift). */
export function drift(job: Job, task: Task): string[] {
  return job.bind.filter(key => valueAt(job.context, key) !== valueAt(task.context, key))
}

const valueAt = (record: Record<string, string>, key: string): string | undefined =>
  Object.hasOwn(record, key) ? record[key] : undefined
