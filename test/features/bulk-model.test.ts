import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { BulkRevocationResult } from '../../src/http/openapi.generated.d.ts'
import { newId } from '../../src/ids.ts'
import { startTestBroker, type TestBroker } from '../support/broker.ts'

let broker: TestBroker
beforeAll(async () => {
  broker = await startTestBroker()
})
afterAll(() => broker?.close())

interface TaskRow {
  id: string
  principal: string
  trust: string
  state: string
  close_reason: string | null
  ver: number
  rev: number
  path: string[]
  deadline: Date
  silent_at: Date | null
  closed_at: Date | null
}
interface CredentialRow {
  task_id: string
  task_ver: number
  path_vers: number[] | null
  expires_at: Date
  revoked_at: Date | null
  kid: string
}

const principals = ['ci:p', 'ci:q', 'agents:p', 'agents:r']
const trustOf = (principal: string) => principal.split(':')[0] as string

/** One task: below which of those before it (or none), whose, in which state, and what was minted for it. */
const planned = fc.record({
  parent: fc.option(fc.nat(), { freq: 3 }),
  principal: fc.constantFrom(...principals),
  state: fc.constantFrom('open', 'open', 'open', 'suspended', 'closed'),
  ver: fc.integer({ min: 1, max: 3 }),
  silent: fc.boolean(),
  credentials: fc.array(
    fc.record({
      behind: fc.integer({ min: 0, max: 1 }),
      pathBehind: fc.constantFrom(0, 0, 0, 1),
      expired: fc.constantFrom(false, false, true),
      revoked: fc.constantFrom(false, false, true),
      withdrawn: fc.constantFrom(false, false, true),
    }),
    { maxLength: 3 },
  ),
})
type Planned = typeof planned extends fc.Arbitrary<infer T> ? T : never

const selectors = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(...principals).map(principal => ({ principal })) },
  { weight: 3, arbitrary: fc.constantFrom('ci', 'agents').map(trust => ({ trust })) },
  { weight: 1, arbitrary: fc.constant({ everything: true as const }) },
)
type Selector = typeof selectors extends fc.Arbitrary<infer T> ? T : never

/** Writes a forest, four deep at the most; what is below a closed task is closed. */
async function plant(plans: Planned[], kids: { good: string; withdrawn: string }): Promise<void> {
  const now = broker.clock.now()
  const trees: (TaskRow & { parent_id: string | null; heartbeat: number | null })[] = []
  const credentials: (CredentialRow & { jti: string })[] = []
  for (const plan of plans) {
    const above = plan.parent === null || trees.length === 0 ? null : trees[plan.parent % trees.length]!
    const parent = above && above.path.length < 3 ? above : null
    const path = parent ? [...parent.path, parent.id] : []
    const isClosed = plan.state === 'closed' || parent?.state === 'closed'
    const id = newId()
    trees.push({
      id,
      principal: plan.principal,
      trust: trustOf(plan.principal),
      state: isClosed ? 'closed' : plan.state,
      close_reason: isClosed ? 'completed' : null,
      closed_at: isClosed ? new Date(now - 1000) : null,
      ver: plan.ver,
      rev: 5,
      path,
      parent_id: parent?.id ?? null,
      deadline: new Date(now + 3_600_000),
      heartbeat: plan.silent ? 60 : null,
      silent_at: plan.silent && plan.state === 'open' && !isClosed ? new Date(now + 60_000) : null,
    })
    for (const one of plan.credentials)
      credentials.push({
        jti: newId(),
        task_id: id,
        task_ver: Math.max(1, plan.ver - one.behind),
        path_vers:
          path.length === 0
            ? null
            : path.map(p => Math.max(1, trees.find(({ id }) => id === p)!.ver - one.pathBehind)),
        expires_at: new Date(now + (one.expired ? -1000 : 300_000)),
        revoked_at: one.revoked ? new Date(now) : null,
        kid: one.withdrawn ? kids.withdrawn : kids.good,
      })
  }
  await broker.sql(
    `INSERT INTO tasks (id, trust, kind, ref, name_key, templated, principal, subject, state, close_reason, context, bind, ver, rev,
        opened_at, deadline, heartbeat_timeout, silent_at, closed_at, parent_id, root_id, path)
      SELECT id, trust, 'k', id::text, sha256(id::text::bytea), false, principal, principal, state, close_reason, '{}', '{}', ver, rev,
        $2, deadline, heartbeat, silent_at, closed_at, parent_id, coalesce(path[1], id), path
      FROM jsonb_to_recordset($1) AS t (id uuid, trust text, principal text, state text, close_reason text, ver integer, rev integer,
        deadline timestamptz, heartbeat integer, silent_at timestamptz, closed_at timestamptz, parent_id uuid, path uuid[])`,
    [JSON.stringify(trees), new Date(now - 2000)],
  )
  await broker.sql(
    `INSERT INTO credentials (jti, task_id, task_ver, type, scope, audience, kid, decision_id, issued_at, expires_at, revoked_at, path_vers)
      SELECT jti, task_id, task_ver, 'jwt', 's', '{a}', kid, gen_random_uuid(), $2, expires_at, revoked_at, path_vers
      FROM jsonb_to_recordset($1) AS c (jti uuid, task_id uuid, task_ver integer, kid text, expires_at timestamptz,
        revoked_at timestamptz, path_vers integer[])`,
    [JSON.stringify(credentials), new Date(now - 2000)],
  )
}

const readTasks = async (): Promise<Map<string, TaskRow>> =>
  new Map((await broker.sql<TaskRow>('SELECT * FROM tasks')).map(row => [row.id, row]))

/** What has to happen, said as plainly as can be. */
function model(tasks: Map<string, TaskRow>, credentials: CredentialRow[], selector: Selector, kid: string) {
  const isMeant = ({ principal, trust }: TaskRow) =>
    'everything' in selector ||
    ('principal' in selector ? principal === selector.principal : trust === selector.trust)
  const above = ({ path }: TaskRow) => path.map(id => tasks.get(id)!)
  const alive = [...tasks.values()].filter(({ state }) => state !== 'closed')
  const doomed = alive.filter(task => isMeant(task) || above(task).some(isMeant))
  const live = credentials.filter(credential => {
    const task = tasks.get(credential.task_id)!
    const path = [...above(task), task]
    const vers = [...(credential.path_vers ?? []), credential.task_ver]
    return (
      credential.kid === kid &&
      credential.revoked_at === null &&
      credential.expires_at.getTime() > broker.clock.now() &&
      path.every(({ state, ver }, i) => state === 'open' && ver <= vers[i]!)
    )
  })
  return {
    reasons: new Map(doomed.map(task => [task.id, isMeant(task) ? 'revoked' : 'parent_closed'])),
    topmost: doomed.filter(task => !above(task).some(isMeant)).map(({ id }) => id),
    credentials: live.filter(({ task_id }) => doomed.some(({ id }) => id === task_id)).length,
  }
}

test('property: whatever the trees are, a dry run tells what the real one does, and that is what the model says', {
  timeout: 120_000,
}, async () => {
  const [good, withdrawn] = await broker.sql<{ kid: string }>(
    'SELECT kid FROM signing_keys ORDER BY active_at LIMIT 2',
  )
  await broker.sql('UPDATE signing_keys SET withdrawn_at = now() WHERE kid = $1', [withdrawn!.kid])
  const token = await broker.operatorToken()
  const ask = async (json: object) => {
    const reply = await broker.client.request<BulkRevocationResult>('POST', '/v1/revocations', {
      token,
      json,
    })
    expect(reply.status, reply.text).toBe(200)
    return reply.body
  }
  const lastSeq = async () =>
    Number((await broker.sql<{ seq: string }>('SELECT seq FROM revocation_counter'))[0]?.seq)
  let ended = 0
  let branches = 0

  await fc.assert(
    fc.asyncProperty(
      fc.array(planned, { minLength: 1, maxLength: 25 }),
      selectors,
      async (plans, selector) => {
        await plant(plans, { good: good!.kid, withdrawn: withdrawn!.kid })
        const before = await readTasks()
        const seq = await lastSeq()
        const expected = model(before, await broker.sql('SELECT * FROM credentials'), selector, good!.kid)
        const counted = { tasks: expected.reasons.size, credentials: expected.credentials }
        // A trust source that is not configured has to have a task.
        if ('trust' in selector && counted.tasks === 0) return

        expect(await ask({ ...selector, dry_run: true })).toEqual({ ...counted, dry_run: true, block: null })
        expect(await readTasks()).toEqual(before)
        const { block, ...real } = await ask(selector)
        expect(real).toEqual({ ...counted, dry_run: false })

        const [last] = await broker.sql<{ at: Date }>('SELECT max(closed_at) AS at FROM tasks')
        const { at } = last!
        if (counted.tasks > 0) expect(at.getTime()).toBeGreaterThanOrEqual(Date.parse(block!.created_at))
        const after = new Map(
          [...before].map(([id, task]) => {
            const reason = expected.reasons.get(id)
            const closed = {
              state: 'closed',
              close_reason: reason,
              closed_at: at,
              silent_at: null,
              rev: task.rev + 1,
            }
            return [id, reason === undefined ? task : { ...task, ...closed }]
          }),
        )
        expect(await readTasks()).toEqual(after)
        const rows = await broker.sql<{ seq: string; task_id: string; until: Date }>(
          'SELECT * FROM revocations WHERE seq > $1 ORDER BY seq',
          [seq],
        )
        expect(rows.map(row => row.task_id).sort()).toEqual(expected.topmost.sort())
        expect(rows.map(row => Number(row.seq))).toEqual(rows.map((_, i) => seq + 1 + i))
        for (const row of rows)
          expect(row).toMatchObject({
            state: 'closed',
            reason: 'revoked',
            ver: before.get(row.task_id)!.ver,
            at,
          })
        ended += counted.tasks
        branches += expected.topmost.length
      },
    ),
    { numRuns: 60 },
  )
  // Otherwise nothing was tried.
  expect(ended).toBeGreaterThan(100)
  expect(branches).toBeLessThan(ended)
})
