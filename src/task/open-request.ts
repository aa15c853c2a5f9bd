import type { TrustSource } from '../config.ts'
import { HallpassError } from '../errors.ts'
import type { Asker } from '../observe/asker.ts'
import { contextMost } from './context.ts'
import type { TaskDeps } from './deps.ts'
import { jobOf } from './job.ts'
import { deadlineFault } from './life.ts'
import type { OpenRequest } from './open.ts'

/** The body of `POST /v1/tasks`, parsed. */
export interface OpenBody {
  kind?: string | undefined
  ref?: string | undefined
  purpose?: string | undefined
  context?: Record<string, string> | undefined
  bind?: string[] | undefined
  deadline?: Date | undefined
  /** Seconds. */
  heartbeatTimeout?: number | undefined
  parentId?: string | undefined
  /** The workload that the task is for: operators only. */
  principal?: string | undefined
}

/** What the caller asks to open, made whole: who it is for, and what its job's attestation adds. Throws `invalid` with each path. */
export function openRequest(deps: TaskDeps, asker: Asker, body: OpenBody): OpenRequest {
  const { owner, source } = ownerOf(deps, asker, body)
  const job = asker.principal.kind === 'workload' ? jobOf(asker.principal) : null
  const template = source.kind === 'oidc' ? source.task : null

  const kind = body.kind ?? template?.kind
  const ref = body.ref ?? job?.ref
  if (kind === undefined) throw invalid('/kind', 'is required')
  if (ref === undefined) throw invalid('/ref', 'is required')
  if (template && kind !== template.kind) throw invalid('/kind', `is ${template.kind} for this trust source`)
  if (job && ref !== job.ref) throw invalid('/ref', 'is another job’s than the attestation stands for')

  const context = { ...body.context, ...job?.context }
  for (const [key, value] of Object.entries(body.context ?? {}))
    if (job?.bind.includes(key) && value !== job.context[key])
      throw invalid(`/context/${pointer(key)}`, 'differs from what the attestation says')
  if (Object.keys(context).length > contextMost)
    throw invalid('/context', `has more than ${contextMost} members`)

  const deadline = body.deadline ?? null
  const now = deps.clock()
  if (deadline && deadline.getTime() <= now) throw deadlineFault('is past')
  if (deadline && deadline.getTime() > now + deps.tasks.deadlineMax)
    throw deadlineFault('is later than deadline_max allows')

  return {
    kind,
    ref,
    purpose: body.purpose ?? null,
    trust: source.name,
    principal: owner,
    templated: template !== null,
    context,
    bind: [...new Set([...(template?.bind ?? []), ...(body.bind ?? [])])],
    deadline,
    heartbeatTimeout: body.heartbeatTimeout ?? null,
    parentId: body.parentId ?? null,
  }
}

/** Who the task is for, and the trust source that such a principal comes from. */
function ownerOf(
  deps: TaskDeps,
  { principal }: Asker,
  body: OpenBody,
): { owner: string; source: TrustSource } {
  if (principal.kind === 'workload' && body.principal !== undefined && body.principal !== principal.id)
    throw invalid('/principal', 'is for operators')
  if (principal.kind === 'operator' && body.principal === undefined)
    throw invalid('/principal', 'is required of an operator')
  const owner = body.principal ?? principal.id
  const source = deps.trust.find(s => couldProve(s, owner))
  if (!source) throw invalid('/principal', 'is of no configured trust source')
  return { owner, source }
}

/** Whether attestations of this source can prove a workload of that ID (contract §2). */
function couldProve(source: TrustSource, id: string): boolean {
  if (source.kind === 'spiffe') return id.startsWith(`spiffe://${source.trustDomain}/`)
  return source.operators === null && id.startsWith(`${source.name}:`) && id.length > source.name.length + 1
}

const invalid = (path: string, message: string): HallpassError =>
  new HallpassError('invalid', 'The task cannot be opened so.', { paths: [{ path, message }] })

/** A member's name in a JSON Pointer (RFC 6901 §3). */
const pointer = (name: string): string => name.replaceAll('~', '~0').replaceAll('/', '~1')
