import { HallpassError } from '../errors.ts'
import type { CompiledPolicies } from './compile.ts'
import type { Ask, Decision } from './decision.ts'
import { memoKey } from './memo.ts'
import { buildRequest, tasksOf } from './request.ts'
import { actions, bootstrapMay, bootstrapPolicy } from './vocabulary.ts'

/** Parts of a scope. Each is an entity's parent, spelled out: more would make one scope cost as much as many. */
const maxScopeDepth = 32

/**
 * May they? Pure in all that can be seen: the same policies and the same ask give the same decision. Throws nothing:
 * whatever goes wrong is a refusal, with its reason for the log.
 */
export function decide(compiled: CompiledPolicies, ask: Ask): Decision {
  // 1. What no policy is asked about.
  if (bootstrapMay(ask)) return decision(compiled, { allow: true, policies: [bootstrapPolicy] })
  const refusal = refusalBefore(ask)
  if (refusal !== null) return refused(compiled, refusal)

  // 2. What was decided before, under everything that the policies read.
  const reads = compiled.reads.get(ask.action)
  if (reads === undefined) return refused(compiled, notAsked)
  const key = memoKey(ask, reads)
  const known = key === null ? undefined : compiled.memo.get(key)
  if (known !== undefined) return { ...known, policies: [...known.policies] }

  // 3. Ask Cedar.
  let answer: ReturnType<CompiledPolicies['engine']['evaluate']>
  try {
    answer = compiled.engine.evaluate(ask.action, buildRequest(ask, reads))
  } catch {
    // Not remembered, and without what Cedar said: it quotes the request.
    return refused(compiled, notPut)
  }
  const made = judge(compiled, answer)
  if (key !== null) compiled.memo.set(key, { ...made, policies: [...made.policies] })
  return made
}

const notPut = 'the request could not be put to the policies'

/**
 * Whether the engine still answers: one that has trapped refuses everything until the broker is started again.
 * @throws HallpassError `unavailable`
 */
export function mustDecide(compiled: CompiledPolicies): void {
  const caller: Ask['caller'] = { id: 'nobody', kind: 'workload', trust: '', tags: {}, groups: [] }
  const ask: Ask = { action: 'administer', caller, now: 0, ip: null }
  const reads = compiled.reads.get(ask.action)
  try {
    if (reads) compiled.engine.evaluate(ask.action, buildRequest(ask, reads))
  } catch (cause) {
    throw new HallpassError('unavailable', 'Policies cannot be decided.', { cause, retryAfter: 10 })
  }
}

const notAsked = 'the action is not one that is decided'

function judge(compiled: CompiledPolicies, { allow, satisfied, failed }: CedarAnswer): Decision {
  // A forbid that fails does not forbid, so no decision that a failure had a part in can be trusted.
  if (failed.length > 0) {
    const forbids = allow ? [] : satisfied
    return refused(compiled, `policies could not be evaluated: ${failed.join(', ')}`, forbids)
  }
  if (!allow) {
    return satisfied.length > 0
      ? refused(compiled, `forbidden by ${satisfied.join(', ')}`, satisfied)
      : refused(compiled, 'no policy permits it')
  }
  const ttls = satisfied.map(id => compiled.policies.get(id)?.ttl ?? null).filter(ttl => ttl !== null)
  return decision(compiled, {
    allow,
    policies: satisfied,
    ttl: ttls.length > 0 ? Math.min(...ttls) : null,
    binding: satisfied.some(id => compiled.policies.get(id)?.binding === 'mtls') ? 'mtls' : null,
  })
}

type CedarAnswer = ReturnType<CompiledPolicies['engine']['evaluate']>

function refusalBefore(ask: Ask): string | null {
  const principals = actions.get(ask.action)
  if (principals === undefined) return notAsked
  if (!principals.includes(ask.caller.kind)) return `${ask.action} is not for an ${ask.caller.kind}`
  if (ask.action === 'mint' && ask.scope.split(':').length > maxScopeDepth)
    return 'the scope has too many parts'
  // Cedar's strings are Unicode: half a surrogate pair has no place in them, and two of them could become one.
  if (!wellFormed(ask)) return 'the request holds text that is not valid Unicode'
  return null
}

function wellFormed(ask: Ask): boolean {
  const { caller } = ask
  const fine = (text: string): boolean => text.isWellFormed()
  const fineTags = (tags: Record<string, string>): boolean =>
    Object.entries(tags).every(([name, value]) => fine(name) && fine(value))
  if (![caller.id, caller.trust, ...caller.groups].every(fine) || !fineTags(caller.tags)) return false
  for (const [, task] of tasksOf(ask)) {
    const { id, kind, state, subject, owner, path, context } = task
    if (![id, kind, state, subject, owner, ...path].every(fine) || !fineTags(context)) return false
  }
  if (ask.action === 'mint' && ![ask.scope, ...ask.usages, ...ask.dnsNames].every(fine)) return false
  return (ask.action !== 'mint' && ask.action !== 'introspect') || fine(ask.audience)
}

const refused = (compiled: CompiledPolicies, reason: string, policies: string[] = []): Decision =>
  decision(compiled, { allow: false, policies, reason })

const decision = (
  compiled: CompiledPolicies,
  made: Pick<Decision, 'allow' | 'policies'> & Partial<Decision>,
): Decision => ({ reason: null, ttl: null, binding: null, ...made, version: compiled.version })
