import { describe, expect, test } from 'vitest'
import { compilePolicies } from '../../src/decide/compile.ts'
import { decide } from '../../src/decide/decide.ts'
import type { Ask } from '../../src/decide/decision.ts'
import { scopePrefixes } from '../../src/decide/request.ts'
import {
  administer,
  bootstrap,
  ci,
  ciTask,
  compiled,
  grandchild,
  introspect,
  mint,
  noon,
  onTask,
  open,
  openChild,
  staff,
  taskActions,
} from './asks.ts'
import { plainRequest, schemaFaults } from './plain.ts'

const everyone = compiled('@id("all") permit(principal, action, resource);')
const nothing = compiled('')
const every: Ask[] = [
  mint(),
  open(),
  openChild(),
  introspect(),
  administer(staff),
  ...taskActions.map(action => onTask(action)),
]

describe('invariant 5, unknown is no', () => {
  test('nothing is allowed until a policy says so, but what an owner may do', () => {
    for (const ask of every) {
      const allowed = ['read', 'heartbeat', 'close', 'open_child'].includes(ask.action)
      expect([ask.action, decide(nothing, ask).allow]).toEqual([ask.action, allowed])
    }
    expect(decide(nothing, mint())).toMatchObject({ reason: 'no policy permits it', policies: [], ttl: null })
  })

  test('an owner that is somebody else, or nobody, is not the caller', () => {
    expect(decide(nothing, onTask('read', ci, { ...ciTask, owner: 'github:other' })).allow).toBe(false)
    expect(decide(nothing, onTask('read', ci, { ...ciTask, owner: '' })).allow).toBe(false)
    // An operator with the owner's ID is another principal.
    expect(decide(nothing, onTask('read', { ...staff, id: ci.id })).allow).toBe(false)
    // Below a task, it is the owner of that task who opens, whoever the child is for.
    expect(decide(nothing, openChild()).policies).toEqual(['builtin-owner-open-child'])
    expect(decide(nothing, openChild(ci, { ...ciTask, owner: '' })).allow).toBe(false)
    expect(decide(nothing, openChild({ ...staff, id: ci.id })).allow).toBe(false)
  })

  test('a policy that fails to evaluate refuses, whatever the others say', () => {
    const overflow = 'context.ttl * 9223372036854775807 > 0'
    const set = compiled(`@id("yes") permit(principal, action, resource);
      @id("broken") forbid(principal, action == Action::"mint", resource) when { ${overflow} };`)
    expect(decide(set, mint())).toEqual({
      allow: false,
      policies: [],
      reason: 'policies could not be evaluated: broken',
      ttl: null,
      binding: null,
      version: set.version,
    })
    expect(decide(set, mint({ ttl: 1 })).policies).toEqual(['broken'])
    expect(decide(set, mint({ ttl: 0 })).allow).toBe(true)
  })

  test('a permit that fails takes others with it', () => {
    const set = compiled(`@id("yes") permit(principal, action, resource);
      @id("broken") permit(principal, action == Action::"mint", resource) when { context.ttl * 9223372036854775807 > 0 };`)
    expect(decide(set, mint()).reason).toBe('policies could not be evaluated: broken')
  })

  test('an action or a kind of caller that nobody has heard of', () => {
    const strange: unknown[] = [
      { ...mint(), action: 'delegate' },
      { ...mint(), action: '__proto__' },
      { ...mint(), action: undefined },
      { ...onTask('read'), caller: { ...ci, kind: 'robot' } },
    ]
    for (const ask of strange) expect(decide(everyone, ask as Ask).allow).toBe(false)
  })

  test('an operator cannot mint or introspect, a workload cannot administer, however generous the policies', () => {
    expect(decide(everyone, mint({ caller: staff }))).toMatchObject({
      allow: false,
      reason: 'mint is not for an operator',
    })
    expect(decide(everyone, introspect(staff)).allow).toBe(false)
    expect(decide(everyone, administer(ci)).allow).toBe(false)
  })

  test('text that is not valid Unicode, wherever it is', () => {
    const half = '\ud800'
    const asks: Ask[] = [
      mint({ caller: { ...ci, id: half } }),
      mint({ caller: { ...ci, trust: half } }),
      mint({ caller: { ...ci, tags: { [half]: '' } } }),
      mint({ caller: { ...ci, tags: { a: half } } }),
      mint({ caller: { ...ci, groups: [half] } }),
      mint({ scope: half }),
      mint({ audience: half }),
      introspect({ ...ci, tags: { a: half } }),
      ...(['id', 'kind', 'state', 'subject', 'owner'] as const).map(name =>
        mint({ task: { ...ciTask, [name]: half } }),
      ),
      open(ci, { ...ciTask, context: { a: half } }),
      onTask('read', ci, { ...ciTask, path: ['a', half] }),
      ...(['id', 'kind', 'state', 'subject', 'owner'] as const).map(name =>
        openChild(ci, { ...ciTask, [name]: half }),
      ),
      openChild(ci, { ...ciTask, context: { a: half } }),
      openChild(ci, { ...ciTask, path: [half] }),
      { ...openChild(), task: { ...ciTask, subject: half } },
    ]
    for (const ask of asks)
      expect(decide(everyone, ask).reason).toBe('the request holds text that is not valid Unicode')
  })

  test('a time, an address, a number that is none, where a policy reads it', () => {
    const set = compiled(`@id("yes") permit(principal, action == Action::"mint", resource)
      when { context.now > datetime("1970-01-02") || context has ip || context.ttl > 0 };`)
    for (const ask of [
      mint({ now: Number.NaN }),
      mint({ ip: 'localhost' }),
      mint({ ip: '10.0.0.0/8' }),
      mint({ ip: '' }),
      mint({ ttl: 1.5 }),
      mint({ ttl: Number.NaN }),
    ]) {
      expect(decide(set, ask)).toMatchObject({
        allow: false,
        reason: 'the request could not be put to the policies',
      })
    }
    expect(decide(set, mint()).allow).toBe(true)
  })

  test('a scope with more parts than anyone needs', () => {
    expect(decide(everyone, mint({ scope: 'a:'.repeat(31) })).allow).toBe(true)
    expect(decide(everyone, mint({ scope: 'a:'.repeat(100_000) })).reason).toBe(
      'the scope has too many parts',
    )
  })
})

describe('a decision explains itself', () => {
  test('one satisfied permit with a @binding binds, asked again or for the first time', () => {
    const set = compiled(`@id("a") permit(principal, action == Action::"mint", resource);
      @id("b") @binding("mtls") permit(principal, action == Action::"mint", resource) when { context.audience == "bound" };
      @id("c") @binding("mtls") permit(principal, action == Action::"mint", resource) when { context.audience == "no" };
      @id("d") forbid(principal, action == Action::"mint", resource) when { context.audience == "no" };`)
    for (let time = 0; time < 2; time++) {
      expect(decide(set, mint({ audience: 'free' }))).toMatchObject({ policies: ['a'], binding: null })
      expect(decide(set, mint({ audience: 'bound' }))).toMatchObject({
        policies: ['a', 'b'],
        binding: 'mtls',
      })
      expect(decide(set, mint({ audience: 'no' }))).toMatchObject({ allow: false, binding: null })
    }
  })

  test('an allow names every permit that was satisfied, and the shortest of their lives', () => {
    const set = compiled(`@id("c") @ttl("10m") permit(principal, action == Action::"mint", resource);
      @id("a") permit(principal, action, resource);
      @id("b") @ttl("90s") permit(principal in Group::"github/teams/deployers", action == Action::"mint", resource);
      @id("d") @ttl("1s") permit(principal in Group::"github/teams/others", action == Action::"mint", resource);`)
    expect(decide(set, mint())).toEqual({
      allow: true,
      policies: ['a', 'b', 'c'],
      reason: null,
      ttl: 90,
      binding: null,
      version: set.version,
    })
  })

  test('a deny names the forbids that overrode', () => {
    const set = compiled(`@id("yes") permit(principal, action, resource);
      @id("no-prod") forbid(principal, action == Action::"mint", resource == Scope::"deploy:prod");
      @id("no-dev") forbid(principal, action == Action::"mint", resource == Scope::"deploy:dev");`)
    expect(decide(set, mint())).toMatchObject({
      allow: false,
      policies: ['no-prod'],
      reason: 'forbidden by no-prod',
      ttl: null,
    })
    expect(decide(set, mint({ scope: 'deploy:staging' })).policies).toEqual(['yes'])
  })
})

describe('the bootstrap operator', () => {
  const rights: Ask['action'][] = ['read', 'suspend', 'resume', 'close', 'revoke', 'administer']
  const own = (ask: Ask): Ask => ({ ...ask, caller: bootstrap })

  test('cannot be locked out', () => {
    const locked = compiled('@id("nobody") forbid(principal, action, resource);')
    for (const ask of every.map(own)) {
      expect([ask.action, decide(locked, ask).allow]).toEqual([ask.action, rights.includes(ask.action)])
      if (rights.includes(ask.action)) expect(decide(locked, ask).policies).toEqual(['builtin-bootstrap'])
    }
  })

  test('can end a task whatever is written in it', () => {
    const odd = { ...ciTask, context: { note: '\ud800' } }
    expect(decide(nothing, onTask('close', bootstrap, odd)).allow).toBe(true)
  })

  test('has no more than that until a policy says so, and can never mint', () => {
    for (const ask of every.map(own)) expect(decide(nothing, ask).allow).toBe(rights.includes(ask.action))
    expect(decide(everyone, own(open())).policies).toEqual(['all'])
    expect(decide(everyone, own(onTask('extend'))).policies).toEqual(['all'])
    expect(decide(everyone, own(mint())).allow).toBe(false)
    expect(decide(everyone, { ...own(mint()), action: 'approve' } as unknown as Ask).allow).toBe(false)
  })

  test('is an operator: a workload with that ID is nobody', () => {
    expect(decide(nothing, onTask('suspend', { ...bootstrap, kind: 'workload' })).allow).toBe(false)
  })
})

describe('what policies see', () => {
  test('a scope is in what comes before its colons, in policy only', () => {
    const set = compiled('@id("a") permit(principal, action == Action::"mint", resource in Scope::"deploy");')
    for (const scope of ['deploy', 'deploy:prod', 'deploy:eu:prod'])
      expect(decide(set, mint({ scope })).allow).toBe(true)
    for (const scope of ['deployer', 'deploy.prod', 'prod:deploy', 'Deploy:prod', ':deploy', 'deplo']) {
      expect(decide(set, mint({ scope })).allow).toBe(false)
    }
    const exact = compiled(
      '@id("a") permit(principal, action == Action::"mint", resource == Scope::"deploy");',
    )
    expect(decide(exact, mint({ scope: 'deploy:prod' })).allow).toBe(false)
    expect(scopePrefixes('a:b:c')).toEqual(['a', 'a:b'])
  })

  test('the task and its context, where one mints and where one acts on the task itself', () => {
    const when = (task: string) =>
      `${task}.kind == "ci-job" && ${task}.state == "open" && ${task}.subject == "${ci.id}" && ${task}.depth == 0
       && ${task}.age_seconds == 60 && ${task}.owner == Workload::"${ci.id}"
       && ${task}.hasTag("sha") && ${task}.getTag("sha") == "abc" && !${task}.hasTag("ticket")`
    const set =
      compiled(`@id("m") permit(principal, action == Action::"mint", resource) when { ${when('context.task')} };
      @id("e") permit(principal, action == Action::"extend", resource) when { ${when('resource')} };`)
    expect(decide(set, mint()).allow).toBe(true)
    expect(decide(set, onTask('extend')).allow).toBe(true)
    expect(decide(set, mint({ task: { ...ciTask, context: { sha: 'def' } } })).allow).toBe(false)
  })

  test('a task as it would be, where one opens it', () => {
    const set = compiled(`@id("o") permit(principal, action == Action::"open", resource == TaskKind::"ci-job")
      when { context.task.owner == principal && context.task.age_seconds == 0 };`)
    expect(decide(set, open()).allow).toBe(true)
    expect(decide(set, open(ci, { ...ciTask, kind: 'other' })).allow).toBe(false)
    expect(decide(set, open(staff)).allow).toBe(false)
  })

  test('a parent with its own attributes and tags, and the child as it would be with its own', () => {
    const set = compiled(`@id("c") permit(principal, action == Action::"open_child", resource is Task)
      when { resource.kind == "ci-job" && resource.hasTag("sha") && resource.getTag("sha") == "abc" && resource.age_seconds == 60 && resource.depth == 0
        && resource.owner == Workload::"${ci.id}" && !resource.hasTag("image")
        && context.task.kind == "scan" && context.task.hasTag("image") && context.task.age_seconds == 0 && context.task.depth == 1
        && context.task.owner == principal && context.task in resource && !(resource in context.task) };`)
    expect(decide(set, openChild()).policies).toEqual(['builtin-owner-open-child', 'c'])
    for (const parent of [
      { ...ciTask, kind: 'scan' },
      { ...ciTask, context: {} },
      { ...ciTask, context: { sha: 'abc', image: 'x' } },
      grandchild,
    ])
      expect(decide(set, openChild(ci, parent)).policies).toEqual(['builtin-owner-open-child'])
  })

  test('a task in the hierarchy: in each of those above it, and in itself', () => {
    const inside = (name: string, id: string) => `${name} in Task::"${id}"`
    const set = (id: string) =>
      compiled(`@id("m") permit(principal, action == Action::"mint", resource) when { ${inside('context.task', id)} };
        @id("e") permit(principal, action == Action::"extend", resource in Task::"${id}");
        @id("s") permit(principal, action == Action::"suspend", resource) when { ${inside('resource', id)} };
        @id("c") permit(principal is Operator, action == Action::"open_child", resource) when { ${inside('context.task', id)} };
        @id("p") permit(principal is Operator, action == Action::"open_child", resource in Task::"${id}");`)
    const allowed = (id: string, ask: Ask): string[] => decide(set(id), ask).policies
    for (const id of [...grandchild.path, grandchild.id]) {
      expect(allowed(id, mint({ task: grandchild }))).toEqual(['m'])
      expect(allowed(id, onTask('extend', ci, grandchild))).toEqual(['e'])
      expect(allowed(id, onTask('suspend', ci, grandchild))).toEqual(['s'])
      expect(allowed(id, openChild(staff, grandchild))).toEqual(['c', 'p'])
    }
    expect(allowed('new', openChild(staff, grandchild))).toEqual(['c'])
    for (const ask of [mint(), onTask('extend'), onTask('suspend'), openChild(staff)])
      expect(allowed(grandchild.id, ask)).toEqual([])
  })

  test('below a task it is open_child alone that counts', () => {
    const set = compiled('@id("o") permit(principal, action == Action::"open", resource);')
    expect(decide(set, openChild(staff)).allow).toBe(false)
    const replaced = compiled(
      '@id("builtin-owner-open-child") forbid(principal, action == Action::"open_child", resource);',
    )
    expect(decide(replaced, openChild())).toMatchObject({
      allow: false,
      policies: ['builtin-owner-open-child'],
    })
  })

  test('the principal: its source, its claims, its groups', () => {
    const set =
      compiled(`@id("p") permit(principal is Workload in Group::"github/teams/deployers", action == Action::"mint", resource)
      when { principal.source == "github" && principal.hasTag("environment") && principal.getTag("environment") like "prod*" };`)
    expect(decide(set, mint()).allow).toBe(true)
    for (const caller of [
      { ...ci, trust: 'gitlab' },
      { ...ci, groups: [] },
      { ...ci, tags: {} },
      { ...ci, tags: { environment: 'dev' } },
    ]) {
      expect(decide(set, mint({ caller })).allow).toBe(false)
    }
    expect(decide(set, mint({ caller: { ...ci, groups: [...ci.groups, ...ci.groups] } })).allow).toBe(true)
  })

  test('claims with the names of JavaScript things are claims', () => {
    const set = compiled(`@id("p") permit(principal, action == Action::"mint", resource)
      when { principal.hasTag("__proto__") || principal.hasTag("toString") || context.task.hasTag("__entity") };`)
    expect(decide(set, mint()).allow).toBe(false)
    const tags = Object.fromEntries([['__proto__', 'x']])
    expect(decide(set, mint({ caller: { ...ci, tags } })).allow).toBe(true)
    expect(decide(set, mint({ task: { ...ciTask, context: { __entity: 'x' } } })).allow).toBe(true)
  })

  test('an address where there is one, in one spelling', () => {
    const set = compiled(`@id("office") permit(principal, action == Action::"mint", resource)
      when { context has ip && context.ip.isInRange(ip("10.1.0.0/16")) };
      @id("six") permit(principal, action == Action::"mint", resource)
      when { context has ip && context.ip == ip("fe80::1") };`)
    for (const ip of [
      '10.1.2.3',
      '::ffff:10.1.2.3',
      '::ffff:a01:203',
      '0:0:0:0:0:ffff:0a01:0203',
      '::FFFF:a01:203',
    ]) {
      expect([ip, decide(set, mint({ ip })).policies]).toEqual([ip, ['office']])
    }
    expect(decide(set, mint({ ip: 'fe80::1%eth0' })).policies).toEqual(['six'])
    for (const ip of [null, '10.2.0.1', '::a01:203']) expect(decide(set, mint({ ip })).allow).toBe(false)
  })

  test('a request built by hand as the contract has it is valid by the schema, for every action', () => {
    for (const ask of [
      ...every,
      mint({ ip: null }),
      onTask('read', staff),
      open(staff),
      openChild(staff, grandchild),
    ]) {
      expect(schemaFaults(plainRequest(ask))).toEqual([])
    }
    // And the schema would notice.
    expect(schemaFaults(plainRequest(mint({ caller: staff })))).not.toEqual([])
  })
})

describe('what is remembered', () => {
  test('a window in time opens and closes with the clock', () => {
    const set = compiled(`@id("window") permit(principal, action == Action::"mint", resource)
      when { context.now >= datetime("2026-03-02T12:00:00Z") && context.now < datetime("2026-03-02T13:00:00Z") };`)
    const at = (now: number): boolean => decide(set, mint({ now })).allow
    expect([noon - 1, noon, noon + 3_599_999, noon + 3_600_000, noon].map(at)).toEqual([
      false,
      true,
      true,
      false,
      true,
    ])
  })

  test('an age grows, and a clock that went back makes nobody younger than new', () => {
    const set =
      compiled(`@id("young") permit(principal, action == Action::"mint", resource) when { context.task.age_seconds < 120 };
      @id("odd") forbid(principal, action == Action::"mint", resource) when { context.task.age_seconds < 0 };`)
    const at = (now: number): boolean => decide(set, mint({ now })).allow
    expect([noon, noon + 60_000, noon + 59_999, noon - 3_600_000].map(at)).toEqual([true, false, true, true])
  })

  test('is of this tree only, where policy asks what a task is in', () => {
    const set = compiled(`@id("m") permit(principal, action == Action::"mint", resource)
      when { context.task in Task::"${ciTask.id}" };
      @id("r") permit(principal is Operator, action == Action::"read", resource in Task::"${ciTask.id}");`)
    const asks = [
      grandchild,
      { ...grandchild, path: ['other', grandchild.path[1]!] },
      { ...grandchild, path: [] },
      grandchild,
    ]
    expect(asks.map(task => decide(set, mint({ task })).allow)).toEqual([true, false, false, true])
    expect(asks.map(task => decide(set, onTask('read', staff, task)).allow)).toEqual([
      true,
      false,
      false,
      true,
    ])
  })

  test('keeps parent and child apart', () => {
    const set = compiled(`@id("p") permit(principal is Operator, action == Action::"open_child", resource)
      when { resource.kind == "a" && context.task.hasTag("x") };`)
    const kinds = (parent: string, child: string, tags: { parent: object; child: object }): Ask => {
      const ask = openChild(staff, { ...ciTask, kind: parent, context: { ...tags.parent } })
      return { ...ask, task: { ...ask.task, kind: child, context: { ...tags.child } } }
    }
    const x = { x: '1' }
    const asks = [
      kinds('a', 'b', { parent: {}, child: x }),
      kinds('b', 'a', { parent: {}, child: x }),
      kinds('a', 'b', { parent: x, child: {} }),
      kinds('a', 'a', { parent: x, child: x }),
    ]
    expect([...asks, ...asks].map(ask => decide(set, ask).allow)).toEqual([
      true,
      false,
      false,
      true,
      true,
      false,
      false,
      true,
    ])
  })

  test('an address is looked at each time', () => {
    const set = compiled(`@id("office") permit(principal, action == Action::"mint", resource)
      when { context has ip && context.ip.isInRange(ip("10.0.0.0/8")) };`)
    expect(['10.0.0.1', '11.0.0.1', null, '10.0.0.1'].map(ip => decide(set, mint({ ip })).allow)).toEqual([
      true,
      false,
      false,
      true,
    ])
  })

  test('is forgotten beyond a bound, and stays right', () => {
    const set = compiled('@id("a") permit(principal, action == Action::"mint", resource == Scope::"s1");')
    for (let n = 0; n < 5000; n++) expect(decide(set, mint({ scope: `s${n}` })).allow).toBe(n === 1)
    expect(decide(set, mint({ scope: 's1' })).allow).toBe(true)
    const long = 'x'.repeat(5000)
    expect(decide(set, mint({ scope: long })).allow).toBe(false)
    expect(decide(set, mint({ scope: long })).allow).toBe(false)
  })

  test('cannot be changed by who got it', () => {
    const set = compiled('@id("a") permit(principal, action == Action::"mint", resource);')
    for (let n = 0; n < 3; n++) {
      const decision = decide(set, mint())
      expect(decision).toMatchObject({ allow: true, policies: ['a'] })
      decision.policies.push('b')
      decision.allow = false
    }
  })

  test('belongs to one policy set: the next one decides afresh', () => {
    const [yes, no] = ['permit', 'forbid'].map(effect => {
      const result = compilePolicies([
        { name: 'a.cedar', text: `@id("a") ${effect}(principal, action == Action::"mint", resource);` },
      ])
      if (!result.ok) throw new Error('faults')
      return result.compiled
    })
    expect([yes!, no!, yes!, no!].map(set => decide(set, mint()).allow)).toEqual([true, false, true, false])
  })
})
