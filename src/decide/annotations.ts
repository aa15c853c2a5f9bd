import type { PolicyJson } from '@cedar-policy/cedar-wasm/nodejs'
import { nearest } from '../config/near.ts'
import { parseDuration } from '../duration.ts'
import type { Binding } from './decision.ts'
import { credentialActions } from './vocabulary.ts'

/** Of the contract, for what this version does not have. A condition that is not honoured must not load. */
const notYet: ReadonlySet<string> = new Set(['approval'])

const idPattern = /^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$/

/** Names that mean something, now or in the contract: what is nearly one of them is a slip, not a remark. */
const meaningful = ['id', 'ttl', 'binding', ...notYet]

export interface Annotations {
  id: string | null
  /** Seconds. */
  ttl: number | null
  /** What the credential must be bound to. */
  binding: Binding | null
  description: string | null
  faults: string[]
}

/** What a policy's annotations say, and what is wrong with them. Others are remarks for people; but `@tttl` is a slip. */
export function readAnnotations(policy: PolicyJson): Annotations {
  // An annotation without a value is null there, whatever the declared type says.
  const given: Record<string, string | null> = policy.annotations ?? {}
  const read: Annotations = {
    id: null,
    ttl: null,
    binding: null,
    description: given.description ?? null,
    faults: [],
  }
  if (!Object.hasOwn(given, 'id')) read.faults.push('every policy needs an @id')
  for (const [name, value] of Object.entries(given)) {
    if (name === 'id') {
      if (value !== null && idPattern.test(value)) read.id = value
      else
        read.faults.push('@id must be 1 to 128 of A-Z a-z 0-9 . _ : / - and begin with a letter or a digit')
    } else if (name === 'ttl') {
      const ttl = parseDuration(value ?? '')
      read.ttl = ttl ? ttl / 1000 : null
      if (read.ttl === null) read.faults.push('@ttl must be a duration such as "90s", "5m" or "8h"')
      read.faults.push(...misplaced(policy, name))
    } else if (name === 'binding') {
      if (value === 'mtls') read.binding = value
      else if (value === 'dpop') read.faults.push('@binding("dpop") cannot be honoured by this version')
      else read.faults.push('@binding must be "mtls"')
      read.faults.push(...misplaced(policy, name))
    } else if (notYet.has(name)) {
      read.faults.push(`@${name} cannot be honoured by this version`)
    } else {
      const meant = nearest(name, meaningful)
      if (meant !== null) read.faults.push(`@${name} is not known; @${meant} is`)
    }
  }
  return read
}

/** What is wrong with an annotation that constrains grants where there can be none. */
function misplaced(policy: PolicyJson, name: string): string[] {
  return [
    ...(policy.effect === 'forbid' ? [`@${name} on a forbid has no meaning`] : []),
    ...(credentialActions.some(action => admitsAction(policy, action))
      ? []
      : [`@${name} has no meaning here: the policy is not about credentials`]),
  ]
}

/** Whether the policy's scope admits the action. There are no groups of actions, so `in` is a list. */
export function admitsAction(policy: PolicyJson, action: string): boolean {
  const constraint = policy.action
  if (constraint.op === 'All') return true
  const named =
    'entities' in constraint ? constraint.entities : 'entity' in constraint ? [constraint.entity] : null
  // Anything else is not understood: then the policy is looked at for every action.
  return named === null || named.some(uid => ('__entity' in uid ? uid.__entity : uid).id === action)
}
