import type { PolicyJson } from '@cedar-policy/cedar-wasm/nodejs'

/** Names that a set reads, or `all` where a name is computed while evaluating. */
export type Names = ReadonlySet<string> | 'all'

/**
 * What a policy set can learn of a request of one action, beyond the principal's type and ID and the resource's type (and,
 * of a scope or a task's kind, its ID), which every decision may rest on. What is not in here cannot change the decision.
 */
export interface Reads {
  /** Something was not understood: send all there is, remember nothing. */
  everything: boolean
  /** Whose place in a hierarchy is asked for (`in`): the principal's groups; the scope's prefixes, a task's ancestors. */
  hierarchies: ReadonlySet<Placed>
  /** The principal's trust source. */
  source: boolean
  callerTags: Names
  /** The ID of the resource, and that of the task in the context. */
  resourceId: boolean
  taskId: boolean
  /** Of a task, be it the resource or in the context: where both are tasks, of either. */
  taskAttributes: ReadonlySet<string>
  taskTags: Names
  context: ReadonlySet<string>
  /**
   * It asks for attributes, tags or groups of an entity that is none of principal, resource and task: an owner, or one
   * that the policy names. Nothing is known of those, so `has` and `in` would be quietly false, in a `forbid` too.
   */
  foreign: boolean
}

type Placed = 'principal' | 'resource' | 'task'

/** The entities and records that a value may be (`direct`), or hold somewhere inside a set or record (`inside`). */
interface Flow {
  direct: ReadonlySet<Origin>
  inside: ReadonlySet<Origin>
}
type Origin = Placed | 'context' | 'other'

const nothing: ReadonlySet<Origin> = new Set()
const none: Flow = { direct: nothing, inside: nothing }
const direct = (origin: Origin): Flow => ({ direct: new Set([origin]), inside: nothing })
const both = (a: ReadonlySet<Origin>, b: ReadonlySet<Origin>): ReadonlySet<Origin> => new Set([...a, ...b])
const carried = (flow: Flow): ReadonlySet<Origin> => both(flow.direct, flow.inside)

/** Follows every expression of the policies and notes what it can touch. Errs on the side of more. */
export function readsOf(policies: PolicyJson[]): Reads {
  let everything = false
  let source = false
  let resourceId = false
  let taskId = false
  let foreign = false
  const hierarchies = new Set<Placed>()
  const callerTags = new Set<string>()
  const taskAttributes = new Set<string>()
  const taskTags = new Set<string>()
  const context = new Set<string>()
  let allCallerTags = false
  let allTaskTags = false

  /** The value is compared as a whole: entities by their IDs, a record by all that is in it. */
  const compared = (flow: Flow): Flow => {
    const origins = carried(flow)
    if (origins.has('context')) everything = true
    if (origins.has('resource')) resourceId = true
    if (origins.has('task')) taskId = true
    return none
  }

  const attribute = (of: Flow, name: string): Flow => {
    const found = new Set<Origin>(of.inside)
    for (const origin of of.direct) {
      if (origin === 'principal' && name === 'source') source = true
      if (origin === 'resource' || origin === 'task') {
        taskAttributes.add(name)
        if (name === 'owner') found.add('other')
      }
      if (origin === 'context') {
        context.add(name)
        // The only member of a context that is asked with which leads on.
        if (name === 'task') found.add('task')
      }
      if (origin === 'other') foreign = everything = true
    }
    return { direct: found, inside: of.inside }
  }

  const tag = (of: Flow, key: unknown): Flow => {
    const name = literalText(key)
    if (name === null) compared(follow(key))
    for (const origin of of.direct) {
      if (origin === 'principal') {
        if (name === null) allCallerTags = true
        else callerTags.add(name)
      }
      if (origin === 'resource' || origin === 'task') {
        if (name === null) allTaskTags = true
        else taskTags.add(name)
      }
      if (origin === 'other') foreign = everything = true
    }
    return none
  }

  const isIn = (left: Flow, right: Flow): Flow => {
    compared(right)
    for (const origin of carried(left)) {
      if (origin === 'other') foreign = everything = true
      else if (origin !== 'context') hierarchies.add(origin)
    }
    return compared(left)
  }

  const union = (flows: Flow[]): Flow =>
    flows.reduce((a, b) => ({ direct: both(a.direct, b.direct), inside: both(a.inside, b.inside) }), none)

  const composed = (parts: unknown[]): Flow => ({
    direct: nothing,
    inside: parts.map(part => carried(follow(part))).reduce(both, nothing),
  })

  const unknownExpression = (): Flow => {
    everything = true
    return none
  }

  const follow = (expression: unknown): Flow => {
    const entries = isRecord(expression) ? Object.entries(expression) : []
    const [operator, body] = entries.length === 1 ? entries[0]! : ['', null]
    // A call of an extension function: of plain values, to a plain value.
    if (Array.isArray(body) && operator !== 'Set') {
      for (const argument of body) compared(follow(argument))
      return none
    }
    switch (operator) {
      case 'Value':
        return holdsEntity(body) ? { direct: new Set(['other']), inside: new Set(['other']) } : none
      case 'Var':
        if (body === 'action') return none
        return body === 'principal' || body === 'resource' || body === 'context'
          ? direct(body)
          : unknownExpression()
      case 'Set':
        return Array.isArray(body) ? composed(body) : unknownExpression()
    }
    if (!isRecord(body)) return unknownExpression()
    const { left, right, arg, attr } = body
    switch (operator) {
      case 'Record':
        return composed(Object.values(body))
      case '!':
      case 'neg':
      case 'isEmpty':
        return compared(follow(arg))
      case '&&':
      case '||':
      case '==':
      case '!=':
      case '<':
      case '<=':
      case '>':
      case '>=':
      case '+':
      case '-':
      case '*':
      case 'contains':
      case 'containsAll':
      case 'containsAny':
        compared(follow(left))
        return compared(follow(right))
      case 'in':
        return isIn(follow(left), follow(right))
      case 'is': {
        const value = follow(left)
        return body.in === undefined || body.in === null ? none : isIn(value, follow(body.in))
      }
      case 'like':
        return compared(follow(left))
      case '.':
        return typeof attr === 'string' ? attribute(follow(left), attr) : unknownExpression()
      case 'has': {
        // `has a.b.c` asks for one after the other.
        const path = typeof attr === 'string' ? [attr] : attr
        if (!Array.isArray(path) || !path.every(name => typeof name === 'string')) return unknownExpression()
        path.reduce(attribute, follow(left))
        return none
      }
      case 'getTag':
      case 'hasTag':
        return tag(follow(left), right)
      case 'if-then-else':
        compared(follow(body.if))
        return union([follow(body.then), follow(body.else)])
      default:
        return unknownExpression()
    }
  }

  for (const policy of policies) {
    for (const placed of ['principal', 'resource'] as const)
      if ('in' in policy[placed] || policy[placed].op === 'in') hierarchies.add(placed)
    if (policy.resource.op !== 'All' && (policy.resource.op !== 'is' || 'in' in policy.resource))
      resourceId = true
    for (const { body } of policy.conditions) follow(body)
  }
  return {
    everything,
    hierarchies,
    source,
    callerTags: allCallerTags || everything ? 'all' : callerTags,
    resourceId,
    taskId,
    taskAttributes,
    taskTags: allTaskTags || everything ? 'all' : taskTags,
    context,
    foreign,
  }
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const literalText = (expression: unknown): string | null =>
  isRecord(expression) && typeof expression.Value === 'string' ? expression.Value : null

/** A literal that names an entity, or anything else than a plain value. */
const holdsEntity = (value: unknown): boolean => typeof value === 'object'
