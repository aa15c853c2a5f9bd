import { changeContext, closeTask, deploy, mint, readLog } from './calls.ts'
import { logTable } from './log-table.ts'
import { step } from './step.ts'
import { chapter } from './tell.ts'
import type { World } from './world.ts'

const before = '4b825dc642cb'
const after = '9fceb02d0ae5'

/** The main job, step by step. Throws StepFailed where one does not come out as told. */
export async function story(world: World): Promise<void> {
  const { ci, staff } = world
  const job = (sha: string) => ci.idToken({ ...jobClaims, sha })

  chapter('1  A CI job attests, and gets a token in one call')
  const idToken = await job(before)
  const minted = await step(
    'POST /oauth2/token with the job’s ID token: a token for deploy:staging, for 5 minutes',
    { status: 200, body: { token_type: 'Bearer', scope: 'deploy:staging', expires_in: 300 } },
    () => mint(world, idToken, 'deploy:staging'),
  )
  const { access_token: token, task_id: taskId } = minted as { access_token: string; task_id: string }
  await step('the service accepts it', { status: 200, body: { deployed: 'staging' } }, () =>
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
  const operator = await staff.idToken({ sub: 'grace', groups: ['sre'] })
  await step(
    `an operator says that the task is now about commit ${after}`,
    { status: 200, body: { state: 'open', ver: 2 } },
    () => changeContext(world, operator, taskId, { sha: after }),
  )
  await step(
    'the token is dead: the service refuses it',
    { status: 401, body: { error: 'invalid_token' } },
    () => deploy(world, 'staging', token),
  )
  await step(
    `the job that attests commit ${before} gets no other one`,
    { status: 400, body: { code: 'context_drift' } },
    () => mint(world, idToken, 'deploy:staging'),
  )
  const moved = await job(after)
  const again = await step(
    `the job that attests commit ${after} mints again`,
    { status: 200, body: { scope: 'deploy:staging', task_id: taskId } },
    () => mint(world, moved, 'deploy:staging'),
  )
  await step('the service accepts it', { status: 200, body: { deployed: 'staging' } }, () =>
    deploy(world, 'staging', String(again.access_token)),
  )

  chapter('4  The task is closed')
  await step(
    'an operator closes the task',
    { status: 200, body: { state: 'closed', close_reason: 'revoked' } },
    () => closeTask(world, operator, taskId),
  )
  await step(
    'the token is dead: the service refuses it',
    { status: 401, body: { error: 'invalid_token' } },
    () => deploy(world, 'staging', String(again.access_token)),
  )
  const fresh = await job(after)
  await step(
    'the job gets nothing more, though its attestation is fresh',
    { status: 400, body: { error: 'invalid_grant', code: 'task_closed' } },
    () => mint(world, fresh, 'deploy:staging'),
  )

  chapter('5  The decision log of it all')
  const log = await step('an operator reads GET /v1/decisions', { status: 200, body: { next: null } }, () =>
    readLog(world, operator, taskId),
  )
  logTable(log.items)
}

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
