import { describe, expect, it } from 'vitest'
import type { Hook } from '../../../src/config.ts'
import { readGeneric } from '../../../src/http/hooks/generic.ts'
import { readGithub } from '../../../src/http/hooks/github.ts'
import { readGitlab } from '../../../src/http/hooks/gitlab.ts'
import { readKubernetes } from '../../../src/http/hooks/kubernetes.ts'
import { type JsonValue, payloadOf } from '../../../src/http/hooks/payload.ts'
import { type EndedName, nameOf } from '../../../src/task/ended-name.ts'
import { loadExample } from '../../features/example.ts'
import { hook, type Payload, payload } from '../../support/authorities.ts'

type Named = EndedName | { ignored: string }

const parsed = (json: unknown): JsonValue => payloadOf(Buffer.from(JSON.stringify(json)), 'application/json')

/** What a delivery ends, under the hook of the example of that name. */
function ends(
  example: string,
  json: unknown,
  headers: Record<string, string> = {},
  more: Partial<Hook> = {},
): Named[] {
  const { hooks, trust } = loadExample(example).config
  const [configured] = hooks
  const of = { ...(configured ?? hook('generic')), ...more }
  const source = trust.find(({ name }) => name === of.trust)
  const header = (name: string) => headers[name.toLowerCase()]
  const body = parsed(json)
  const { ends } = of.state
    ? readGeneric(body, of.state)
    : of.kind === 'github'
      ? readGithub(body, header)
      : of.kind === 'gitlab'
        ? readGitlab(body, header)
        : readKubernetes(body, header)
  return ends.map(ended => nameOf(of, source?.kind === 'oidc' ? source.require : {}, ended))
}

const refusal = (act: () => unknown) => {
  try {
    act()
  } catch (error) {
    return (error as { paths: { path: string }[] }).paths.map(({ path }) => path)
  }
  return 'accepted'
}

describe('GitHub', () => {
  const github = (event: 'workflow_job' | 'workflow_run', changes = {}, more: Partial<Hook> = {}) =>
    ends(
      'github',
      payload(event === 'workflow_job' ? 'github-workflow-job' : 'github-workflow-run', changes),
      { 'x-github-event': event },
      more,
    )
  const ref = 'acme%2Fapi/runs/22259804324/attempts/1/jobs/63402917765'

  it('names a job exactly as its attestation does', () => {
    expect(github('workflow_job')).toEqual([{ what: 'job', ending: 'failed', ref }])
  })

  it.each([
    ['success', 'completed'],
    ['cancelled', 'cancelled'],
    ['skipped', 'cancelled'],
    ['failure', 'failed'],
    ['timed_out', 'failed'],
    ['action_required', 'failed'],
    ['neutral', 'failed'],
    ['constructor', 'failed'],
    [null, 'failed'],
  ])('a job that concluded with %s is %s', (conclusion, ending) => {
    expect(github('workflow_job', { 'workflow_job.conclusion': conclusion })).toMatchObject([{ ending }])
  })

  it.each(['queued', 'waiting', 'in_progress'])('a job that is %s is not over', action => {
    expect(
      github('workflow_job', { action, 'workflow_job.status': action, 'workflow_job.conclusion': null }),
    ).toEqual([])
    expect(github('workflow_job', { action })).toEqual([])
    expect(github('workflow_job', { 'workflow_job.status': action })).toEqual([])
  })

  it('IDs keep every digit', () => {
    const text = JSON.stringify(payload('github-workflow-job')).replace('63402917765', '9007199254740993001')
    const { ends } = readGithub(payloadOf(Buffer.from(text), 'application/json'), () => 'workflow_job')
    expect(ends[0]?.facts.check_run_id).toBe('9007199254740993001')
  })

  it.each([
    ['1e3'],
    ['-1'],
    ['1.0'],
    ['"7a"'],
    ['""'],
    ['null'],
    ['[]'],
    ['{}'],
    ['true'],
    ['01'.replace('01', '"01"')],
  ])('an ID of %s is none', id => {
    const text = JSON.stringify(payload('github-workflow-job')).replace('63402917765', id)
    const read = () => readGithub(payloadOf(Buffer.from(text), 'application/json'), () => 'workflow_job')
    expect(refusal(read)).toEqual(['/workflow_job/id'])
  })

  it('a job’s event ends nothing larger than the job', () => {
    const run = '{repository}/runs/{run_id}/attempts/{run_attempt}'
    expect(github('workflow_job', {}, { ref: run })).toEqual([
      { ignored: expect.stringContaining('does not name a job') },
    ])
    expect(github('workflow_job', {}, { ref: '{repository}/{environment}/{check_run_id}' })).toEqual([
      { ignored: 'The event does not tell environment.' },
    ])
  })

  it('a run’s event ends all that begins with the run and its attempt', () => {
    expect(github('workflow_run')).toEqual([
      { what: 'run', ending: 'cancelled', prefix: 'acme%2Fapi/runs/22259804324/attempts/1/jobs/' },
    ])
  })

  it('or the one task that stands for all of it', () => {
    const ref = '{repository_id}:{run_id}:{run_attempt}'
    expect(github('workflow_run', {}, { ref })).toEqual([
      { what: 'run', ending: 'cancelled', ref: '74915:22259804324:1' },
    ])
    expect(github('workflow_run', {}, { ref: '{workflow_run.id}/x' })).toEqual([
      { what: 'run', ending: 'cancelled', ref: '22259804324/x' },
    ])
  })

  it.each([
    ['{repository}/runs/{run_id}/jobs/{check_run_id}', 'another attempt would have the same beginning'],
    ['{repository}/jobs/{check_run_id}/runs/{run_id}/{run_attempt}', 'the job comes first'],
    ['{repository}/jobs/{check_run_id}', 'no run is in it'],
    ['{repository}/{environment}', 'nothing of the run is in it'],
  ])('a run’s event ends nothing under %s: %s', ref => {
    expect(github('workflow_run', {}, { ref })).toEqual([{ ignored: expect.any(String) }])
  })

  it('what is of another owner than the trust source requires is not ours', () => {
    for (const event of ['workflow_job', 'workflow_run'] as const)
      expect(github(event, { 'repository.owner.id': 666 })).toEqual([
        { ignored: 'Its repository_owner_id is not the one that trust source github requires.' },
      ])
  })

  it('a fork’s run is the fork’s', () => {
    const changes = { 'repository.full_name': 'mallory/api', 'repository.owner.login': 'mallory' }
    expect(github('workflow_job', changes)).toMatchObject([{ ref: expect.stringMatching(/^mallory%2Fapi/) }])
  })

  it('other events hold runs too, and end nothing', () => {
    const other = payload('github-workflow-run', { action: 'created' })
    expect(ends('github', other, { 'x-github-event': 'deployment_status' })).toEqual([])
    expect(ends('github', payload('github-ping'), { 'x-github-event': 'ping' })).toEqual([])
    expect(ends('github', payload('github-workflow-job'), {})).toEqual([])
  })

  it('an event that is not what its header says is refused', () => {
    const job = payload('github-workflow-job')
    expect(refusal(() => ends('github', job, { 'x-github-event': 'workflow_run' }))).toEqual([
      '/workflow_run',
    ])
    expect(refusal(() => ends('github', [job], { 'x-github-event': 'workflow_job' }))).toEqual([
      '/workflow_job',
    ])
    expect(refusal(() => ends('github', 'x', { 'x-github-event': 'workflow_job' }))).toEqual([
      '/workflow_job',
    ])
  })
})

describe('GitLab', () => {
  const gitlab = (name: Payload, changes = {}, more: Partial<Hook> = {}) =>
    ends('gitlab', payload(name, changes), {}, more)
  const job = 'acme%2Fapi/pipelines/2179265456/jobs/12217223061'

  it('names a job exactly as its ID token does', () => {
    expect(gitlab('gitlab-job')).toEqual([{ what: 'job', ending: 'failed', ref: job }])
  })

  it.each([
    ['success', 'completed'],
    ['failed', 'failed'],
    ['canceled', 'cancelled'],
  ])('a job that is %s is %s', (build_status, ending) => {
    expect(gitlab('gitlab-job', { build_status })).toEqual([{ what: 'job', ending, ref: job }])
  })

  it.each([
    'created',
    'waiting_for_resource',
    'preparing',
    'pending',
    'running',
    'canceling',
    'manual',
    'scheduled',
    null,
  ])('a job that is %s is not over', build_status => {
    expect(gitlab('gitlab-job', { build_status })).toEqual([])
  })

  it('nor is one that was skipped: when what it waited for is retried, it runs under the same ID', () => {
    expect(gitlab('gitlab-job', { build_status: 'skipped' })).toEqual([])
  })

  it('a pipeline’s event ends those of its jobs that are over, whatever the pipeline is', () => {
    for (const status of ['failed', 'running'])
      expect(
        gitlab('gitlab-pipeline', { 'object_attributes.status': status }).filter(name => 'ref' in name),
      ).toEqual([
        { what: 'job', ending: 'failed', ref: job },
        { what: 'job', ending: 'completed', ref: job.replace(/61$/, '60') },
      ])
  })

  it('and a name that stands for all of it, when it is over', () => {
    const pipeline = { ref: '{project_id}/{pipeline_id}' }
    const named = (changes = {}) => gitlab('gitlab-pipeline', changes, pipeline).filter(name => 'ref' in name)
    expect(named()).toEqual([{ what: 'pipeline', ending: 'failed', ref: '20/2179265456' }])
    for (const status of ['running', 'manual', 'skipped', 'blocked'])
      expect(named({ 'object_attributes.status': status })).toEqual([])
    expect(gitlab('gitlab-job', {}, pipeline)).toEqual([
      { ignored: expect.stringContaining('does not name a job') },
    ])
  })

  it('a pipeline never ends what begins with its name: a job that is retried runs in it', () => {
    expect(gitlab('gitlab-pipeline').filter(name => 'prefix' in name)).toEqual([])
  })

  it('a job of an older GitLab, whose event does not tell the project’s path, is named by its ID', () => {
    const old = { project: undefined }
    expect(gitlab('gitlab-job', old)).toEqual([{ ignored: 'The event does not tell project_path.' }])
    expect(gitlab('gitlab-job', old, { ref: '{project_id}/{job_id}' })).toMatchObject([
      { ref: '20/12217223061' },
    ])
  })

  it('of a group within a group, the namespace is all but the last', () => {
    const changes = { 'project.path_with_namespace': 'acme/platform/api' }
    expect(gitlab('gitlab-job', changes, { ref: '{namespace_path}/{job_id}' })).toMatchObject([
      { ref: 'acme%2Fplatform/12217223061' },
    ])
  })

  it('a merge request’s ref is not what the ID token calls so, and proves nothing against a required one', () => {
    const facts = (changes: Record<string, unknown>) =>
      readGitlab(parsed(payload('gitlab-job', changes)), () => undefined).ends[0]?.facts
    expect(facts({})).toMatchObject({ ref: 'main' })
    const request = { ref: 'refs/merge-requests/1/head' }
    expect(facts(request)).toMatchObject({ ref: null })
    const ref = '{project_path}/{ref}/{job_id}'
    expect(gitlab('gitlab-job', request, { ref })).toEqual([{ ignored: 'The event does not tell ref.' }])
    expect(gitlab('gitlab-job', {}, { ref })).toMatchObject([{ ref: 'acme%2Fapi/main/12217223061' }])
  })

  it('other events end nothing, and what is laid out otherwise is refused', () => {
    expect(ends('gitlab', { object_kind: 'push', build_status: 'success' })).toEqual([])
    expect(ends('gitlab', {})).toEqual([])
    expect(ends('gitlab', [])).toEqual([])
    expect(refusal(() => gitlab('gitlab-job', { build_id: 'x' }))).toEqual(['/build_id'])
    expect(refusal(() => gitlab('gitlab-pipeline', { 'object_attributes.id': null }))).toEqual([
      '/object_attributes/id',
    ])
    expect(refusal(() => gitlab('gitlab-pipeline', { builds: {} }))).toEqual(['/builds'])
    expect(refusal(() => gitlab('gitlab-pipeline', { 'builds.1.id': 1.5 }))).toEqual(['/builds/1/id'])
  })
})

describe('Kubernetes', () => {
  const pod = (changes = {}) => payload('kubernetes-pod', changes)
  const job = (changes = {}) => payload('kubernetes-job', changes)
  const kubernetes = (json: unknown, more: Partial<Hook> = {}) => ends('kubernetes', json, {}, more)
  const ref = 'payments/pods/0d8b260e-ef0e-45fb-be8e-ff44f97722e8'
  const byJob = { ref: '{kubernetes.io.namespace}/jobs/{kubernetes.io.job.uid}' }
  const jobRef = 'payments/jobs/c8a7c8b1-5f0a-4a47-9f5e-6c1c4a8d2b11'

  it('names a pod exactly as its token does', () => {
    expect(kubernetes(pod())).toEqual([{ what: 'pod', ending: 'failed', ref }])
    expect(kubernetes(pod({ 'object.status.phase': 'Succeeded' }))).toEqual([
      { what: 'pod', ending: 'completed', ref },
    ])
  })

  it.each(['Pending', 'Running', 'Unknown', undefined, 'toString'])('a pod that is %s is not over', phase => {
    for (const type of ['ADDED', 'MODIFIED', 'BOOKMARK', undefined])
      expect(kubernetes(pod({ type, 'object.status.phase': phase }))).toEqual([])
  })

  it('nor is one that is only marked for deletion', () => {
    const marked = {
      'object.status.phase': 'Running',
      'object.metadata.deletionTimestamp': '2026-07-01T11:04:31Z',
    }
    expect(kubernetes(pod(marked))).toEqual([])
    expect(kubernetes(pod({ ...marked, type: 'DELETED' }))).toEqual([
      { what: 'pod', ending: 'cancelled', ref },
    ])
  })

  it('one that is deleted after it was over is what it was', () => {
    expect(kubernetes(pod({ type: 'DELETED' }))).toMatchObject([{ ending: 'failed' }])
  })

  it('a job is over with its last condition, not with the one before', () => {
    expect(kubernetes(job(), byJob)).toEqual([{ what: 'job', ending: 'failed', ref: jobRef }])
    const on = (...conditions: [string, string][]) =>
      kubernetes(job({ 'status.conditions': conditions.map(([type, status]) => ({ type, status })) }), byJob)
    expect(on(['Complete', 'True'])).toMatchObject([{ ending: 'completed' }])
    expect(on(['SuccessCriteriaMet', 'True'], ['Complete', 'True'])).toMatchObject([{ ending: 'completed' }])
    for (const conditions of [
      [['Failed', 'False']],
      [['FailureTarget', 'True']],
      [['SuccessCriteriaMet', 'True']],
      [['Suspended', 'True']],
      [['constructor', 'True']],
      [],
    ] as [string, string][][])
      expect(on(...conditions)).toEqual([])
  })

  it('a pod that is over ends nothing that its job is, nor a job what its pods are', () => {
    expect(kubernetes(pod(), byJob)).toEqual([{ ignored: expect.stringContaining('does not name a pod') }])
    expect(kubernetes(job())).toEqual([{ ignored: expect.stringContaining('does not name a job') }])
    const both = { ref: '{kubernetes.io.job.uid}/{kubernetes.io.pod.name}' }
    expect(kubernetes(pod(), both)).toMatchObject([
      { ref: 'c8a7c8b1-5f0a-4a47-9f5e-6c1c4a8d2b11/migrate-4-2-x7k2p' },
    ])
  })

  const cloudEvent = (type: string, data: unknown) => ({
    specversion: '1.0',
    id: 'c2ff8ee8-6e0e-4c41-8d5e-0b8b0c6a3f10',
    source: 'https://10.96.0.1:443',
    type: `dev.knative.apiserver.${type}`,
    subject: '/apis/v1/namespaces/payments/pods/migrate-4-2-x7k2p',
    datacontenttype: 'application/json',
    data,
  })

  it('reads CloudEvents, bare objects and several at once', () => {
    const { object } = pod() as { object: unknown }
    const gone = pod({ 'object.status.phase': 'Running' }) as { object: unknown }
    expect(kubernetes(cloudEvent('resource.update', object))).toMatchObject([{ ref, ending: 'failed' }])
    expect(kubernetes(cloudEvent('resource.delete', gone.object))).toMatchObject([
      { ref, ending: 'cancelled' },
    ])
    expect(kubernetes(cloudEvent('resource.update', gone.object))).toEqual([])
    expect(kubernetes(object)).toMatchObject([{ ref }])
    expect(kubernetes([gone, object, pod({ 'object.metadata.uid': 'u' })])).toMatchObject([
      { ref },
      { ref: 'payments/pods/u' },
    ])
  })

  it('in a header, a deletion is nobody’s word', () => {
    const { object } = pod({ 'object.status.phase': 'Running' })
    expect(
      ends('kubernetes', object, {
        'ce-type': 'dev.knative.apiserver.resource.delete',
        'ce-specversion': '1.0',
      }),
    ).toEqual([])
  })

  it('a reference to an object tells nothing of it, and other kinds end nothing', () => {
    expect(
      kubernetes(cloudEvent('ref.delete', { apiVersion: 'v1', kind: 'Pod', name: 'a', namespace: 'b' })),
    ).toEqual([])
    expect(kubernetes(pod({ 'object.kind': 'Node' }))).toEqual([])
    expect(kubernetes(pod({ 'object.apiVersion': 'acme.example/v1' }))).toEqual([])
    expect(kubernetes({ type: 'ERROR', object: { kind: 'Status', apiVersion: 'v1', code: 410 } })).toEqual([])
  })

  it('what is laid out otherwise is refused', () => {
    expect(refusal(() => kubernetes('x'))).toEqual([''])
    expect(refusal(() => kubernetes([pod(), 1]))).toEqual(['/1'])
    expect(refusal(() => kubernetes({ type: 'DELETED', object: null }))).toEqual(['/object'])
    expect(refusal(() => kubernetes([cloudEvent('resource.delete', 'x')]))).toEqual(['/0/data'])
  })
})

describe('a system of any kind', () => {
  const ticket = (changes = {}) => ends('spiffe', payload('jira-issue', changes))

  it('ends what its state says, under the name that its payload makes', () => {
    expect(ticket()).toEqual([{ what: 'ticket', ending: 'completed', ref: 'OPS-4711' }])
    expect(ticket({ 'issue.fields.status.name': "Won't do" })).toMatchObject([{ ending: 'cancelled' }])
  })

  it.each(['In Progress', 'done', '', null, 3, ['Done'], { name: 'Done' }])(
    'a state of %j ends nothing',
    name => {
      expect(ticket({ 'issue.fields.status.name': name })).toEqual([])
    },
  )

  it('a payload without a state, or without what the name is made of, ends nothing', () => {
    expect(ends('spiffe', { issue: { key: 'OPS-1' } })).toEqual([])
    expect(ends('spiffe', ['Done'])).toEqual([])
    for (const key of [undefined, '', null, {}, ['OPS-1']])
      expect(ticket({ 'issue.key': key })).toEqual([{ ignored: 'The event does not tell issue.key.' }])
  })

  it('takes nothing that JavaScript’s objects inherit', () => {
    for (const ref of ['{constructor.name}', '{issue.__proto__.x}', '{issue.key.length}', '{toString}'])
      expect(ends('spiffe', payload('jira-issue'), {}, { ref })).toEqual([
        { ignored: expect.stringContaining('does not tell') },
      ])
  })

  it('numbers and booleans are what they were written as', () => {
    const ref = '{issue.key}/{timestamp}'
    expect(ends('spiffe', payload('jira-issue'), {}, { ref })).toMatchObject([
      { ref: 'OPS-4711/1782904471000' },
    ])
    expect(ends('spiffe', payload('jira-issue', { timestamp: true }), {}, { ref })).toMatchObject([
      { ref: 'OPS-4711/true' },
    ])
  })

  it('can be a CI, whose jobs it names exactly as their ID tokens do', () => {
    expect(ends('circleci', payload('circleci-job'))).toEqual([
      {
        what: 'ticket',
        ending: 'completed',
        ref: '3a2f5b1c-7d4e-4f6a-9b8c-0d1e2f3a4b5c/pipelines/9f8e7d6c-5b4a-4c3d-8e2f-1a0b9c8d7e6f/jobs/1f2e3d4c-5b6a-4978-8695-a4b3c2d1e0f9',
      },
    ])
  })
})
