import * as cedar from '@cedar-policy/cedar-wasm/nodejs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type CompiledPolicy, prepare } from '../../src/decide/compile.ts'
import { decide } from '../../src/decide/decide.ts'
import type { Ask, Caller, TaskView } from '../../src/decide/decision.ts'
import { noon, taskActions } from './asks.ts'
import { plainAnswer } from './plain.ts'

// Small domains, so that asks often differ in one thing only and meet what was remembered for another.
const word = fc.constantFrom('a', 'b')
const quoted = word.map(text => `"${text}"`)
const key = fc.constantFrom('"a"', '"b"', '"__proto__"')
const group = word.map(name => `Group::"${name}"`)
const scopeText = fc.constantFrom('a', 'a:b', 'a:b:a', 'b:a')
const scope = scopeText.map(text => `Scope::"${text}"`)
const task = fc.constantFrom('resource', 'context.task')
/** IDs of tasks, of parents and of those above them. */
const place = fc.constantFrom('a', 'c', 'd', 'r').map(id => `Task::"${id}"`)
const parts = fc.record({
  word: quoted,
  key,
  group,
  scope,
  task,
  place,
  number: fc.constantFrom('0', '1', '60', '300'),
})

type Parts = typeof parts extends fc.Arbitrary<infer P> ? P : never
const form = (write: (parts: Parts) => string): fc.Arbitrary<string> => parts.map(write)

/** Every way to read something that the vocabulary offers, the failing and the roundabout included. */
const rememberable = [
  form(p => `principal.hasTag(${p.key})`),
  form(p => `principal.hasTag(${p.key}) && principal.getTag(${p.key}) == ${p.word}`),
  form(p => `principal.getTag(${p.key}) like "a*"`),
  form(p => `${p.word}.contains("a")`),
  form(() => 'principal has source'),
  form(p => `principal["source"] == ${p.word}`),
  form(p => `principal in ${p.group}`),
  form(p => `principal in [${p.group}, Group::"c"]`),
  form(p => `principal is Workload in ${p.group}`),
  form(() => 'principal is Operator'),
  form(p => `principal == Workload::${p.word}`),
  form(p => `[Workload::${p.word}, Workload::"c"].contains(principal)`),
  form(p => `${p.task}.hasTag(${p.key})`),
  form(p => `${p.task}.hasTag(${p.key}) && ${p.task}.getTag(${p.key}) == ${p.word}`),
  form(p => `${p.task}.getTag(${p.key}) != ${p.word}`),
  form(p => `principal.hasTag(${p.key}) && ${p.task}.hasTag(principal.getTag(${p.key}))`),
  form(p => `${p.task}.hasTag(context.audience)`),
  form(() => 'principal.hasTag(context.audience)'),
  form(p => `principal.hasTag(${p.task}.kind) && principal.getTag(${p.task}.kind) == ${p.word}`),
  form(p => `${p.task} has owner && ${p.task}.owner == principal`),
  form(p => `[${p.task}.owner].contains(principal)`),
  form(p => `${p.task}.kind == ${p.word}`),
  form(p => `${p.task}.subject == ${p.word}`),
  form(p => `["open", ${p.word}].contains(${p.task}.state)`),
  form(p => `${p.task}.depth > 0`),
  form(p => `${p.task}.depth * 9223372036854775807 > ${p.number}`),
  form(p => `${p.task} == ${p.place}`),
  form(p => `${p.task} in ${p.place}`),
  form(p => `${p.task} in [${p.place}, Task::"b"]`),
  form(p => `${p.task} is Task in ${p.place}`),
  form(p => `{t: {u: ${p.task}}}.t.u in ${p.place}`),
  form(p => `(if principal.hasTag(${p.key}) then resource else context.task) in ${p.place}`),
  form(p => `(if ${p.task} has kind then principal else context.task) in [${p.place}, ${p.group}]`),
  form(() => 'context.task in resource'),
  form(() => 'resource in context.task'),
  form(() => 'resource == context.task'),
  form(() => 'resource.owner == context.task.owner'),
  form(() => 'resource.kind == context.task.kind && resource.depth < context.task.depth'),
  form(p => `resource.hasTag(${p.key}) && context.task.hasTag(${p.key})`),
  form(p => `resource.hasTag(context.task.kind) && resource.getTag(context.task.kind) == ${p.word}`),
  form(p => `${p.task} is Task`),
  form(p => `resource == ${p.scope}`),
  form(p => `resource in ${p.scope}`),
  form(p => `resource is Scope in ${p.scope}`),
  form(p => `resource == TaskKind::${p.word}`),
  form(p => `context.audience == ${p.word}`),
  form(p => `["c", ${p.word}].contains(context["audience"])`),
  form(() => 'context has audience && context.audience like "*b"'),
  form(p => `context.ttl > ${p.number}`),
  form(p => `context has credential && context.credential == ${p.word}`),
  form(() => 'context.usages.isEmpty()'),
  form(() => 'context.usages.contains("serverAuth")'),
  form(p => `context.dns_names.contains(${p.word})`),
  form(() => 'context.credential == "x509" && context.dns_names.containsAll(["a", "b"])'),
  form(() => 'context has task.owner'),
  form(p => `{c: context}.c.audience == ${p.word}`),
  form(p => `{p: principal}.p.hasTag(${p.key})`),
  form(p => `{p: {q: ${p.task}}}.p.q.getTag(${p.key}) == ${p.word}`),
  form(p => `{t: ${p.task}}.t.depth > 0`),
  form(p => `[principal, ${p.task}].contains(${p.task})`),
  form(p => `{a: ${p.task}} == {a: ${p.place}}`),
  form(p => `(if principal.hasTag(${p.key}) then principal else ${p.task}).hasTag("a")`),
  form(p => `(if principal.hasTag(${p.key}) then ${p.task}.owner else principal) == principal`),
  form(p => `(if principal has source then principal.source else context.audience) == ${p.word}`),
  form(() => 'action in [Action::"mint", Action::"open_child"]'),
  form(() => 'action == Action::"read"'),
]

/** What may not be remembered, or is not understood. */
const fleeting = [
  form(p => `${p.task}.age_seconds < ${p.number}`),
  form(() => 'context has ip && context.ip.isInRange(ip("10.0.0.0/8"))'),
  form(() => 'context.ip.isLoopback()'),
  form(() => 'context.now.toTime() < duration("12h")'),
  form(() => 'context.now < datetime("2026-03-02T12:00:00Z")'),
  form(p => `context == {audience: ${p.word}}`),
  form(() => 'context == context'),
  form(() => 'context == {}'),
  form(() => '[{}].contains(context)'),
  form(p => `Workload::${p.word}.source == ${p.word}`),
  form(() => '[context] == [context]'),
  form(p => `${p.task}.owner.hasTag(${p.key})`),
  form(p => `${p.task}.owner.source == ${p.word}`),
  form(p => `${p.task}.owner in ${p.group}`),
  form(p => `Workload::${p.word}.hasTag(${p.key})`),
  form(p => `${p.place}.depth > 0`),
  form(p => `${p.place} in ${p.task}`),
  // One of them may be the resource, whose place is known.
  form(() => 'Task::"c" in Task::"r"'),
  form(p => `Workload::${p.word} in ${p.group}`),
]

const expressionOf = (atom: fc.Arbitrary<string>): fc.Arbitrary<string> =>
  fc.letrec<{ expression: string }>(tie => ({
    expression: fc.oneof(
      { maxDepth: 2, withCrossShrink: true },
      { weight: 2, arbitrary: atom.map(text => `(${text})`) },
      fc.tuple(tie('expression'), tie('expression')).map(([a, b]) => `(${a} && ${b})`),
      fc.tuple(tie('expression'), tie('expression')).map(([a, b]) => `(${a} || ${b})`),
      tie('expression').map(a => `!(${a})`),
      fc
        .tuple(tie('expression'), tie('expression'), tie('expression'))
        .map(([a, b, c]) => `(if ${a} then ${b} else ${c})`),
    ),
  })).expression

const policyOf = (expression: fc.Arbitrary<string>): fc.Arbitrary<string> =>
  fc
    .record({
      effect: fc.constantFrom('permit', 'permit', 'permit', 'forbid'),
      principal: fc.oneof(
        { weight: 4, arbitrary: fc.constant('principal') },
        fc.constant('principal is Workload'),
        word.map(id => `principal == Workload::"${id}"`),
        group.map(name => `principal in ${name}`),
        group.map(name => `principal is Workload in ${name}`),
      ),
      action: fc.oneof(
        { weight: 3, arbitrary: fc.constant('action') },
        fc.constant('action == Action::"mint"'),
        fc.constant('action == Action::"read"'),
        fc.constant('action in [Action::"mint", Action::"read"]'),
        fc.constant('action in Action::"open"'),
        fc.constant('action == Action::"open_child"'),
      ),
      resource: fc.oneof(
        { weight: 4, arbitrary: fc.constant('resource') },
        fc.constant('resource is Task'),
        scope.map(uid => `resource == ${uid}`),
        scope.map(uid => `resource in ${uid}`),
        scope.map(uid => `resource is Scope in ${uid}`),
        place.map(uid => `resource == ${uid}`),
        place.map(uid => `resource in ${uid}`),
        place.map(uid => `resource is Task in ${uid}`),
      ),
      clauses: fc.array(fc.tuple(fc.constantFrom('when', 'unless'), expression), { maxLength: 2 }),
    })
    .map(
      p =>
        `${p.effect}(${p.principal}, ${p.action}, ${p.resource})` +
        `${p.clauses.map(([kind, body]) => ` ${kind} { ${body} }`).join('')};`,
    )

const policies = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.array(policyOf(expressionOf(fc.oneof(...rememberable))), { minLength: 1, maxLength: 3 }),
  },
  fc.array(policyOf(expressionOf(fc.oneof(...rememberable, ...fleeting))), { minLength: 1, maxLength: 4 }),
)

const tags = fc
  .array(fc.tuple(fc.constantFrom('a', 'b', '__proto__', 'unread'), word), { maxLength: 3 })
  .map(entries => Object.fromEntries(entries))

const caller: fc.Arbitrary<Caller> = fc.record({
  id: word,
  kind: fc.constantFrom('workload', 'workload', 'operator'),
  trust: word,
  tags,
  groups: fc.uniqueArray(word),
})

const taskView = (id: fc.Arbitrary<string>, path: fc.Arbitrary<string[]>): fc.Arbitrary<TaskView> =>
  fc.record({
    id,
    path,
    kind: word,
    state: fc.constantFrom('open', 'suspended'),
    context: tags,
    subject: word,
    owner: fc.constantFrom('a', 'b', ''),
    depth: fc.constantFrom(0, 1, 2),
    openedAt: fc.constantFrom(noon - 90_000, noon - 10_000),
  })
/** No task is above itself. */
const above = fc.subarray(['r', 's'])
const parentId = fc.constantFrom('c', 'd')
const below = fc
  .tuple(above, fc.option(parentId))
  .map(([path, id]): string[] => (id === null ? [] : [...path, id]))

const members = {
  caller,
  now: fc.constantFrom(noon - 1, noon, noon + 60_000),
  ip: fc.constantFrom(null, '10.0.0.1', '127.0.0.1', '2001:db8::1'),
  task: taskView(word, below),
  parent: taskView(parentId, above),
  scope: scopeText,
  audience: word,
  credential: fc.constantFrom('jwt', 'x509'),
  usages: fc.constantFrom<string[]>([], ['clientAuth'], ['serverAuth', 'clientAuth']),
  dnsNames: fc.constantFrom<string[]>([], ['a'], ['a', 'b']),
  ttl: fc.constantFrom(60, 300, 301),
  taskAction: fc.constantFrom(...taskActions),
}
type Members = {
  [name in keyof typeof members]: (typeof members)[name] extends fc.Arbitrary<infer V> ? V : never
}

function askOf(action: Ask['action'], m: Members): Ask {
  const { caller, now, ip, task, parent, scope, audience, credential, ttl, usages, dnsNames } = m
  if (action === 'mint')
    return { action, caller, now, ip, task, scope, audience, credential, ttl, usages, dnsNames }
  if (action === 'introspect') return { action, caller, now, ip, task, audience }
  if (action === 'administer') return { action, caller, now, ip }
  if (action === 'open_child')
    return { action, caller, now, ip, parent, task: { ...task, path: [...parent.path, parent.id] } }
  return { action: action === 'open' ? action : m.taskAction, caller, now, ip, task }
}

/** One ask, and then what differs from it in one member only: what was remembered for the one must not serve the other. */
const asksOf = (action: Ask['action']): fc.Arbitrary<Ask[]> =>
  fc
    .tuple(fc.record(members), fc.record(members))
    .map(([base, other]) => [
      askOf(action, base),
      ...changes(base, other, action).map(changed => askOf(action, changed)),
      askOf(action, other),
      askOf(action, base),
    ])

/** `read` stands for every action on a task. */
const asked: Ask['action'][] = ['mint', 'read', 'open', 'open_child', 'introspect', 'administer']
const asks = fc.constantFrom<Ask['action'][]>(...asked, 'mint', 'read', 'open_child').chain(asksOf)

function changes(base: Members, other: Members, action: Ask['action']): Members[] {
  const swapped = <T extends object>(from: T, to: T): T[] =>
    Object.keys(from).map(name => ({ ...from, [name]: Reflect.get(to, name) }))
  return [
    ...swapped(base, other),
    ...swapped(base.caller, other.caller).map(caller => ({ ...base, caller })),
    ...swapped(base.task, other.task).map(task => ({ ...base, task })),
    ...(action === 'open_child'
      ? swapped(base.parent, other.parent).map(parent => ({ ...base, parent }))
      : []),
  ]
}

/** As the loader makes them, but without the schema's say: what it would refuse must be decided rightly too. */
function unchecked(text: string, index: number): CompiledPolicy {
  const parsed = cedar.policyToJson(text)
  if (parsed.type === 'failure') throw new Error(`${text}\n${JSON.stringify(parsed.errors)}`)
  const { json } = parsed
  return {
    id: `p${index}`,
    effect: json.effect,
    ttl: null,
    binding: null,
    description: null,
    place: '',
    text,
    json,
  }
}

function admitted({ action, caller }: Ask): boolean {
  if (action === 'administer') return caller.kind === 'operator'
  return caller.kind === 'workload' || (action !== 'mint' && action !== 'introspect')
}

/** Decides each in turn and compares; tells how it went. */
function compare(texts: string[], questions: Ask[], seen: (outcome: Outcome) => void): void {
  const set = prepare(texts.map(unchecked))
  const named = Object.fromEntries(texts.map((text, index) => [`p${index}`, text]))
  for (const question of questions) {
    const decision = decide(set, question)
    if (!admitted(question)) {
      expect(decision).toMatchObject({ allow: false, policies: [] })
      continue
    }
    const plain = plainAnswer(named, question)
    expect(decision.allow).toBe(plain.allow && plain.failed.length === 0)
    if (plain.failed.length > 0) {
      expect(decision.reason).toBe(`policies could not be evaluated: ${plain.failed.join(', ')}`)
      seen('failed')
    } else {
      expect(decision.policies).toEqual(plain.satisfied)
      seen(plain.allow ? 'allowed' : plain.satisfied.length > 0 ? 'forbidden' : 'unmatched')
    }
  }
}
type Outcome = 'allowed' | 'forbidden' | 'failed' | 'unmatched'

describe('a decision on what is read, remembered, equals one on everything, asked afresh', () => {
  test('whatever policies there are together', () => {
    const counts = { allowed: 0, forbidden: 0, failed: 0, unmatched: 0 }
    fc.assert(
      fc.property(policies, asks, (texts, questions) => {
        compare(texts, questions, outcome => {
          counts[outcome] += 1
        })
      }),
      { numRuns: 250 },
    )
    // The grammar reaches every outcome; were one missing, the property would say less than it seems.
    for (const count of Object.values(counts)) expect(count).toBeGreaterThan(20)
  }, 60_000)

  test('for each way to read something, alone', () => {
    for (const expression of [...rememberable, ...fleeting]) {
      const alone = expression.map(body => `permit(principal, action, resource) when { ${body} };`)
      for (const action of asked) {
        const property = fc.property(alone, asksOf(action), (text, questions) =>
          compare([text], questions, () => {}),
        )
        fc.assert(property, { numRuns: action === 'administer' ? 1 : action === 'mint' ? 3 : 2 })
      }
    }
  }, 120_000)
})
