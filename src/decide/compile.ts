import { createHash } from 'node:crypto'
import * as cedar from '@cedar-policy/cedar-wasm/nodejs'
import { type Annotations, admitsAction, readAnnotations } from './annotations.ts'
import type { Binding } from './decision.ts'
import { createEngine, type Engine } from './engine.ts'
import { byPlace, type Fault, faultText, placeOf } from './fault.ts'
import { createMemo, type Memo } from './memo.ts'
import { type Reads, readsOf } from './reads.ts'
import { at, cutFile, type PolicyFile, type PolicySource, parseFault } from './source.ts'
import { actions, builtInFile, builtInPrefix, schemaText } from './vocabulary.ts'

/** A policy set, checked and ready: what `decide` decides by. */
export interface CompiledPolicies {
  /** A hash of the schema and of every policy's text, the same on every replica that has the same folder. */
  version: string
  policies: ReadonlyMap<string, CompiledPolicy>
  warnings: readonly Fault[]
  engine: Engine
  /** By action. */
  reads: ReadonlyMap<string, Reads>
  memo: Memo
}

export interface CompiledPolicy {
  id: string
  effect: 'permit' | 'forbid'
  /** Of `@ttl`, in seconds. */
  ttl: number | null
  /** Of `@binding`. */
  binding: Binding | null
  description: string | null
  /** Where it stands: `ci.cedar:3`. */
  place: string
  text: string
  json: cedar.PolicyJson
}

export type CompileResult =
  | { ok: true; compiled: CompiledPolicies; warnings: Fault[] }
  | { ok: false; faults: Fault[]; warnings: Fault[] }

/**
 * The files' policies with the built-in ones that they do not replace, or everything that is wrong with them. Nothing is
 * left for a decision to find out but what depends on the request.
 */
export function compilePolicies(files: PolicyFile[]): CompileResult {
  // 1. Parse.
  const cuts = files.map(cutFile)
  const faults = cuts.flatMap(cut => cut.faults)
  const sources = cuts.flatMap(cut => cut.policies).map(withAnnotations)

  // 2. Names and annotations.
  for (const source of sources)
    faults.push(...source.annotations.faults.map(message => faultOf(source, message)))
  faults.push(...nameFaults(sources))

  // 3. The schema, in strict mode.
  const validated = validate(sources)
  faults.push(...validated.faults)

  // 4. What the vocabulary allows to write, and the broker could not answer.
  for (const source of sources) if (readsTheUnknown(source.json)) faults.push(faultOf(source, unknowable))
  const warnings = validated.warnings.toSorted(byPlace)
  if (faults.length > 0) return { ok: false, faults: faults.toSorted(byPlace), warnings }

  // 5. The built-in policies that no file replaces.
  const own = sources.map(compiledPolicy)
  const ids = new Set(own.map(policy => policy.id))
  const set = [...own, ...builtIns().filter(policy => !ids.has(policy.id))]
  return { ok: true, compiled: prepare(set, warnings), warnings }
}

/** The engine, and for each action what the policies that admit it can read. */
export function prepare(set: CompiledPolicy[], warnings: Fault[] = []): CompiledPolicies {
  const sorted = set.toSorted((a, b) => (a.id < b.id ? -1 : 1))
  const texts = new Map<string, Record<string, string>>()
  const reads = new Map<string, Reads>()
  for (const action of actions.keys()) {
    const admitting = sorted.filter(policy => admitsAction(policy.json, action))
    texts.set(action, Object.fromEntries(admitting.map(policy => [policy.id, policy.text])))
    reads.set(action, readsOf(admitting.map(policy => policy.json)))
  }
  const canonical = JSON.stringify([schemaText, ...sorted.map(policy => [policy.id, policy.text])])
  return {
    version: createHash('sha256').update(canonical).digest('hex').slice(0, 16),
    policies: new Map(sorted.map(policy => [policy.id, policy])),
    warnings,
    engine: createEngine(texts),
    reads,
    memo: createMemo(),
  }
}

type AnnotatedSource = PolicySource & { annotations: Annotations }

const withAnnotations = (source: PolicySource): AnnotatedSource => ({
  ...source,
  annotations: readAnnotations(source.json),
})

const faultOf = (source: AnnotatedSource, message: string): Fault =>
  at(source.file, source.start, message, source.annotations.id)

function nameFaults(sources: AnnotatedSource[]): Fault[] {
  const replaceable = new Set(builtIns().map(policy => policy.id))
  const first = new Map<string, AnnotatedSource>()
  const faults: Fault[] = []
  for (const source of sources) {
    const { id } = source.annotations
    if (id === null) continue
    const earlier = first.get(id)
    if (earlier === undefined) first.set(id, source)
    else faults.push(faultOf(source, `@id is taken by the policy at ${placeText(earlier)}`))
    if (id.startsWith(builtInPrefix) && !replaceable.has(id)) {
      faults.push(faultOf(source, `there is no built-in policy of this @id to replace`))
    }
  }
  return faults
}

function validate(sources: AnnotatedSource[]): { faults: Fault[]; warnings: Fault[] } {
  // Under names of our own: those that the policies give themselves may be missing or doubled.
  const named = new Map(sources.map((source, index) => [`p${index}`, source]))
  const answer = cedar.validate({
    validationSettings: { mode: 'strict' },
    schema: schemaText,
    policies: { staticPolicies: Object.fromEntries(Array.from(named, ([name, { text }]) => [name, text])) },
  })
  if (answer.type === 'failure') throw new Error(answer.errors.map(error => error.message).join('; '))
  const told = ({ policyId, error }: cedar.ValidationError): Fault[] => {
    const source = named.get(policyId)
    return source === undefined ? [] : [parseFault(source.file, source.start, error, source.annotations.id)]
  }
  return { faults: answer.validationErrors.flatMap(told), warnings: answer.validationWarnings.flatMap(told) }
}

const unknowable =
  'asks for attributes, tags or groups of an entity that is neither the principal, the resource nor the task; nothing is' +
  ' known of others, so they can only be compared (==)'

const readsTheUnknown = (policy: cedar.PolicyJson): boolean =>
  [...actions.keys()].some(action => admitsAction(policy, action)) && readsOf([policy]).foreign

const placeText = (source: PolicySource): string =>
  `${source.file.name}:${placeOf(source.file.text, source.start).line}`

function compiledPolicy(source: AnnotatedSource): CompiledPolicy {
  const { id, ttl, binding, description } = source.annotations
  if (id === null) throw new Error('a policy without an @id got past its fault')
  const { text, json } = source
  return { id, effect: json.effect, ttl, binding, description, place: placeText(source), text, json }
}

function builtIns(): CompiledPolicy[] {
  const { policies, faults } = cutFile(builtInFile)
  if (faults.length > 0) throw new Error(faults.map(faultText).join('\n'))
  return policies.map(withAnnotations).map(compiledPolicy)
}
