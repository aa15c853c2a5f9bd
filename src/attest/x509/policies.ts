import { oids } from '../../der/oids.ts'
import { type Certificate, isSelfIssued } from './certificate.ts'

/** What whoever validates asks of policies (RFC 5280 §6.1.1 (c), (e) to (g)). */
export interface PolicySettings {
  /** user-initial-policy-set; null: any. */
  policies: ReadonlySet<string> | null
  explicitPolicy: boolean
  inhibitPolicyMapping: boolean
  inhibitAnyPolicy: boolean
}

/** As policies do not matter to SVIDs, but where an authority says that they must. */
export const anyPolicies: PolicySettings = {
  policies: null,
  explicitPolicy: false,
  inhibitPolicyMapping: false,
  inhibitAnyPolicy: false,
}

/** A policy at one depth of the path, under which it may go on, and the policies above that it came from. */
interface PolicyNode {
  policy: string
  expected: ReadonlySet<string>
  parents: PolicyNode[]
}

/** Policies along a path, anchor first (RFC 5280 §6.1.2 to §6.1.5). */
export interface Policies {
  /** §6.1.3 (d) to (f). False: the path is refused. */
  check(certificate: Certificate, isLast: boolean): boolean
  /** §6.1.4 (a), (b), (h) to (j), after `check`. False: the path is refused. */
  goOn(certificate: Certificate): boolean
  /** §6.1.5 (a), (b), (g): the user-constrained-policy-set, or null where the path is refused. */
  wrapUp(last: Certificate): ReadonlySet<string> | null
}

const { anyPolicy } = oids

/**
 * A graph with one node for each policy at each depth (RFC 9618), where RFC 5280 has a tree: in the tree, a path of mappings doubles its
 * nodes with every certificate. Nodes that lead nowhere need not be deleted: in the end, only what is above the last certificate counts.
 *
 * @param length the number of certificates, without the anchor
 */
export function createPolicies(settings: PolicySettings, length: number): Policies {
  /** Policies at the depth reached, by name; empty stands for a tree that is NULL. */
  let level = new Map<string, PolicyNode>([[anyPolicy, node(anyPolicy)]])
  let explicitPolicy = settings.explicitPolicy ? 0 : length + 1
  let policyMapping = settings.inhibitPolicyMapping ? 0 : length + 1
  let inhibitAnyPolicy = settings.inhibitAnyPolicy ? 0 : length + 1

  const expecting = (policy: string) => [...level.values()].filter(({ expected }) => expected.has(policy))

  function descend(policies: ReadonlySet<string>, allowsAny: boolean): Map<string, PolicyNode> {
    const next = new Map<string, PolicyNode>()
    const any = level.get(anyPolicy)
    for (const policy of policies) {
      if (policy === anyPolicy) continue
      const parents = expecting(policy)
      if (parents.length > 0) next.set(policy, node(policy, parents))
      else if (any) next.set(policy, node(policy, [any]))
    }
    if (policies.has(anyPolicy) && allowsAny) {
      for (const policy of new Set([...level.values()].flatMap(({ expected }) => [...expected])))
        if (!next.has(policy)) next.set(policy, node(policy, expecting(policy)))
    }
    return next
  }

  return {
    check(certificate, isLast) {
      const policies = certificate.extensions.certificatePolicies
      const allowsAny = inhibitAnyPolicy > 0 || (!isLast && isSelfIssued(certificate))
      level = policies ? descend(policies, allowsAny) : new Map()
      return explicitPolicy > 0 || level.size > 0
    },

    goOn(certificate) {
      const { policyMappings, policyConstraints, inhibitAnyPolicy: skip } = certificate.extensions
      for (const [issuer, subjects] of policyMappings ?? []) {
        if (issuer === anyPolicy || subjects.has(anyPolicy)) return false
        const found = level.get(issuer)
        const any = level.get(anyPolicy)
        if (policyMapping === 0) level.delete(issuer)
        else if (found) found.expected = subjects
        else if (any) level.set(issuer, node(issuer, any.parents, subjects))
      }
      if (!isSelfIssued(certificate)) {
        explicitPolicy = Math.max(0, explicitPolicy - 1)
        policyMapping = Math.max(0, policyMapping - 1)
        inhibitAnyPolicy = Math.max(0, inhibitAnyPolicy - 1)
      }
      explicitPolicy = Math.min(explicitPolicy, policyConstraints?.requireExplicitPolicy ?? explicitPolicy)
      policyMapping = Math.min(policyMapping, policyConstraints?.inhibitPolicyMapping ?? policyMapping)
      inhibitAnyPolicy = Math.min(inhibitAnyPolicy, skip ?? inhibitAnyPolicy)
      return true
    },

    wrapUp(last) {
      explicitPolicy = Math.max(0, explicitPolicy - 1)
      if (last.extensions.policyConstraints?.requireExplicitPolicy === 0) explicitPolicy = 0
      const constrained = constrainedBy(settings.policies, authoritySet(level))
      return explicitPolicy > 0 || constrained.size > 0 ? constrained : null
    },
  }
}

/** authorities-constrained-policy-set (RFC 9618 §5.6): policies in the domain of the anchor's user that lead to the last certificate. */
function authoritySet(level: ReadonlyMap<string, PolicyNode>): Set<string> {
  const set = new Set<string>(level.has(anyPolicy) ? [anyPolicy] : [])
  const reached = new Set(level.values())
  // A Set goes on to what is added while it is gone through.
  for (const { policy, parents } of reached) {
    for (const parent of parents) {
      if (parent.policy === anyPolicy && policy !== anyPolicy) set.add(policy)
      reached.add(parent)
    }
  }
  return set
}

function constrainedBy(user: ReadonlySet<string> | null, authorities: Set<string>): Set<string> {
  if (user === null || user.has(anyPolicy)) return authorities
  return new Set(authorities.has(anyPolicy) ? user : [...user].filter(policy => authorities.has(policy)))
}

function node(
  policy: string,
  parents: PolicyNode[] = [],
  expected: ReadonlySet<string> = new Set([policy]),
): PolicyNode {
  return { policy, expected, parents }
}
