import * as cedar from '@cedar-policy/cedar-wasm/nodejs'
import type { Ask, TaskView } from '../../src/decide/decision.ts'
import { schemaText } from '../../src/decide/vocabulary.ts'

const uid = (type: string, id: string) => ({ type, id })

const taskEntity = (task: TaskView, now: number): cedar.EntityJson => ({
  uid: uid('Task', task.id),
  attrs: {
    kind: task.kind,
    state: task.state,
    owner: { __entity: uid('Workload', task.owner) },
    subject: task.subject,
    depth: task.depth,
    age_seconds: Math.floor((now - task.openedAt) / 1000),
  },
  tags: { ...task.context },
  parents: task.path.map(ancestor => uid('Task', ancestor)),
})

/**
 * The ask as the contract describes it, whole, written apart from src/decide/request.ts: what a decision must equal
 * however little of it was sent.
 */
export function plainRequest(ask: Ask) {
  const principal = uid(ask.caller.kind === 'workload' ? 'Workload' : 'Operator', ask.caller.id)
  const groups = ask.caller.groups.map(name => uid('Group', name))
  const entities: cedar.EntityJson[] = groups.map(group => ({ uid: group, attrs: {}, parents: [] }))
  entities.push({
    uid: principal,
    attrs: { source: ask.caller.trust },
    tags: { ...ask.caller.tags },
    parents: groups,
  })
  const context: cedar.Context = {
    now: { __extn: { fn: 'datetime', arg: new Date(ask.now).toISOString() } },
  }
  if (ask.ip !== null) context.ip = { __extn: { fn: 'ip', arg: ask.ip } }
  let resource = uid('Broker', 'hallpass')
  if (ask.action === 'administer') {
    entities.push({ uid: resource, attrs: {}, parents: [] })
  } else {
    const { task } = ask
    const taskUid = uid('Task', task.id)
    entities.push(taskEntity(task, ask.now))
    resource = taskUid
    if (ask.action === 'open_child') {
      entities.push(taskEntity(ask.parent, ask.now))
      resource = uid('Task', ask.parent.id)
      context.task = { __entity: taskUid }
    }
    if (ask.action === 'introspect') context.audience = ask.audience
    if (ask.action === 'open') {
      resource = uid('TaskKind', task.kind)
      entities.push({ uid: resource, attrs: {}, parents: [] })
      context.task = { __entity: taskUid }
    }
    if (ask.action === 'mint') {
      resource = uid('Scope', ask.scope)
      Object.assign(context, {
        task: { __entity: taskUid },
        audience: ask.audience,
        credential: ask.credential,
        ttl: ask.ttl,
        usages: ask.usages,
        dns_names: ask.dnsNames,
      })
      // A chain: each prefix is in the next shorter one.
      for (let scope = ask.scope; ; scope = scope.slice(0, scope.lastIndexOf(':'))) {
        const up = scope.includes(':') ? [uid('Scope', scope.slice(0, scope.lastIndexOf(':')))] : []
        entities.push({ uid: uid('Scope', scope), attrs: {}, parents: up })
        if (up.length === 0) break
      }
    }
  }
  return { principal, action: uid('Action', ask.action), resource, context, entities }
}

/** Asks Cedar outright: the policies parsed anew, everything sent, nothing remembered. */
export function plainAnswer(policies: Record<string, string>, ask: Ask) {
  const answer = cedar.isAuthorized({ ...plainRequest(ask), policies: { staticPolicies: policies } })
  if (answer.type === 'failure') throw new Error(JSON.stringify(answer.errors))
  const { decision, diagnostics } = answer.response
  return {
    allow: decision === 'allow',
    satisfied: diagnostics.reason.toSorted(),
    failed: diagnostics.errors.map(error => error.policyId).toSorted(),
  }
}

/** What the schema has to say of a request, checked by Cedar itself. */
export function schemaFaults(request: ReturnType<typeof plainRequest>): string[] {
  const answer = cedar.isAuthorized({
    ...request,
    policies: { staticPolicies: {} },
    schema: schemaText,
    validateRequest: true,
  })
  return answer.type === 'failure' ? answer.errors.map(error => error.message) : []
}
