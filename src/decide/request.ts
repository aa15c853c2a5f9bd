import { isIP, SocketAddress } from 'node:net'
import type { CedarValueJson, Context, EntityJson, EntityUidJson } from '@cedar-policy/cedar-wasm/nodejs'
import type { Ask, TaskView } from './decision.ts'
import type { Names, Reads } from './reads.ts'
import { brokerId, entityTypeOf } from './vocabulary.ts'

/** A question in Cedar's own form. */
export interface CedarRequest {
  principal: EntityUidJson
  action: EntityUidJson
  resource: EntityUidJson
  context: Context
  entities: EntityJson[]
}

/**
 * The ask as Cedar takes it, with nothing in it that the policies do not read: what is sent is what a decision costs.
 * Throws a RangeError for a time or an address that is none.
 */
export function buildRequest(ask: Ask, reads: Reads): CedarRequest {
  const principal = uid(entityTypeOf[ask.caller.kind], ask.caller.id)
  const resource = resourceOf(ask)
  const entities: EntityJson[] = [
    {
      uid: principal,
      attrs: reads.everything || reads.source ? { source: ask.caller.trust } : {},
      tags: picked(ask.caller.tags, reads.callerTags),
      parents:
        reads.everything || reads.hierarchies.has('principal')
          ? [...new Set(ask.caller.groups)].map(name => uid('Group', name))
          : [],
    },
  ]
  if (ask.action === 'mint' && (reads.everything || reads.hierarchies.has('resource'))) {
    entities.push({
      uid: resource,
      attrs: {},
      parents: scopePrefixes(ask.scope).map(name => uid('Scope', name)),
    })
  }
  for (const [place, task] of tasksOf(ask))
    if (readsTask(reads, place)) entities.push(taskEntity(task, place, ask.now, reads))
  return { principal, action: uid('Action', ask.action), resource, context: contextOf(ask, reads), entities }
}

/** `deploy:eu:prod` is in `deploy:eu`, which is in `deploy`. */
export function scopePrefixes(scope: string): string[] {
  const parts = scope.split(':')
  return parts.map((_, count) => parts.slice(0, count).join(':')).filter(prefix => prefix !== '')
}

const uid = (type: string, id: string): { type: string; id: string } => ({ type, id })

function resourceOf(ask: Ask): EntityUidJson {
  switch (ask.action) {
    case 'open':
      return uid('TaskKind', ask.task.kind)
    case 'mint':
      return uid('Scope', ask.scope)
    case 'administer':
      return uid('Broker', brokerId)
    case 'open_child':
      return uid('Task', ask.parent.id)
    default:
      return uid('Task', ask.task.id)
  }
}

/** Where a request has a task: as what is acted on, or in its context. */
type Place = 'resource' | 'task'

/** The tasks of a question, each in its place: two where a child is to be opened, the parent as the resource. */
export function tasksOf(ask: Ask): [Place, TaskView][] {
  switch (ask.action) {
    case 'administer':
      return []
    case 'open':
    case 'mint':
      return [['task', ask.task]]
    case 'open_child':
      return [
        ['resource', ask.parent],
        ['task', ask.task],
      ]
    default:
      return [['resource', ask.task]]
  }
}

const readsTask = (reads: Reads, place: Place): boolean =>
  reads.everything ||
  reads.hierarchies.has(place) ||
  reads.taskAttributes.size > 0 ||
  reads.taskTags === 'all' ||
  reads.taskTags.size > 0

function taskEntity(task: TaskView, place: Place, now: number, reads: Reads): EntityJson {
  const attributes: Record<string, CedarValueJson> = {
    kind: task.kind,
    state: task.state,
    owner: { __entity: uid('Workload', task.owner) },
    subject: task.subject,
    depth: task.depth,
    age_seconds: ageSeconds(task, now),
  }
  return {
    uid: uid('Task', task.id),
    attrs: reads.everything ? attributes : picked(attributes, reads.taskAttributes),
    tags: picked(task.context, reads.taskTags),
    // All of them, so that what is in between need not be told.
    parents: reads.everything || reads.hierarchies.has(place) ? task.path.map(id => uid('Task', id)) : [],
  }
}

/** Whole seconds; a clock that went back does not make a task younger than new. */
const ageSeconds = (task: TaskView, now: number): number =>
  Math.max(0, Math.floor((now - task.openedAt) / 1000))

function contextOf(ask: Ask, reads: Reads): Context {
  const wants = (member: string): boolean => reads.everything || reads.context.has(member)
  const context: Context = {}
  if (wants('now')) context.now = extension('datetime', new Date(ask.now).toISOString())
  if (wants('ip') && ask.ip !== null) context.ip = extension('ip', plainAddress(ask.ip))
  if (wants('task')) {
    for (const [place, task] of tasksOf(ask))
      if (place === 'task') context.task = { __entity: uid('Task', task.id) }
  }
  if ((ask.action === 'mint' || ask.action === 'introspect') && wants('audience'))
    context.audience = ask.audience
  if (ask.action === 'mint') {
    if (wants('credential')) context.credential = ask.credential
    if (wants('ttl')) context.ttl = ask.ttl
    if (wants('usages')) context.usages = ask.usages
    if (wants('dns_names')) context.dns_names = ask.dnsNames
  }
  return context
}

const extension = (fn: string, arg: string): CedarValueJson => ({ __extn: { fn, arg } })

/**
 * One address in the spelling that policies compare with: an IPv4 address that arrives inside IPv6 (RFC 4291 §2.5.5.2) is
 * the IPv4 address, and a zone is dropped. Anything else that is no address, a range above all, is refused.
 */
function plainAddress(address: string): string {
  const [bare = ''] = address.split('%')
  const family = isIP(bare)
  if (family === 4) return bare
  if (family !== 6) throw new RangeError('not an address')
  const spelled = new SocketAddress({ address: bare, family: 'ipv6' }).address
  return /^::ffff:(\d+\.\d+\.\d+\.\d+)$/.exec(spelled)?.[1] ?? spelled
}

/** Only what is there and is read. From entries, so that a claim named `__proto__` stays a claim. */
function picked<V>(from: Record<string, V>, names: Names): Record<string, V> {
  if (names === 'all') return Object.fromEntries(Object.entries(from))
  const entries: [string, V][] = []
  for (const name of names) if (Object.hasOwn(from, name)) entries.push([name, from[name]!])
  return Object.fromEntries(entries)
}
