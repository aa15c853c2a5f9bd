import {
  changeContext,
  closeTask,
  deploy,
  deployUntilRefused,
  mint,
  openTask,
  readLog,
  reportJobOver,
  revokeTrust,
  watch,
} from './calls.ts'
import { certificatesDieToo } from './certificates.ts'
import { logTable } from './log-table.ts'
import { names } from './settings.ts'
import { step } from './step.ts'
import { chapter } from './tell.ts'
import type { World } from './world.ts'

const before = '4b825dc642cb'
const after = '9fceb02d0ae5'

/** The story, step by step. Throws StepFailed where one does not come out as told. */
export async function story(world: World): Promise<void> {
  const operator = await world.staff.idToken({ sub: 'grace', groups: ['sre'] })
  const job = (sha: string) => world.ci.idToken({ ...jobClaims, sha })

  chapter('1  A CI job attests, and gets a token in one call')
  const idToken = await job(before)
  const minted = await step(
    'POST /oauth2/token with the job’s ID token: a token for deploy:staging, for 5 minutes',
    { status: 200, body: { token_type: 'Bearer', scope: 'deploy:staging', expires_in: 300 } },
    () => mint(world, idToken, 'deploy:staging'),
  )
  const { access_token: token, task_id: taskId } = minted as { access_token: string; task_id: string }
  await step('the service accepts it, without asking anybody', accepted, () =>
    deploy(world, 'staging', token),
  )

  chapter('2  It reaches for more')
  await step(
    'a token for deploy:prod: policy refuses to mint it',
    { status: 400, body: { code: 'refused' } },
    () => mint(world, idToken, 'deploy:prod'),
  )
  await step(
    'the token for staging, used on prod: the service refuses it, it lacks the scope',
    { status: 403, body: { error: 'insufficient_scope' } },
    () => deploy(world, 'prod', token),
  )

  chapter('3  The commit changes')
  await step(
    `an operator says that the task is now about commit ${after}`,
    { status: 200, body: { state: 'open', ver: 2 } },
    () => changeContext(world, operator, taskId, { sha: after }),
  )
  await step(`${sinceTheAnswer} the service refuses the token`, refused('task_changed'), () =>
    deployUntilRefused(world, token),
  )
  await step(
    `the job that attests commit ${before} gets no other one`,
    { status: 400, body: { code: 'context_drift' } },
    () => mint(world, idToken, 'deploy:staging'),
  )
  const again = await step(
    `the job that attests commit ${after} mints again`,
    { status: 200, body: { scope: 'deploy:staging', task_id: taskId } },
    async () => mint(world, await job(after), 'deploy:staging'),
  )
  const second = String(again.access_token)
  await step('the service accepts it', accepted, () => deploy(world, 'staging', second))

  await theRunnerIsKilled(world, second, () => job(after))
  await anAgentDelegates(world, operator)
  await certificatesDieToo(world, operator)
  await theCiIsBrokenInto(world, operator)

  chapter('8  The decision log of the job’s task')
  const log = await step('an operator reads GET /v1/decisions', { status: 200, body: { next: null } }, () =>
    readLog(world, operator, taskId),
  )
  logTable(log.items)
}

async function theRunnerIsKilled(world: World, token: string, job: () => Promise<string>): Promise<void> {
  chapter('4  The runner is killed, and cannot close its task: the CI does')
  // A request that is still going on when the token dies.
  const watching = watch(world, token)
  await step(
    'the CI reports that the job is over, signed: the task is closed',
    { status: 200, body: { ended: 1 } },
    () => reportJobOver(world, jobClaims, 'cancelled'),
  )
  await step(
    `${sinceTheAnswer} a request that was under way is stopped`,
    { status: 200, body: { stopped: 'task_closed' } },
    () => watching,
  )
  await step('the service refuses the token', refused('task_closed'), () => deployUntilRefused(world, token))
  await step(
    'the job gets nothing more, though its attestation is fresh',
    { status: 400, body: { error: 'invalid_grant', code: 'task_closed' } },
    async () => mint(world, await job(), 'deploy:staging'),
  )
}

async function anAgentDelegates(world: World, operator: string): Promise<void> {
  chapter('5  A task has children: one end for the whole tree')
  const agent = () => world.prod.svid(names.agentPath, { audience: world.broker.url })
  const release = await step(
    'an agent attests with its JWT-SVID and opens a task',
    { status: 201, body: { state: 'open', parent_id: null } },
    () => openTask(world, agent(), { kind: 'agent-run', ref: 'release-4.2' }),
  )
  const errand = await step(
    'it opens a task below it, for one errand',
    { status: 201, body: { state: 'open', parent_id: release.id } },
    () => openTask(world, agent(), { kind: 'agent-run', ref: 'errand', parent_id: release.id }),
  )
  const minted = await step('and mints for that one', { status: 200, body: { task_id: errand.id } }, () =>
    mint(world, agent(), 'deploy:staging', {
      task_id: String(errand.id),
      subject_token_type: 'urn:ietf:params:oauth:token-type:jwt',
    }),
  )
  const token = String(minted.access_token)
  await step('the service accepts it', accepted, () => deploy(world, 'staging', token))
  await step(
    'an operator closes the task above',
    { status: 200, body: { state: 'closed', close_reason: 'revoked' } },
    () => closeTask(world, operator, String(release.id)),
  )
  await step(
    `${sinceTheAnswer} the service refuses the token of the task below`,
    refused('task_closed'),
    () => deployUntilRefused(world, token),
  )
}

async function theCiIsBrokenInto(world: World, operator: string): Promise<void> {
  chapter('7  The CI is broken into: everything of it ends, and nothing new comes')
  const other = { ...jobClaims, run_id: '8', sha: after }
  const minted = await step(
    'another job mints',
    { status: 200, body: { scope: 'deploy:staging' } },
    async () => mint(world, await world.ci.idToken(other), 'deploy:staging'),
  )
  const token = String(minted.access_token)
  await step('the service accepts it', accepted, () => deploy(world, 'staging', token))
  await step(
    'an operator revokes the trust source: one call',
    { status: 200, body: { dry_run: false, tasks: 1 } },
    () => revokeTrust(world, operator, 'ci'),
  )
  await step(`${sinceTheAnswer} the service refuses the token`, refused('task_closed'), () =>
    deployUntilRefused(world, token),
  )
  await step(
    'a third job gets nothing, until the block is lifted',
    { status: 400, body: { error: 'invalid_grant', code: 'blocked' } },
    async () => mint(world, await world.ci.idToken({ ...other, run_id: '9' }), 'deploy:staging'),
  )
}

/** The time that is shown beside such a step began with the answer to the step before. */
const sinceTheAnswer = 'this long after the answer,'
const accepted = { status: 200, body: { deployed: 'staging' } }
const refused = (reason: string) => ({ status: 401, body: { error: 'invalid_token', reason } })

/** As GitHub Actions makes them. */
const jobClaims = {
  sub: 'repo:acme/api:environment:staging',
  repository: 'acme/api',
  repository_owner: 'acme',
  environment: 'staging',
  run_id: '7',
  run_attempt: '1',
  check_run_id: '9',
}
