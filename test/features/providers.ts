import { type Claims, loadExample } from './example.ts'

/** What an example's jobs are known by, and what its policies must refuse. */
export interface Provider {
  name: string
  /** What the job's own policy gives, in the README. */
  scope: string
  audience: string
  principal: string
  kind: string
  ref: string
  context: Record<string, string>
  /** What makes another job of the same workflow, one for each number below 1,000. */
  another: (n: number) => Claims
  /** Claims that the ref is made of. */
  needs: Claims[]
  /** Claims under which the example's policy refuses. */
  refused: Record<string, Claims>
  /** Claims under which an attestation is none of ours. */
  foreign: Claims
}

const circle = (name: string) => `oidc.circleci.com/${name}`
const pod = loadExample('kubernetes').claims['kubernetes.io'] as Claims
const within = (more: Claims) => ({ 'kubernetes.io': { ...pod, ...more } })

export const providers: Provider[] = [
  {
    name: 'github',
    scope: 'deploy:prod',
    audience: 'https://deploy.example',
    principal: 'github:repo:acme/api:environment:production',
    kind: 'ci-job',
    ref: 'acme%2Fapi/runs/22259804324/attempts/1/jobs/63402917765',
    context: {
      repository: 'acme/api',
      sha: '2a433950c7e1f0d8b6a5948372615049d8c7b6a5',
      workflow_ref: 'acme/api/.github/workflows/deploy.yml@refs/heads/main',
      environment: 'production',
    },
    another: n => ({ check_run_id: `63402918${n}` }),
    needs: [
      { repository: undefined },
      { run_id: undefined },
      { run_attempt: undefined },
      { check_run_id: undefined },
    ],
    refused: {
      'another repository': { repository: 'acme/web', repository_id: '1' },
      'another branch': { ref: 'refs/heads/feature' },
      'an unprotected branch': { ref_protected: 'false' },
      'another environment': { environment: 'staging' },
      'no environment': { environment: undefined },
      'a pull request': { event_name: 'pull_request_target' },
    },
    foreign: { repository_owner_id: '666' },
  },
  {
    name: 'gitlab',
    scope: 'deploy:prod',
    audience: 'https://deploy.example',
    principal: 'gitlab:project_path:acme/api:ref_type:branch:ref:main',
    kind: 'ci-job',
    ref: 'acme%2Fapi/pipelines/2179265456/jobs/12217223061',
    context: {
      project_id: '20',
      sha: '714a629c0b401fdce83e847fc9589983fc6f46bc',
      ref_path: 'refs/heads/main',
      environment: 'production',
    },
    another: n => ({ job_id: `12217224${n}` }),
    needs: [{ project_path: undefined }, { pipeline_id: undefined }, { job_id: undefined }],
    refused: {
      'another project': { project_id: '21', job_project_id: '21' },
      'a merge request from a fork, running in our project': { project_id: '999' },
      'another branch': { ref: 'feature', ref_path: 'refs/heads/feature' },
      'an unprotected branch': { ref_protected: 'false' },
      'another environment': { environment: 'staging' },
      'an unprotected environment': { environment_protected: 'false' },
      'no environment': { environment: undefined },
    },
    foreign: { namespace_id: '666' },
  },
  {
    name: 'buildkite',
    scope: 'deploy:prod',
    audience: 'https://deploy.example',
    principal:
      'buildkite:organization:acme:pipeline:api:ref:refs/heads/main:commit:9f3182061f1e2cca4702c368cbc039b7dc9d4485:step:deploy-production',
    kind: 'ci-job',
    ref: 'acme/api/builds/175/jobs/0184990a-477b-4fa8-9968-496074483b20',
    context: {
      pipeline_id: '0184990a-477b-4fa8-9968-496074483a10',
      build_commit: '9f3182061f1e2cca4702c368cbc039b7dc9d4485',
      build_branch: 'main',
      step_key: 'deploy-production',
    },
    another: n => ({ job_id: `0184990a-477b-4fa8-9968-496074484${n}` }),
    needs: [{ pipeline_slug: undefined }, { build_number: null }, { job_id: '' }],
    refused: {
      'another pipeline': { pipeline_slug: 'web', pipeline_id: '0184990a-477b-4fa8-9968-4960744830ff' },
      'a token that does not name its pipeline': { pipeline_id: undefined },
      'another branch': { build_branch: 'feature' },
      'another step': { step_key: 'test' },
      'a step without a key': { step_key: null },
      'another queue': { queue_key: 'default' },
    },
    foreign: { organization_id: undefined },
  },
  {
    name: 'circleci',
    scope: 'deploy:prod',
    audience: 'https://deploy.example',
    principal:
      'circleci:org/c9035eb6-6eb2-4c85-8a81-d9ed6a1d1d1e/project/3a2f5b1c-7d4e-4f6a-9b8c-0d1e2f3a4b5c/user/5e6f7a8b-9c0d-4e1f-a2b3-c4d5e6f7a8b9/vcs-origin/github.com/acme/api/vcs-ref/refs/heads/main',
    kind: 'ci-job',
    ref: '3a2f5b1c-7d4e-4f6a-9b8c-0d1e2f3a4b5c/pipelines/9f8e7d6c-5b4a-4c3d-8e2f-1a0b9c8d7e6f/jobs/1f2e3d4c-5b6a-4978-8695-a4b3c2d1e0f9',
    context: {
      [circle('project-id')]: '3a2f5b1c-7d4e-4f6a-9b8c-0d1e2f3a4b5c',
      [circle('vcs-origin')]: 'github.com/acme/api',
      [circle('vcs-ref')]: 'refs/heads/main',
    },
    another: n => ({ [circle('job-id')]: `1f2e3d4c-5b6a-4978-8695-a4b3c2d1f${n}` }),
    needs: [
      { [circle('project-id')]: undefined },
      { [circle('pipeline-id')]: undefined },
      { [circle('job-id')]: undefined },
    ],
    refused: {
      'another project': { [circle('project-id')]: '00000000-7d4e-4f6a-9b8c-0d1e2f3a4b5c' },
      'a fork': { [circle('vcs-origin')]: 'github.com/mallory/api' },
      'another branch': { [circle('vcs-ref')]: 'refs/heads/feature' },
      'another context': { [circle('context-ids')]: ['cb32986e-2f6f-4f43-b2bd-d3c2fd98e903'] },
      'no context': { [circle('context-ids')]: [] },
      'a job run again with SSH': { [circle('ssh-rerun')]: true },
    },
    // The audience of $CIRCLE_OIDC_TOKEN_V2, which every service that takes it could pass on.
    foreign: { aud: 'c9035eb6-6eb2-4c85-8a81-d9ed6a1d1d1e' },
  },
  {
    name: 'kubernetes',
    scope: 'schema:migrate',
    audience: 'https://database.example',
    principal: 'kubernetes:system:serviceaccount:payments:migrator',
    kind: 'pod',
    ref: 'payments/pods/0d8b260e-ef0e-45fb-be8e-ff44f97722e8',
    context: {
      'kubernetes.io.namespace': 'payments',
      'kubernetes.io.serviceaccount.uid': 'e6a8680e-d103-4cce-80ea-03acbbeacf7d',
      'kubernetes.io.pod.uid': '0d8b260e-ef0e-45fb-be8e-ff44f97722e8',
    },
    another: n =>
      within({ pod: { name: 'migrate-4-2-zzzzz', uid: `0d8b260e-ef0e-45fb-be8e-ff44f9773${n}` } }),
    needs: [within({ pod: undefined }), within({ namespace: undefined })],
    refused: {
      'another namespace': { sub: 'system:serviceaccount:dev:migrator', ...within({ namespace: 'dev' }) },
      'another service account': { sub: 'system:serviceaccount:payments:web' },
      'a service account made anew': within({ serviceaccount: { name: 'migrator', uid: 'another' } }),
    },
    foreign: { aud: ['https://hallpass.example', 'https://kubernetes.default.svc'] },
  },
]
