import type { Request, Router } from 'express'
import { parseDuration } from '../duration.ts'
import { HallpassError } from '../errors.ts'
import { isId } from '../ids.ts'
import type { Task } from '../store/task-record.ts'
import { changeContext } from '../task/context.ts'
import { closeTask, extendTask, heartbeat, resumeTask, suspendTask } from '../task/life.ts'
import { openTask } from '../task/open.ts'
import { openRequest } from '../task/open-request.ts'
import { readTask, searchTasks } from '../task/read.ts'
import { jsonOf } from './bodies.ts'
import { cursorsFor } from './cursor.ts'
import type { HttpDeps } from './deps.ts'
import { ifMatch } from './if-match.ts'
import type { Bodies, OpenTask } from './openapi.generated.d.ts'
import { type Answer, authenticated, queryOf } from './operation.ts'
import { entityTag, taskJson } from './render.ts'

/** `/v1/tasks` (contract §3). */
export function taskRoutes(deps: HttpDeps, router: Router): void {
  const { contract } = deps
  const body = <Id extends keyof Bodies>(id: Id) => {
    const read = contract.body(id)
    const mediaType = contract.mediaType(id)
    return (request: Request): Bodies[Id] => read(jsonOf(request, mediaType))
  }
  const bodies = {
    open: body('openTask'),
    context: body('patchTaskContext'),
    close: body('closeTask'),
    suspend: body('suspendTask'),
    resume: body('resumeTask'),
    heartbeat: body('heartbeatTask'),
    extend: body('extendTask'),
  }
  const listQuery = contract.query('listTasks')

  router.post(
    '/v1/tasks',
    authenticated(deps, async (asker, request) => {
      const asked = openRequest(deps, asker, openBody(bodies.open(request)))
      const { task, created } = await openTask(deps, asker, asked)
      const answer = withTask(task)
      return created
        ? { ...answer, status: 201, headers: { ...answer.headers, Location: `/v1/tasks/${task.id}` } }
        : answer
    }),
  )
  router.get(
    '/v1/tasks',
    authenticated(deps, async (asker, request) => {
      const { cursor, limit, ...filter } = listQuery(queryOf(request))
      const cursors = cursorsFor(deps.masterKey, asker.principal.id, { tasks: filter })
      const { items, next } = await searchTasks(deps, asker, filter, { cursor: cursors.open(cursor), limit })
      return { body: { items: items.map(taskJson), next: cursors.seal(next) } }
    }),
  )
  router.get(
    '/v1/tasks/:id',
    authenticated(deps, async (asker, request) => withTask(await readTask(deps, asker, taskId(request)))),
  )
  router.patch(
    '/v1/tasks/:id/context',
    authenticated(deps, async (asker, request) => {
      const patch = bodies.context(request) as Record<string, string | null>
      const matches = ifMatch(request.get('If-Match'))
      return withTask(
        await changeContext(deps, asker, taskId(request), patch, task => matches(entityTag(task))),
      )
    }),
  )

  const actions = {
    close: closeTask,
    suspend: suspendTask,
    resume: resumeTask,
    heartbeat,
  }
  for (const [name, act] of Object.entries(actions) as [keyof typeof actions, typeof closeTask][])
    router.post(
      `/v1/tasks/:id/${name}`,
      authenticated(deps, async (asker, request) =>
        withTask(await act(deps, asker, taskId(request), bodies[name](request))),
      ),
    )
  router.post(
    '/v1/tasks/:id/extend',
    authenticated(deps, async (asker, request) => {
      const { deadline, reason } = bodies.extend(request)
      return withTask(
        await extendTask(deps, asker, taskId(request), { deadline: new Date(deadline), reason }),
      )
    }),
  )
}

const withTask = (task: Task): Answer => ({ headers: { ETag: entityTag(task) }, body: taskJson(task) })

/** The ID in the path. What is no ID names nothing: `not_found`. */
export function taskId(request: Request): string {
  const { id } = request.params
  if (typeof id !== 'string' || !isId(id)) throw new HallpassError('not_found', 'There is no such task.')
  return id
}

function openBody(body: OpenTask): Parameters<typeof openRequest>[2] {
  const { kind, ref, purpose, context, bind, deadline, principal } = body
  return {
    kind,
    ref,
    purpose,
    context,
    bind,
    principal,
    parentId: body.parent_id ?? undefined,
    deadline: deadline === undefined ? undefined : new Date(deadline),
    heartbeatTimeout: seconds(body.heartbeat_timeout),
  }
}

/** `90s` and 90 mean the same. The contract has checked the form. */
function seconds(timeout: OpenTask['heartbeat_timeout']): number | undefined {
  if (timeout === undefined || timeout === null || typeof timeout === 'number') return timeout ?? undefined
  return Math.floor((parseDuration(timeout) ?? 0) / 1000)
}
