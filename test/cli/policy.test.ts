import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { readContract } from '../../src/http/contract/document.ts'
import { startIssuer, type TestIssuer } from '../support/issuer.ts'
import { folder, hallpass } from './command.ts'

const policies = `
@id("ci-open")
permit(principal is Workload, action == Action::"open", resource == TaskKind::"ci-job");

@id("ci-deploy")
@ttl("2m")
permit(principal is Workload, action == Action::"mint", resource == Scope::"deploy:prod")
when { context.task.hasTag("environment") && context.task.getTag("environment") == "production" };
`

let issuer: TestIssuer
beforeAll(async () => {
  issuer = await startIssuer()
})
afterAll(() => issuer.close())

const house = (cedar = policies) => {
  const cwd = folder()
  mkdirSync(join(cwd, 'policies'))
  writeFileSync(join(cwd, 'policies', 'ci.cedar'), cedar)
  writeFileSync(
    join(cwd, 'hallpass.yaml'),
    `
issuer: https://hallpass.example
trust:
  - name: ci
    kind: oidc
    issuer: ${issuer.issuer}
    task: { kind: ci-job, ref: "{repository}/runs/{run_id}", bind: [environment] }
`,
  )
  return cwd
}

const now = () => Math.floor(Date.now() / 1000)
const claims = {
  sub: 'repo:acme/api',
  aud: 'https://hallpass.example',
  repository: 'acme/api',
  run_id: '7',
  environment: 'production',
}

const explain = (cwd: string, more: object = {}, ...args: string[]) => {
  const token = issuer.sign({ ...claims, iat: now(), exp: now() + 300, ...more })
  writeFileSync(join(cwd, 'attestation.jwt'), `${token}\n`)
  const asked = ['--attestation', 'attestation.jwt', '--audience', 'https://deploy.example', ...args]
  return hallpass(['policy', 'explain', ...asked], { cwd })
}

describe('policy check', () => {
  test('says so when the folder would be loaded', async () => {
    expect(await hallpass(['policy', 'check', 'policies'], { cwd: house() })).toEqual({
      exitCode: 0,
      out: 'policies would be loaded',
      err: '',
    })
  })

  test('names every fault with its place, and exits with 1', async () => {
    const cwd = house(`${policies}\n@id("broken")\npermit(principal, action, resource) when { nonsense };`)
    const { exitCode, out, err } = await hallpass(['policy', 'check', 'policies'], { cwd })
    expect([exitCode, out]).toEqual([1, ''])
    expect(err).toMatch(/^ci\.cedar:\d+:\d+: /m)
    expect(err).toMatch(/hallpass: policies would not be loaded$/)
  })

  test('a folder that is not there is a fault', async () => {
    expect((await hallpass(['policy', 'check', 'nowhere'])).exitCode).toBe(1)
  })

  test('says the same for machines', async () => {
    const { out } = await hallpass(['policy', 'check', 'policies', '--json'], { cwd: house() })
    expect(JSON.parse(out)).toEqual({ faults: [], warnings: [] })
  })
})

describe('policy explain', () => {
  test('shows who asks, for what job, and each decision with its policies', async () => {
    const { exitCode, out } = await explain(house(), {}, '--scope', 'deploy:prod')
    expect(exitCode).toBe(0)
    expect(out).toContain('ci:repo:acme/api')
    expect(out).toContain('acme%2Fapi/runs/7')
    expect(out).toContain('environment = production')
    expect(out).toMatch(/ALLOW {2}workload "ci:repo:acme\/api" open a task of kind "ci-job"/)
    expect(out).toMatch(/ALLOW .*mint "deploy:prod" for "https:\/\/deploy.example"/)
    expect(out).toContain('ci-deploy')
    expect(out).toContain('at most 120 s')
  })

  test('exits with 1 when a scope would be refused, and shows why', async () => {
    const { exitCode, out, err } = await explain(house(), {}, '--scope', 'deploy:prod deploy:staging')
    expect(exitCode).toBe(1)
    expect(out).toMatch(/ALLOW .*"deploy:prod"/)
    expect(out).toMatch(/DENY .*"deploy:staging"/)
    expect(err).toBe('hallpass: Policy would refuse this')
  })

  test('decides by the context that the job would have', async () => {
    const { exitCode, out } = await explain(house(), { environment: 'staging' }, '--scope', 'deploy:prod')
    expect(exitCode).toBe(1)
    expect(out).toMatch(/DENY .*"deploy:prod"/)
  })

  describe('of a child', () => {
    // The whole of what `tasks show` prints.
    const { example } = readContract().schemas.Task as { example: object }
    const root = {
      ...example,
      id: '019a0000-0000-7000-8000-000000000001',
      kind: 'ci-job',
      ref: 'acme%2Fapi/runs/7',
      principal: 'ci:repo:acme/api',
      subject: 'ci:repo:acme/api',
      trust: 'ci',
    }
    const middle = { ...root, id: '019a0000-0000-7000-8000-000000000002', parent_id: root.id, ref: 'x' }
    const below = (cwd: string, parents: unknown[], ...args: string[]) => {
      const files = parents.map((parent, n) => {
        writeFileSync(join(cwd, `${n}.json`), typeof parent === 'string' ? parent : JSON.stringify(parent))
        return ['--parent', `${n}.json`]
      })
      return explain(cwd, {}, '--scope', 'deploy:prod', ...files.flat(), ...args)
    }

    test('asks whether it may be opened below that task, instead of whether it may be opened', async () => {
      const { exitCode, out } = await below(house(), [root])
      expect(exitCode).toBe(0)
      expect(out).toMatch(
        /ALLOW .* open a task of kind "ci-job" below one of kind "ci-job"\n {2}permitted by builtin-owner-open-child/,
      )
      expect(out).toContain(root.id)
      expect(out).not.toContain('ci-open')

      const { out: json } = await below(house(), [root], '--json')
      expect(JSON.parse(json)).toMatchObject({
        task: { kind: 'ci-job', parent_id: root.id },
        decisions: [
          { action: 'open_child', allow: true, policies: ['builtin-owner-open-child'] },
          { action: 'mint' },
        ],
      })
    })

    test('of somebody else’s task, or another job’s of the same principal, it shows the refusal', async () => {
      for (const parent of [
        { ...root, principal: 'ci:other' },
        { ...root, ref: 'acme%2Fapi/runs/8' },
        { ...root, trust: 'x' },
      ]) {
        const { exitCode, out } = await below(house(), [parent])
        expect(exitCode).toBe(1)
        expect(out).toMatch(/DENY .* below one of kind/)
      }
    })

    test('decides by the whole tree and the depth, parent and child apart', async () => {
      const cwd = house(`${policies}
        @id("deep") permit(principal, action == Action::"open_child", resource in Task::"${root.id}")
        when { resource.depth == 1 && resource.state == "suspended" && context.task.state == "open" && context.task.depth == 2 };
        @id("mint-deep") permit(principal, action == Action::"mint", resource) when { context.task in Task::"${root.id}" };`)
      const suspended = { ...middle, state: 'suspended' }
      expect((await below(cwd, [root, suspended])).out).toMatch(
        /permitted by deep [\s\S]*permitted by mint-deep/,
      )
      expect((await below(cwd, [root, middle])).out).toMatch(/DENY .* below/)
    })

    test('tasks that do not hang together, or are none, are a wrong call', async () => {
      for (const [parents, exitCode, message] of [
        [[middle], 2, /0\.json has a parent: give each task above it, the root first/],
        [[root, root], 2, /1\.json is not a child of the task before it/],
        [[{ ...root, context: { a: 1 } }], 1, /0\.json is not a task as/],
        [['{'], 1, /0\.json is not a task as/],
        [['null'], 1, /0\.json is not a task as/],
      ] as const) {
        const { exitCode: code, out, err } = await below(house(), [...parents])
        expect([code, out]).toEqual([exitCode, ''])
        expect(err).toMatch(message)
      }
      const { exitCode, err } = await explain(house(), {}, '--scope', 'a', '--parent', 'nowhere')
      expect(exitCode).toBe(1)
      expect(err).toMatch(/nowhere cannot be read \(ENOENT\)/)
    })
  })

  test('says the same for machines', async () => {
    const { out } = await explain(house(), {}, '--scope', 'deploy:prod', '--json')
    expect(JSON.parse(out)).toMatchObject({
      principal: { id: 'ci:repo:acme/api', kind: 'workload', trust: 'ci' },
      task: { kind: 'ci-job', ref: 'acme%2Fapi/runs/7', context: { environment: 'production' } },
      decisions: [
        { action: 'open', allow: true, policies: ['ci-open'] },
        { action: 'mint', scope: 'deploy:prod', allow: true, policies: ['ci-deploy'], ttl: 120 },
      ],
    })
  })

  test('verifies the attestation for real', async () => {
    for (const more of [
      { exp: now() - 3600 },
      { aud: 'https://other.example' },
      { iss: 'https://other.example' },
    ]) {
      const { exitCode, out, err } = await explain(house(), more, '--scope', 'deploy:prod')
      expect([exitCode, out]).toEqual([1, ''])
      expect(err).toMatch(/^hallpass: The attestation is refused.* \(code attestation_invalid\)$/)
    }
  })

  test('a claim that names the job and is not there is told', async () => {
    const { exitCode, err } = await explain(house(), { run_id: undefined }, '--scope', 'deploy:prod')
    expect(exitCode).toBe(1)
    expect(err).toMatch(/run_id/)
  })

  test('another kind than the job has is a wrong call', async () => {
    const { exitCode, err } = await explain(house(), {}, '--scope', 'deploy:prod', '--kind', 'other')
    expect(exitCode).toBe(2)
    expect(err).toMatch(/--kind must be ci-job/)
  })

  test('where the attestation names no job, the kind must be given', async () => {
    const cwd = house()
    writeFileSync(
      join(cwd, 'hallpass.yaml'),
      `issuer: https://hallpass.example\ntrust: [{ name: ci, kind: oidc, issuer: "${issuer.issuer}" }]`,
    )
    const without = await explain(cwd, {}, '--scope', 'deploy:prod')
    expect(without.exitCode).toBe(2)
    expect(without.err).toMatch(/--kind is needed/)
    expect((await explain(cwd, {}, '--scope', 'deploy:prod', '--kind', 'ci-job')).out).toMatch(/ALLOW .*open/)
  })

  test('policies that would not be loaded decide nothing', async () => {
    const { exitCode, out, err } = await explain(
      house('permit(principal, action, resource);'),
      {},
      '--scope',
      'a',
    )
    expect([exitCode, out]).toEqual([1, ''])
    expect(err).toMatch(/ci\.cedar:1/)
  })

  test('a file that is not there is told', async () => {
    const args = ['policy', 'explain', '--attestation', 'nowhere', '--scope', 'a', '--audience', 'b']
    const { exitCode, err } = await hallpass(args, { cwd: house() })
    expect(exitCode).toBe(1)
    expect(err).toMatch(/nowhere cannot be read \(ENOENT\)/)
  })
})
