import { bootstrapOperator } from '../../src/attest/operator-token.ts'
import { type CompiledPolicies, compilePolicies } from '../../src/decide/compile.ts'
import type { Ask, Caller, TaskAction, TaskView } from '../../src/decide/decision.ts'
import { faultText } from '../../src/decide/fault.ts'

export const noon = Date.parse('2026-03-02T12:00:00Z')

export const taskActions: TaskAction[] = [
  'read',
  'close',
  'suspend',
  'resume',
  'extend',
  'revoke',
  'change_context',
  'heartbeat',
]

export const ci: Caller = {
  id: 'github:repo:acme/api:environment:production',
  kind: 'workload',
  trust: 'github',
  tags: { repository: 'acme/api', environment: 'production' },
  groups: ['github/teams/deployers'],
}

export const staff: Caller = {
  id: 'staff:anna',
  kind: 'operator',
  trust: 'staff',
  tags: { email: 'anna@acme.example' },
  groups: ['staff/groups/sre'],
}

export const bootstrap: Caller = {
  id: bootstrapOperator,
  kind: 'operator',
  trust: 'hallpass',
  tags: {},
  groups: [],
}

export const ciTask: TaskView = {
  id: '019a0000-0000-7000-8000-000000000001',
  kind: 'ci-job',
  state: 'open',
  context: { environment: 'production', sha: 'abc' },
  subject: ci.id,
  owner: ci.id,
  depth: 0,
  path: [],
  openedAt: noon - 60_000,
}

/** A task below `ciTask`, with a task between them. */
export const grandchild: TaskView = {
  id: '019a0000-0000-7000-8000-000000000003',
  kind: 'scan',
  state: 'open',
  context: { image: 'api:4.2' },
  subject: ci.id,
  owner: ci.id,
  depth: 2,
  path: [ciTask.id, '019a0000-0000-7000-8000-000000000002'],
  openedAt: noon - 30_000,
}

type Mint = Extract<Ask, { action: 'mint' }>

export const mint = (change: Partial<Mint> = {}): Mint => ({
  action: 'mint',
  caller: ci,
  now: noon,
  ip: '10.1.2.3',
  task: ciTask,
  scope: 'deploy:prod',
  audience: 'https://deploy.example',
  credential: 'jwt',
  usages: [],
  dnsNames: [],
  ttl: 300,
  ...change,
})

export const onTask = (action: TaskAction, caller: Caller = ci, task: TaskView = ciTask): Ask => ({
  action,
  caller,
  now: noon,
  ip: null,
  task,
})

export const open = (caller: Caller = ci, task: TaskView = ciTask): Ask => ({
  action: 'open',
  caller,
  now: noon,
  ip: null,
  task: { ...task, id: 'new', openedAt: noon },
})

/** A child of kind `scan`, as it would be. */
export const openChild = (
  caller: Caller = ci,
  parent: TaskView = ciTask,
): Extract<Ask, { action: 'open_child' }> => ({
  action: 'open_child',
  caller,
  now: noon,
  ip: null,
  parent,
  task: {
    ...grandchild,
    id: 'new',
    owner: caller.id,
    depth: parent.depth + 1,
    path: [...parent.path, parent.id],
    openedAt: noon,
  },
})

export const administer = (caller: Caller): Ask => ({ action: 'administer', caller, now: noon, ip: null })

export const introspect = (caller: Caller = ci): Ask => ({
  action: 'introspect',
  caller,
  now: noon,
  ip: null,
  task: ciTask,
  audience: 'https://deploy.example',
})

/** The set of one file; its faults fail the test that wanted it. */
export function compiled(text: string): CompiledPolicies {
  const result = compilePolicies([{ name: 'test.cedar', text }])
  if (!result.ok) throw new Error(result.faults.map(faultText).join('\n'))
  return result.compiled
}

/** What is wrong with one file, a line each. */
export function faultsOf(text: string): string[] {
  const result = compilePolicies([{ name: 'test.cedar', text }])
  return result.ok ? [] : result.faults.map(faultText)
}
