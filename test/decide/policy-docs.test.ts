import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { type CompiledPolicies, compilePolicies } from '../../src/decide/compile.ts'
import { decide } from '../../src/decide/decide.ts'
import type { Caller, TaskView } from '../../src/decide/decision.ts'
import { faultText } from '../../src/decide/fault.ts'
import { builtInFile } from '../../src/decide/vocabulary.ts'
import { ciTask, mint, noon, onTask, open, openChild, staff } from './asks.ts'

const text = readFileSync(new URL('../../docs/policy.md', import.meta.url), 'utf8')
const examples = Array.from(text.matchAll(/```cedar\n([\s\S]*?)```/g), match => match[1]!)

function load(...files: string[]): CompiledPolicies {
  const result = compilePolicies(files.map((file, n) => ({ name: `example-${n}.cedar`, text: file })))
  if (!result.ok) throw new Error(result.faults.map(faultText).join('\n'))
  expect(result.warnings).toEqual([])
  return result.compiled
}

test('every example of docs/policy.md loads, alone and with the others', () => {
  expect(examples).toHaveLength(5)
  for (const example of examples) load(example)
  load(...examples.slice(1))
})

test('what docs/policy.md says is built in is what is', () => {
  const bare = (cedar: string): string => cedar.replace(/\/\/.*\n/g, '').trim()
  expect(bare(examples[0]!)).toBe(bare(builtInFile.text))
})

test('the CI example decides as its text says', () => {
  const set = load(examples[1]!)
  const job = (ref: string): Caller => ({
    id: 'github:repo:acme/api',
    kind: 'workload',
    trust: 'github',
    tags: { repository_id: '600123', ref },
    groups: [],
  })
  const task = (environment: string) => ({ ...ciTask, context: { environment } })
  const deploy = (scope: string, environment: string, ref: string, now = noon) =>
    decide(
      set,
      mint({
        caller: job(ref),
        task: task(environment),
        scope,
        audience: 'https://deploy.acme.example',
        now,
      }),
    )

  expect(decide(set, open(job('x'))).policies).toEqual(['api-open'])
  expect(decide(set, open({ ...job('x'), tags: { repository_id: '1' } })).allow).toBe(false)
  const testing = mint({ caller: job('x'), scope: 'test:push', audience: 'https://registry.acme.example' })
  expect(decide(set, testing)).toMatchObject({ allow: true, ttl: 600 })
  expect(deploy('deploy:staging', 'staging', 'refs/heads/feature')).toMatchObject({ allow: true, ttl: 300 })
  expect(deploy('deploy:prod', 'staging', 'refs/heads/main').allow).toBe(false)
  expect(deploy('deploy:prod', 'production', 'refs/heads/feature').allow).toBe(false)
  expect(deploy('deploy:prod', 'production', 'refs/heads/main')).toMatchObject({ allow: true, ttl: 120 })
  const christmas = Date.parse('2026-12-24T18:00:00Z')
  expect(deploy('deploy:prod', 'production', 'refs/heads/main', christmas).policies).toEqual([
    'december-freeze',
  ])
})

test('the agent example decides as its text says', () => {
  const set = load(examples[2]!)
  const agent: Caller = {
    id: 'spiffe://prod.example/agent/triage',
    kind: 'workload',
    trust: 'prod',
    tags: {},
    groups: [],
  }
  const task = { ...ciTask, kind: 'incident', owner: agent.id, context: { ticket: 'INC-7' } }
  const ask = mint({ caller: agent, task, scope: 'customers:read:eu', audience: 'https://crm.acme.example' })

  expect(decide(set, open(agent, task)).policies).toEqual(['triage-open'])
  expect(decide(set, ask)).toMatchObject({ allow: true, policies: ['triage-read-customers'], ttl: 180 })
  expect(decide(set, { ...ask, task: { ...task, context: {} } }).allow).toBe(false)
  expect(decide(set, { ...ask, now: noon + 3_600_000 }).allow).toBe(false)
  expect(decide(set, { ...ask, ip: '192.0.2.1' }).policies).toEqual(['customers-from-the-cluster-only'])
  expect(decide(set, { ...ask, ip: null }).allow).toBe(false)
  expect(decide(set, onTask('change_context', agent, task)).allow).toBe(true)
  expect(decide(set, onTask('suspend', { ...staff, groups: ['staff/groups/oncall'] }, task)).allow).toBe(true)
  expect(decide(set, onTask('suspend', staff, task)).allow).toBe(false)
})

test('the example of a tree decides as its text says', () => {
  const set = load(examples[3]!)
  const agent: Caller = {
    id: 'spiffe://prod.example/agent/triage',
    kind: 'workload',
    trust: 'prod',
    tags: {},
    groups: [],
  }
  const incident = { ...ciTask, id: 'incident', kind: 'incident', owner: agent.id }
  const lookup = { ...incident, id: 'lookup', kind: 'lookup', depth: 1, path: [incident.id] }
  const child = (parent: TaskView, task: Partial<TaskView>): boolean => {
    const ask = openChild(agent, parent)
    return decide(set, { ...ask, task: { ...ask.task, kind: 'lookup', ...task } }).allow
  }
  expect(child(incident, {})).toBe(true)
  expect(child(incident, { kind: 'incident' })).toBe(false)
  expect(child(incident, { owner: 'spiffe://prod.example/other' })).toBe(false)
  expect(child({ ...incident, owner: 'spiffe://prod.example/other' }, {})).toBe(false)
  expect(child(lookup, {})).toBe(false)

  const logs = (task: TaskView) =>
    decide(set, mint({ caller: agent, task, scope: 'logs:read:eu', audience: 'https://logs.acme.example' }))
  expect(logs(lookup)).toMatchObject({ allow: true, ttl: 120 })
  expect(logs(incident).allow).toBe(false)
  expect(logs({ ...lookup, path: [ciTask.id] }).policies).toEqual(['under-investigation'])
  const security: Caller = { ...staff, groups: ['staff/groups/security'] }
  expect(decide(set, onTask('read', security, { ...lookup, path: [ciTask.id] })).allow).toBe(true)
  expect(decide(set, onTask('read', security, ciTask)).allow).toBe(true)
  expect(decide(set, onTask('read', security, lookup)).allow).toBe(false)
})

test('the example of certificates decides as its text says', () => {
  const set = load(
    examples[4]!,
    '@id("all") permit (principal is Workload, action == Action::"mint", resource);',
  )
  const payments: Caller = {
    id: 'spiffe://prod.example/svc/payments',
    kind: 'workload',
    trust: 'prod',
    tags: {},
    groups: [],
  }
  const certificate = (usages: string[], dnsNames: string[], scope = 'deploy:prod') =>
    decide(
      set,
      mint({ caller: payments, scope, audience: 'https://a.example', credential: 'x509', usages, dnsNames }),
    )
  expect(decide(set, mint({ caller: payments })).allow).toBe(true)
  expect(certificate(['clientAuth'], []).allow).toBe(true)
  expect(certificate(['serverAuth'], []).allow).toBe(false)
  expect(certificate(['clientAuth'], ['bank.example']).allow).toBe(false)

  const alone = load(examples[4]!)
  const serve = (dnsNames: string[], credential: 'jwt' | 'x509' = 'x509') =>
    decide(
      alone,
      mint({
        caller: payments,
        scope: 'mesh:serve:payments',
        audience: 'https://mesh.acme.example',
        credential,
        usages: ['serverAuth'],
        dnsNames,
      }),
    )
  expect(serve(['payments.mesh.acme.example'])).toMatchObject({ allow: true, ttl: 600 })
  expect(serve([]).allow).toBe(true)
  expect(serve(['bank.example']).allow).toBe(false)
  expect(serve([], 'jwt').allow).toBe(false)
})
