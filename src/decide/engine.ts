import { randomUUID } from 'node:crypto'
import * as cedar from '@cedar-policy/cedar-wasm/nodejs'
import type { CedarRequest } from './request.ts'

/** Policies parsed once, ready to be asked. */
export interface Engine {
  /** Throws where Cedar cannot even read the request. */
  evaluate(action: string, request: CedarRequest): { allow: boolean; satisfied: string[]; failed: string[] }
}

/**
 * Parses the policies into Cedar's own memory, one set for each action: a policy whose scope names another action can
 * neither apply nor fail, so it need not be walked.
 */
export function createEngine(byAction: ReadonlyMap<string, Readonly<Record<string, string>>>): Engine {
  const names = new Map<string, string>()
  const prefix = randomUUID()
  for (const [action, staticPolicies] of byAction) {
    const name = `${prefix}/${action}`
    const parsed = cedar.preparsePolicySet(name, { staticPolicies: { ...staticPolicies } })
    if (parsed.type === 'failure') throw new Error(parsed.errors.map(error => error.message).join('; '))
    names.set(action, name)
  }
  const engine: Engine = {
    evaluate(action, request) {
      const name = names.get(action)
      if (name === undefined) throw new Error('no policies were prepared for the action')
      const answer = cedar.statefulIsAuthorized({ ...request, preparsedPolicySetId: name })
      if (answer.type === 'failure') throw new Error(answer.errors.map(error => error.message).join('; '))
      const { decision, diagnostics } = answer.response
      return {
        allow: decision === 'allow',
        // Sorted: Cedar keeps them in hash maps, and a log should not depend on that.
        satisfied: diagnostics.reason.toSorted(),
        failed: diagnostics.errors.map(error => error.policyId).toSorted(),
      }
    },
  }
  emptied.register(engine, [...names.values()])
  return engine
}

/** Cedar's memory has no way to forget a set, only to replace it: one that nobody can ask any more becomes empty. */
const emptied = new FinalizationRegistry<string[]>(names => {
  for (const name of names) cedar.preparsePolicySet(name, { staticPolicies: {} })
})
