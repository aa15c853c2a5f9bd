import * as cedar from '@cedar-policy/cedar-wasm/nodejs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { compilePolicies } from '../../src/decide/compile.ts'
import { decide } from '../../src/decide/decide.ts'
import { cutFile } from '../../src/decide/source.ts'
import { depthOf, maxDepth } from '../../src/decide/tokens.ts'
import { schemaText } from '../../src/decide/vocabulary.ts'
import { ci, compiled, faultsOf, mint, onTask } from './asks.ts'

const mintable = 'principal is Workload, action == Action::"mint", resource'

describe('a policy does not load', () => {
  test.each([
    ['without an @id', `permit(${mintable});`, ['every policy needs an @id']],
    ['with an empty @id', `@id permit(${mintable});`, ['@id must be 1 to 128']],
    ['with an @id that a log could misread', `@id("a b") permit(${mintable});`, ['@id must be 1 to 128']],
    ['that is not Cedar', `@id("a") allow(${mintable});`, ['test.cedar:1:10']],
    ['that is a template', `@id("a") permit(principal == ?principal, action, resource);`, ['templates']],
    [
      'whose attribute the schema does not know',
      `@id("a") permit(${mintable}) when { context.task.color == "red" };`,
      ['a: attribute `color`'],
    ],
    [
      'whose action the schema does not know',
      `@id("a") permit(principal, action == Action::"mnit", resource);`,
      ['unrecognized action'],
    ],
    [
      'that reads a tag without asking whether it is there',
      `@id("a") permit(${mintable}) when { principal.getTag("x") == "y" };`,
      ['unable to guarantee safety'],
    ],
    [
      'that reads the address without asking whether it is there',
      `@id("a") permit(${mintable}) when { context.ip.isLoopback() };`,
      ['unable to guarantee safety'],
    ],
    [
      'with a @ttl that is no duration',
      `@id("a") @ttl("5 minutes") permit(${mintable});`,
      ['@ttl must be a duration'],
    ],
    ['with a @ttl of nothing', `@id("a") @ttl permit(${mintable});`, ['@ttl must be a duration']],
    ['with a @ttl of zero', `@id("a") @ttl("0s") permit(${mintable});`, ['@ttl must be a duration']],
    ['that forbids with a @ttl', `@id("a") @ttl("5m") forbid(${mintable});`, ['@ttl on a forbid']],
    [
      'with a @ttl where no credential is made',
      `@id("a") @ttl("5m") permit(principal, action == Action::"read", resource);`,
      ['not about credentials'],
    ],
    [
      'that needs an approval',
      `@id("a") @approval("staff/groups/sre") permit(${mintable});`,
      ['@approval cannot be honoured'],
    ],
    [
      'that needs a credential bound by what is not there yet',
      `@id("a") @binding("dpop") permit(${mintable});`,
      ['@binding("dpop") cannot be honoured'],
    ],
    [
      'with a @binding to nothing known',
      `@id("a") @binding("MTLS") permit(${mintable});`,
      ['must be "mtls"'],
    ],
    ['with a @binding to nothing', `@id("a") @binding permit(${mintable});`, ['must be "mtls"']],
    [
      'that forbids with a @binding',
      `@id("a") @binding("mtls") forbid(${mintable});`,
      ['@binding on a forbid'],
    ],
    [
      'with a @binding where no credential is made',
      `@id("a") @binding("mtls") permit(principal, action == Action::"read", resource);`,
      ['not about credentials'],
    ],
    [
      'with what is nearly a @binding',
      `@id("a") @bindings("mtls") permit(${mintable});`,
      ['@bindings is not known; @binding is'],
    ],
    [
      'with an annotation that is nearly one that means something',
      `@id("a") @tttl("5m") permit(${mintable});`,
      ['@tttl is not known; @ttl is'],
    ],
    [
      'with an annotation given twice',
      `@id("a") @ttl("5m") @ttl("1m") permit(${mintable});`,
      ['duplicate annotation'],
    ],
    [
      'that takes the name of what is built in and cannot be replaced',
      `@id("builtin-bootstrap") permit(${mintable});`,
      ['no built-in policy'],
    ],
    [
      'that asks for the claims of an owner',
      `@id("a") forbid(principal, action == Action::"read", resource) when { resource.owner.hasTag("x") };`,
      ['neither the principal'],
    ],
    [
      'that asks for the groups of an owner',
      `@id("a") forbid(principal, action == Action::"read", resource) when { resource.owner in Group::"x" };`,
      ['neither the principal'],
    ],
    [
      'that asks for the claims of somebody it names',
      `@id("a") forbid(${mintable}) when { Workload::"x".hasTag("y") };`,
      ['neither the principal'],
    ],
    [
      'with half of a character',
      `@id("a") permit(${mintable}) when { context.audience == "\ud800" };`,
      ['not valid Unicode'],
    ],
  ])('%s', (_, text, messages) => {
    const faults = faultsOf(text)
    for (const message of messages) expect(faults.join('\n')).toContain(message)
    expect(faults).not.toEqual([])
  })

  test('whose @id another file has taken, and both places are named', () => {
    const text = `@id("twice")\npermit(${mintable});`
    const result = compilePolicies([
      { name: 'a.cedar', text: `// one\n${text}` },
      { name: 'b.cedar', text },
    ])
    expect(result).toMatchObject({
      ok: false,
      faults: [
        {
          file: 'b.cedar',
          line: 1,
          column: 1,
          policy: 'twice',
          message: '@id is taken by the policy at a.cedar:2',
        },
      ],
    })
  })

  test.each([
    ['parentheses', `${'('.repeat(5000)}true${')'.repeat(5000)}`],
    ['parentheses that are never closed', '('.repeat(5000)],
    ['alternatives', 'context.audience == "a" || '.repeat(5000)],
    ['branches', 'if true then true else '.repeat(5000)],
    ['members', `context${'.a'.repeat(5000)}`],
    ['sets', `${'['.repeat(5000)}1`],
    ['negations', '!('.repeat(5000)],
    ['indexes', `context${'["a"]'.repeat(5000)}`],
    ['clauses', `true${' } when { true'.repeat(5000)}`],
    ['calls', `context.now${'.offset(duration("1h"))'.repeat(5000)}`],
  ])('that nests %s too deep for the engine, which lives on', (_, body) => {
    expect(faultsOf(`@id("a") permit(${mintable}) when { ${body} };`)).toEqual([
      'test.cedar:1:1: an expression is nested too deep',
    ])
    expect(decide(compiled(`@id("ok") permit(${mintable});`), mint()).allow).toBe(true)
  })
})

test('every fault of every file is told at once, in order, with its place', () => {
  const result = compilePolicies([
    { name: 'b.cedar', text: '@id("é") permit(principal, action, resource);' },
    {
      name: 'a.cedar',
      text: `// Grüße ; "not a string\n@id("one") permit(${mintable});\n\n// @id("two") permit(principal, action, resource);\n  @id("two") // here\n  permit(principal, action == Action::"read", resource) when { resource.kind == "ü;" && resource.nme == "x" };\n@tttl("1s") permit(${mintable});`,
    },
  ])
  const places = result.ok ? [] : result.faults.map(f => [f.file, f.line, f.column, f.policy])
  expect(places).toEqual([
    ['a.cedar', 6, 89, 'two'],
    ['a.cedar', 7, 1, null],
    ['a.cedar', 7, 1, null],
    ['b.cedar', 1, 1, null],
  ])
})

test('a policy that can never apply is a warning, with its place', () => {
  const result = compilePolicies([
    { name: 'a.cedar', text: `\n@id("never") permit(${mintable} == Task::"x");` },
  ])
  expect(result.ok).toBe(true)
  expect(result.warnings[0]).toMatchObject({ file: 'a.cedar', line: 2, policy: 'never' })
})

test('every action of the contract can be written a policy for, in strict mode', () => {
  const schema = cedar.schemaToJson(schemaText)
  if (schema.type === 'failure') throw new Error('the schema does not parse')
  const declared = Object.entries(schema.json['']?.actions ?? {})
  expect(declared.map(([name]) => name).toSorted()).toEqual(
    [
      ...['open', 'open_child', 'mint', 'delegate', 'use', 'introspect', 'evaluate', 'approve', 'administer'],
      ...['read', 'close', 'suspend', 'resume', 'extend', 'revoke', 'change_context', 'heartbeat'],
    ].toSorted(),
  )
  const extra: Record<string, string> = {
    open: 'context.task.kind == "x" && context.task.owner == context.task.owner',
    open_child: 'context.task.depth < 3 && resource.owner == context.task.owner',
    mint: 'context.audience == "x" && context.credential == "jwt" && context.ttl < 9 && context.usages.isEmpty() && context.dns_names.contains("a")',
    delegate: 'context.delegator.source == "x" && context.task.state == "open"',
    use: 'context.action == "x" && context.scopes.contains("a") && context.asker == principal && context.input.hasTag("a") && resource.kind == "x"',
    introspect: 'context.audience == "x" && resource.age_seconds < 60',
    evaluate: 'context.audience == "x" && resource.subject == "y"',
    approve: 'context.ttl < 9 && context.task.hasTag("ticket")',
  }
  for (const [action, { appliesTo }] of declared) {
    for (const principal of appliesTo?.principalTypes ?? []) {
      const text = `@id("a") permit(principal is ${principal}, action == Action::"${action}", resource)
        when { context.now > datetime("2026-01-01") && context has ip && context.ip.isInRange(ip("10.0.0.0/8"))
          ${extra[action] === undefined ? '' : `&& ${extra[action]}`} };`
      expect(faultsOf(text)).toEqual([])
    }
  }
})

test('an operator and a workload are different types: neither can be meant where the schema has the other', () => {
  expect(
    faultsOf(
      '@id("a") permit(principal is Operator, action in [Action::"read", Action::"administer"], resource);',
    ),
  ).toEqual([])
  const result = compilePolicies([
    { name: 'a.cedar', text: '@id("a") permit(principal is Operator, action == Action::"mint", resource);' },
  ])
  expect(result.warnings.map(warning => warning.message).join()).toContain(
    'unable to find an applicable action',
  )
})

describe('the version of a set', () => {
  const one = { name: 'a.cedar', text: `@id("one") permit(${mintable});` }
  const two = { name: 'b.cedar', text: `@id("two") permit(${mintable});` }
  const versionOf = (...files: { name: string; text: string }[]): string => {
    const result = compilePolicies(files)
    return result.ok ? result.compiled.version : ''
  }
  test('is the same however the policies are spread over files', () => {
    const together = { name: 'z.cedar', text: `// all\n${two.text}\n\n${one.text}` }
    expect(versionOf(one, two)).toMatch(/^[0-9a-f]{16}$/)
    expect(versionOf(together)).toBe(versionOf(one, two))
  })
  test('changes with any policy, its annotations included', () => {
    const changed = { name: 'b.cedar', text: `@id("two") @ttl("5m") permit(${mintable});` }
    expect(new Set([versionOf(), versionOf(one), versionOf(one, two), versionOf(one, changed)]).size).toBe(4)
  })
})

describe('parsers', () => {
  test('whatever text comes, it is cut into policies or faults, and nothing is thrown', () => {
    const token = fc.constantFrom(
      '@id("a")',
      'permit',
      'forbid',
      '(',
      ')',
      'principal',
      'action',
      'resource',
      ',',
      ';',
      'when',
      '{',
      '}',
      '"',
      '\\',
      '//',
      '\n',
      ' ',
      'true',
      '&&',
      'é',
      '?principal',
      '.',
      '@',
    )
    const whole = fc.constant('@id("a") permit(principal, action, resource);')
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string({ unit: 'binary' }),
          fc.array(fc.oneof(token, whole)).map(parts => parts.join(' ')),
        ),
        text => {
          const { policies, faults } = cutFile({ name: 'f', text })
          for (const policy of policies) expect(text.startsWith(policy.text, policy.start)).toBe(true)
          for (const fault of faults) expect(fault.line).toBeGreaterThan(0)
          // Nothing falls between the two: without a policy there was a fault, or only comments.
          if (faults.length === 0) {
            const rest = policies.reduceRight(
              (left, p) => left.slice(0, p.start) + left.slice(p.start + p.text.length),
              text,
            )
            expect(rest.replace(/\/\/[^\n\r]*/g, '').trim()).toBe('')
          }
        },
      ),
      { numRuns: 1000 },
    )
  })

  test('the depth of what people write is far from the limit', () => {
    const list = Array.from({ length: 2000 }, (_, n) => `"repo-${n}"`).join(', ')
    const text = `@id("a") permit(${mintable}) when { principal.hasTag("repository") && [${list}].contains(principal.getTag("repository")) };`
    expect(depthOf(text.repeat(20))).toBeLessThan(maxDepth / 4)
    expect(faultsOf(text)).toEqual([])
  })

  test('depth counts what nests and not what is in strings and comments', () => {
    expect(depthOf('a && b && c')).toBe(2)
    expect(depthOf('(a)')).toBe(3.5)
    expect(depthOf('(a), (b), ((c))')).toBe(7)
    expect(depthOf('"((((" // ((((\n a.b')).toBe(1)
    expect(depthOf('((((')).toBe(14)
  })
})

describe('what is built in', () => {
  test('is replaced by a policy of the same @id', () => {
    const other = { ...ci, id: 'github:other' }
    const replaced = compiled(
      '@id("builtin-owner-read") permit(principal == Workload::"github:other", action == Action::"read", resource);',
    )
    expect(decide(replaced, onTask('read')).allow).toBe(false)
    expect(decide(replaced, onTask('read', other))).toMatchObject({
      allow: true,
      policies: ['builtin-owner-read'],
    })
    expect(decide(replaced, onTask('close')).policies).toEqual(['builtin-owner-close'])
  })
})
