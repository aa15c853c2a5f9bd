import type { Ask, Decision } from './decision.ts'
import type { Names, Reads } from './reads.ts'
import { tasksOf } from './request.ts'

/** Decisions kept for each policy set, and the longest key that is worth keeping one under. */
const maxEntries = 4096
const maxKey = 2048

export interface Memo {
  get(key: string): Decision | undefined
  set(key: string, decision: Decision): void
}

/** The least recently used goes first. */
export function createMemo(): Memo {
  const kept = new Map<string, Decision>()
  return {
    get(key) {
      const decision = kept.get(key)
      if (decision !== undefined) {
        kept.delete(key)
        kept.set(key, decision)
      }
      return decision
    },
    set(key, decision) {
      kept.set(key, decision)
      if (kept.size > maxEntries) for (const oldest of kept.keys()) return void kept.delete(oldest)
    },
  }
}

/**
 * Everything that the decision can rest on, spelled so that no two asks share it (JSON of strings, numbers and nulls in
 * fixed places). Null where it may not be remembered: what the set reads changes by itself, or was not understood.
 */
export function memoKey(ask: Ask, reads: Reads): string | null {
  if (reads.everything || reads.context.has('now') || reads.context.has('ip')) return null
  if (reads.taskAttributes.has('age_seconds')) return null
  const { caller } = ask
  const parts: unknown[] = [ask.action, caller.kind, caller.id, read(caller.tags, reads.callerTags)]
  if (reads.source) parts.push(caller.trust)
  if (reads.hierarchies.has('principal')) parts.push(caller.groups)
  for (const [place, task] of tasksOf(ask)) {
    parts.push(read(task.context, reads.taskTags))
    if (place === 'resource' ? reads.resourceId : reads.taskId) parts.push(task.id)
    if (reads.hierarchies.has(place)) parts.push(task.path)
    if (reads.taskAttributes.has('kind') || ask.action === 'open') parts.push(task.kind)
    if (reads.taskAttributes.has('state')) parts.push(task.state)
    if (reads.taskAttributes.has('owner')) parts.push(task.owner)
    if (reads.taskAttributes.has('subject')) parts.push(task.subject)
    if (reads.taskAttributes.has('depth')) parts.push(task.depth)
  }
  if (ask.action === 'mint') parts.push(ask.scope)
  if ((ask.action === 'mint' || ask.action === 'introspect') && reads.context.has('audience')) {
    parts.push(ask.audience)
  }
  if (ask.action === 'mint' && reads.context.has('credential')) parts.push(ask.credential)
  if (ask.action === 'mint' && reads.context.has('ttl')) parts.push(ask.ttl)
  if (ask.action === 'mint' && reads.context.has('usages')) parts.push(ask.usages.toSorted())
  if (ask.action === 'mint' && reads.context.has('dns_names')) parts.push(ask.dnsNames.toSorted())
  const key = JSON.stringify(parts)
  return key.length > maxKey ? null : key
}

const read = (tags: Record<string, string>, names: Names): unknown =>
  names === 'all'
    ? Object.entries(tags)
    : Array.from(names, name => (Object.hasOwn(tags, name) ? tags[name] : null))
