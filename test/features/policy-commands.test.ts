import { execFile } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startIssuer, type TestIssuer } from '../support/issuer.ts'
import { createTrustDomain } from '../support/spiffe.ts'
import { type Claims, fresh, loadExample } from './example.ts'

const root = join(import.meta.dirname, '../..')
const names = ['github', 'gitlab', 'buildkite', 'circleci', 'kubernetes', 'spiffe', 'operators']
const folder = mkdtempSync(join(tmpdir(), 'hallpass-commands-'))
let issuer: TestIssuer
beforeAll(async () => {
  issuer = await startIssuer({ alg: 'RS256' })
})
afterAll(async () => {
  await issuer?.close()
  rmSync(folder, { recursive: true, force: true })
})

/** The command as a process of its own, as a pipeline runs it. */
const hallpass = (args: string[], cwd = root) =>
  new Promise<{ code: number; out: string; err: string }>(resolve => {
    const cli = join(root, 'src/cli/hallpass.ts')
    execFile(process.execPath, [cli, ...args], { cwd, env: { PATH: process.env.PATH } }, (error, out, err) =>
      resolve({ code: error === null ? 0 : Number(error.code), out, err }),
    )
  })

describe('hallpass policy check', () => {
  test.each(names)('finds nothing wrong with examples/%s', async name => {
    const dir = `examples/${name}/policies`
    expect(await hallpass(['policy', 'check', dir])).toEqual({
      code: 0,
      out: `${dir} would be loaded\n`,
      err: '',
    })
  })

  test('breaks the build over a change that would not load, and says where', async () => {
    const dir = join(folder, 'broken')
    cpSync(join(root, 'examples/github/policies'), dir, { recursive: true })
    writeFileSync(
      join(dir, 'more.cedar'),
      '@id("x")\npermit (principal, action == Action::"mnt", resource);\n',
    )
    const { code, out, err } = await hallpass(['policy', 'check', dir])
    expect([code, out]).toEqual([1, ''])
    expect(err).toMatch(/^more\.cedar:2:30: x: .*mnt/m)
  })
})

describe('hallpass policy explain', () => {
  /** The example as its reader has it, but for the issuer: one that can be reached. */
  const house = (name: string) => {
    const cwd = join(folder, name)
    cpSync(join(root, 'examples', name), cwd, { recursive: true })
    const file = join(cwd, 'hallpass.yaml')
    const iss = String(loadExample(name).claims.iss)
    writeFileSync(file, readFileSync(file, 'utf8').replace(`issuer: ${iss}`, `issuer: ${issuer.issuer}`))
    return cwd
  }
  const explain = (cwd: string, token: string, ...asked: string[]) => {
    writeFileSync(join(cwd, 'token.jwt'), token)
    return hallpass(['policy', 'explain', '--attestation', 'token.jwt', ...asked], cwd)
  }
  const attest = (name: string, more: Claims = {}) =>
    issuer.sign(fresh(loadExample(name).claims, { iss: issuer.issuer, ...more }))

  test('shows for a GitHub job what would be decided, by which policy in which line, and in what context', async () => {
    const cwd = house('github')
    const asked = ['--scope', 'deploy:prod', '--audience', 'https://deploy.example']
    const { code, out } = await explain(cwd, attest('github'), ...asked)
    expect(code).toBe(0)
    expect(out).toContain('acme%2Fapi/runs/22259804324/attempts/1/jobs/63402917765')
    expect(out).toMatch(/ALLOW {2}workload "github:repo:acme\/api:environment:production" mint "deploy:prod"/)
    expect(out).toMatch(/permitted by github-deploy-prod \(github\.cedar:\d+\): the production environment/)
    expect(out).toContain('at most 600 s')

    const refused = await explain(cwd, attest('github', { event_name: 'pull_request' }), ...asked)
    expect(refused.code).toBe(1)
    expect(refused.out).toMatch(/DENY .*\n {2}forbidden by github-no-pull-requests/)
  })

  test('asks for an agent, whose attestation names no task, what kind it would be', async () => {
    const cwd = house('spiffe')
    const prod = createTrustDomain('prod.example')
    await prod.writeBundle(join(cwd, 'prod.bundle.json'))
    const token = prod.svid('/agent/deployer', { audience: 'https://hallpass.example' })
    const asked = ['--scope', 'logs:read:eu', '--audience', 'https://logs.example']
    expect((await explain(cwd, token, ...asked)).err).toMatch(/--kind is needed/)
    const { code, out } = await explain(cwd, token, ...asked, '--kind', 'agent-run', '--json')
    expect(code).toBe(0)
    expect(JSON.parse(out)).toMatchObject({
      principal: { id: 'spiffe://prod.example/agent/deployer', trust: 'prod' },
      decisions: [
        { action: 'open', allow: true, policies: ['agents-open'] },
        { action: 'mint', scope: 'logs:read:eu', allow: true, policies: ['agents-read-logs'] },
      ],
    })
    const chain = prod.x509.svid('/agent/deployer').pem.cert
    const certificate = ['--kind', 'agent-run', '--usage', 'serverAuth', '--dns-name', 'logs.example']
    const shown = await explain(cwd, chain, ...asked, ...certificate)
    expect(shown.out).toContain(
      'ALLOW  workload "spiffe://prod.example/agent/deployer" mint "logs:read:eu" for "https://logs.example" as a certificate (serverAuth) named "logs.example" in',
    )
    expect((await explain(cwd, '-----BEGIN X', ...asked, ...certificate)).code).toBe(1)
  })
})
