import { expect } from 'vitest'
import { newId } from '../../src/ids.ts'
import type { Database } from '../../src/store/database.ts'
import type { DecisionRow } from '../../src/store/decision-row.ts'
import { type Opening, opener } from '../../src/store/open.ts'
import type { Reservation } from '../../src/store/reservation.ts'
import type { Task } from '../../src/store/task-record.ts'
import { ancestorOf } from '../../src/task/open-child.ts'

/** When everything here happens; the clock does not matter to the store. */
export const now = new Date('2026-01-01T00:00:00Z')
export const later = (seconds: number) => new Date(now.getTime() + seconds * 1000)

export const decision = (): DecisionRow => ({
  id: newId(),
  at: now,
  requestId: newId(),
  action: 'mint',
  decision: 'allow',
  code: null,
  reason: null,
  principal: 'ci:job',
  trust: 'ci',
  taskId: null,
  taskVer: null,
  jti: null,
  policyVersion: 'v',
  policies: [],
  asked: {},
  workload: null,
  context: null,
  attestation: null,
  address: null,
})

/** A task as it would be, below another or alone. */
export function newTask(ref: string, parent: Task | null = null): Task {
  const id = newId()
  return {
    id,
    trust: 'ci',
    kind: 'ci-job',
    ref,
    templated: true,
    purpose: null,
    principal: 'ci:job',
    subject: 'ci:job',
    state: 'open',
    closeReason: null,
    context: {},
    bind: [],
    ver: 1,
    rev: 1,
    openedAt: now,
    deadline: later(3600),
    heartbeatTimeout: null,
    lastHeartbeatAt: null,
    closedAt: null,
    parentId: parent?.id ?? null,
    rootId: parent?.rootId ?? id,
    ancestors: parent ? [...parent.ancestors, ancestorOf(parent)] : [],
  }
}

export const opening = (task: Task): Opening => ({
  task,
  generation: '0',
  runs: [],
  use: null,
  decision: decision(),
})

export async function openTask(db: Database, ref: string, parent: Task | null = null): Promise<Task> {
  const task = newTask(ref, parent)
  expect(await opener(db)(opening(task))).toBe('opened')
  return task
}

export const reservation = (task: Task, more: Partial<Reservation> = {}): Reservation => ({
  task: { id: task.id, rev: task.rev, ancestors: task.ancestors },
  credential: {
    jti: newId(),
    taskId: task.id,
    taskVer: task.ver,
    type: 'jwt',
    scope: 'a',
    audience: ['b'],
    kid: 'k',
    issuedAt: now,
    expiresAt: later(300),
    pathVers: task.ancestors.length > 0 ? task.ancestors.map(({ ver }) => ver) : null,
    status: { list: newId(), idx: 0 },
  },
  use: null,
  decision: decision(),
  now,
  policyStands: () => true,
  ...more,
})

/** The one key that `reservation` names. */
export const insertKey = (db: Database) =>
  db.query(
    {
      name: 'test_key',
      text: `INSERT INTO signing_keys (kid, alg, published_at, active_at, ttl_max, private_key, wrapped_by)
        VALUES ('k', 'ES256', $1, $1, 900000, '', '')`,
    },
    [now],
  )
