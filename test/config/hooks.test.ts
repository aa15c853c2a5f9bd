import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { ConfigError, loadConfig } from '../../src/config.ts'
import { faults, folder, load } from './load.ts'

const github = `{ name: github, kind: oidc, issuer: https://token.actions.githubusercontent.com, require: { repository_owner_id: "4711" },
  task: { kind: ci-job, ref: "{repository}/runs/{run_id}/jobs/{check_run_id}" } }`
const gitlab = `{ name: gitlab, kind: oidc, issuer: https://gitlab.com, require: { namespace_id: "72" },
  task: { kind: ci-job, ref: "{project_path}/jobs/{job_id}" } }`
const agents = '{ name: agents, kind: spiffe, trust_domain: prod.example, bundle: { file: b.json } }'
const staff = '{ name: staff, kind: oidc, issuer: https://login.example, operators: {} }'
const secret = 'secret: 0123456789abcdef'
const state = 'state: { path: issue.status, completed: [Done] }'

const file = (trust: string[], ...hooks: string[]) =>
  `trust: [${trust.join(', ')}]\nhooks:\n${hooks.map(hook => `  - { ${hook} }`).join('\n')}`

describe('a hook is a fault when', () => {
  test.each<[string, string[], string, string, RegExp]>([
    ['it has no name', [github], `kind: github, ${secret}`, 'hooks[0].name', /missing/],
    [
      'its name is in capitals',
      [github],
      `name: GitHub, kind: github, ${secret}`,
      'hooks[0].name',
      /lower-case/,
    ],
    [
      'its kind is not known',
      [github],
      `name: github, kind: jenkins, ${secret}`,
      'hooks[0].kind',
      /github, gitlab, kubernetes or generic/,
    ],
    ['it has no kind', [github], `name: github, ${secret}`, 'hooks[0].kind', /missing/],
    ['it has no secret', [github], 'name: github, kind: github', 'hooks[0].secret', /missing/],
    ['its secret is empty', [github], 'name: github, kind: github, secret: ""', 'hooks[0].secret', /empty/],
    [
      'its secret is a number',
      [github],
      'name: github, kind: github, secret: 1234567890123456',
      'hooks[0].secret',
      /quotes/,
    ],
    [
      'it has two secrets',
      [github],
      `name: github, kind: github, ${secret}, secret_file: x`,
      'hooks[0].secret',
      /so is secret_file/,
    ],
    [
      'the file of its secret is away',
      [github],
      'name: github, kind: github, secret_file: ./nowhere',
      'hooks[0].secret_file',
      /ENOENT/,
    ],
    [
      'a signing token of GitLab’s is no base64',
      [gitlab],
      'name: gitlab, kind: gitlab, secret: "whsec_not base64"',
      'hooks[0].secret',
      /signing token/,
    ],
    [
      'a signing token of GitLab’s is short',
      [gitlab],
      'name: gitlab, kind: gitlab, secret: whsec_c2hvcnQ=',
      'hooks[0].secret',
      /signing token/,
    ],
    [
      'its trust source is not there',
      [github],
      `name: github, kind: github, trust: gitlab, ${secret}`,
      'hooks[0].trust',
      /no trust source/,
    ],
    [
      'its trust source is of operators',
      [github, staff],
      `name: github, kind: github, trust: staff, ${secret}`,
      'hooks[0].trust',
      /no trust source of workloads/,
    ],
    [
      'it could be of two trust sources',
      [github, gitlab],
      `name: ci, kind: github, ${secret}`,
      'hooks[0].trust',
      /missing/,
    ],
    ['there is no trust source', [], `name: ci, kind: github, ${secret}`, 'hooks[0].trust', /missing/],
    [
      'neither it nor its trust source says how names are made',
      [agents],
      `name: agents, kind: kubernetes, ${secret}`,
      'hooks[0].ref',
      /no task.ref/,
    ],
    [
      'its ref has no placeholder',
      [github],
      `name: github, kind: github, ref: jobs, ${secret}`,
      'hooks[0].ref',
      /at least one/,
    ],
    [
      'its ref does not pair its braces',
      [github],
      `name: github, kind: github, ref: "{a", ${secret}`,
      'hooks[0].ref',
      /braces/,
    ],
    [
      'two names could be one under its ref',
      [github],
      `name: github, kind: github, ref: "{a}-{b}", ${secret}`,
      'hooks[0].ref',
      /between two/,
    ],
    [
      'a generic one has no ref',
      [github],
      `name: tickets, kind: generic, ${state}, ${secret}`,
      'hooks[0].ref',
      /missing/,
    ],
    [
      'a generic one has no state',
      [github],
      `name: tickets, kind: generic, ref: "{a}", ${secret}`,
      'hooks[0].state',
      /missing/,
    ],
    [
      'its states end nothing',
      [],
      `name: t, kind: generic, ref: "{a}", state: { path: a }, ${secret}`,
      'hooks[0].state',
      /which states/,
    ],
    [
      'a state is two endings',
      [],
      `name: t, kind: generic, ref: "{a}", state: { path: a, completed: [x], failed: [x] }, ${secret}`,
      'hooks[0].state',
      /twice/,
    ],
    [
      'the state has no path',
      [],
      `name: t, kind: generic, ref: "{a}", state: { completed: [x] }, ${secret}`,
      'hooks[0].state.path',
      /missing/,
    ],
    [
      'the path of the state has a hole',
      [],
      `name: t, kind: generic, ref: "{a}", state: { path: a..b, completed: [x] }, ${secret}`,
      'hooks[0].state.path',
      /dots/,
    ],
    [
      'its header is none',
      [],
      `name: t, kind: generic, ref: "{a}", header: "X: y", ${state}, ${secret}`,
      'hooks[0].header',
      /header/,
    ],
    [
      'a state is given to GitHub',
      [github],
      `name: github, kind: github, ${state}, ${secret}`,
      'hooks[0].state',
      /kind generic/,
    ],
    [
      'a header is given to GitHub',
      [github],
      `name: github, kind: github, header: X-A, ${secret}`,
      'hooks[0].header',
      /kind generic/,
    ],
    [
      'it has an unknown key',
      [github],
      `name: github, kind: github, secrets: a, ${secret}`,
      'hooks[0].secrets',
      /did you mean secret/,
    ],
  ])('%s', (_, trust, hook, path, message) => {
    expect(faults(file(trust, hook))).toEqual([{ path, message: expect.stringMatching(message) }])
  })

  test('its name is another’s', () => {
    const hook = `name: github, kind: github, ${secret}`
    expect(faults(file([github], hook, hook))).toEqual([
      { path: 'hooks[1].name', message: 'is that of hooks[0]' },
    ])
  })

  test.each([
    ['empty', '', 'must hold one line'],
    ['of two lines', 'a\nb', 'must hold one line'],
    ['enormous', 'x'.repeat(5000), 'is too long'],
  ])('the file of its secret is %s', (_, text, message) => {
    const cwd = folder()
    writeFileSync(join(cwd, 'hallpass.yaml'), file([github], 'name: github, kind: github, secret_file: hook'))
    writeFileSync(join(cwd, 'hook'), text)
    try {
      loadConfig({ env: {}, cwd })
      expect.unreachable()
    } catch (error) {
      expect((error as ConfigError).faults).toEqual([
        { path: 'hooks[0].secret_file', message: expect.stringContaining(message) },
      ])
    }
  })

  test('and none of it repeats a secret', () => {
    const yaml = file(
      [],
      'name: a, kind: gitlab, trust: x, secret: whsec_hunter2',
      'name: a, kind: github, secret: [hunter2]',
    )
    const { message } = new ConfigError(faults(yaml))
    expect(message).toContain('hooks[1].secret')
    expect(message).not.toContain('hunter2')
  })
})

describe('a hook', () => {
  const first = (trust: string[], hook: string) => load(file(trust, hook)).hooks[0]

  test('ends the tasks of the trust source of its own name, under the names that its template makes', () => {
    expect(first([gitlab, github], `name: github, kind: github, ${secret}`)).toEqual({
      name: 'github',
      kind: 'github',
      secret: '0123456789abcdef',
      trust: 'github',
      ref: '{repository}/runs/{run_id}/jobs/{check_run_id}',
      header: 'X-Hub-Signature-256',
      state: null,
    })
  })

  test('of another name, those of the only source with a template; or of the one that it names', () => {
    expect(first([agents, github], `name: ci, kind: github, ${secret}`)?.trust).toBe('github')
    expect(first([gitlab, github], `name: ci, kind: github, trust: gitlab, ${secret}`)).toMatchObject({
      trust: 'gitlab',
      ref: '{project_path}/jobs/{job_id}',
    })
  })

  test('may say itself how names are made', () => {
    expect(first([github], `name: github, kind: github, ref: "{workflow_job.id}", ${secret}`)?.ref).toBe(
      '{workflow_job.id}',
    )
    expect(
      first([agents], `name: agents, kind: kubernetes, ref: "{kubernetes.io.pod.uid}", ${secret}`),
    ).toMatchObject({
      trust: 'agents',
      ref: '{kubernetes.io.pod.uid}',
    })
  })

  test('of kind generic ends tasks of any source, unless it names one', () => {
    const generic = `name: github, kind: generic, ref: "{issue.key}", header: X-Signature, ${state}, ${secret}`
    expect(first([github], generic)).toEqual({
      name: 'github',
      kind: 'generic',
      secret: '0123456789abcdef',
      trust: null,
      ref: '{issue.key}',
      header: 'X-Signature',
      state: { path: 'issue.status', completed: ['Done'], failed: [], cancelled: [] },
    })
    expect(first([github], `${generic}, trust: github`)?.trust).toBe('github')
  })

  test('can have its secret in a file, beside the configuration, with the line end that editors leave', () => {
    const cwd = folder()
    writeFileSync(
      join(cwd, 'hallpass.yaml'),
      file([github], 'name: github, kind: github, secret_file: ./hook'),
    )
    writeFileSync(join(cwd, 'hook'), 'a secret of its own\r\n')
    expect(loadConfig({ env: {}, cwd }).hooks[0]?.secret).toBe('a secret of its own')
  })

  test('with a short secret starts, and is warned of without the secret', () => {
    const { warnings } = load(file([github], 'name: github, kind: github, secret: hunter2hunter2h'))
    expect(warnings).toEqual([
      expect.stringMatching(/^the secret of hook github has fewer than 16 characters/),
    ])
    expect(warnings.join()).not.toContain('hunter2')
    expect(load(file([github], 'name: github, kind: github, secret: hunter2hunter2hu')).warnings).toEqual([])
  })

  test('may have a signing token of GitLab’s', () => {
    const token = `whsec_${Buffer.alloc(32, 1).toString('base64')}`
    expect(first([gitlab], `name: gitlab, kind: gitlab, secret: "${token}"`)?.secret).toBe(token)
  })
})
