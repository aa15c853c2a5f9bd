import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { checkPolicyDir } from '../../src/decide/folder.ts'
import type { Credential, Task, TaskList } from '../../src/http/openapi.generated.d.ts'
import { allowAll } from '../support/broker.ts'
import { startIssuer, type TestIssuer } from '../support/issuer.ts'
import { type OpenIdProvider, startOpenIdProvider } from '../support/openid-provider.ts'
import { loadExample } from './example.ts'
import { type Problem, startWorld, type World } from './world.ts'

const example = loadExample('operators')
const [staff] = example.config.trust
const claims = example.claims as unknown as { sub: string; groups: string[] }
const ada = `staff:${claims.sub}`
/** What the sign-in fills in by itself. */
const registered = ['iss', 'aud', 'iat', 'exp', 'jti', 'typ', 'azp', 'auth_time', 'sid', 'acr']

let provider: OpenIdProvider
let login: TestIssuer
let world: World

beforeAll(async () => {
  if (staff?.kind !== 'oidc') throw new Error('the example has another source')
  provider = await startOpenIdProvider({ audience: staff.audience })
  login = await startIssuer()
  const own = readFileSync(join(example.dir, 'policies/operators.cedar'), 'utf8')
  world = await startWorld({
    policies: `${own}\n${allowAll}`,
    trust: [
      { ...staff, issuer: provider.issuer },
      // The same sign-in once more, where the test chooses every claim.
      { ...staff, name: 'login', issuer: login.issuer },
    ],
  })
})
afterAll(async () => {
  await world?.close()
  await provider?.close()
  await login?.close()
})

/** An ID token that a real provider issued to this person. */
const signedIn = (groups: string | string[] = claims.groups) => {
  const given = Object.entries(example.claims).filter(([name]) => !registered.includes(name))
  return provider.idToken({ ...Object.fromEntries(given), sub: claims.sub, groups })
}
const get = <Body = Task & Problem>(token: string, path: string) => world.act<Body>(token, 'GET', path)
const post = (token: string, path: string, json: object = {}) => world.act(token, 'POST', path, json)

test('the example loads, and its policies are sound', async () => {
  expect(example.config.warnings).toEqual([])
  expect(await checkPolicyDir(join(example.dir, 'policies'))).toEqual({ faults: [], warnings: [] })
  expect(staff).toMatchObject({ operators: { groupsClaim: 'groups', maxAge: 8 * 3_600_000 }, task: null })
})

describe('with a token of the staff’s sign-in', () => {
  test('an operator sees tasks, suspends, resumes, extends and closes one, and its credentials follow', async () => {
    const task = await world.open('/agent/a', { ref: 'life' })
    const token = await world.mint('/agent/a', task)
    const sre = await signedIn()
    expect((await get<TaskList>(sre, '/v1/tasks')).body.items).toContainEqual(task)
    expect((await get(sre, `/v1/tasks/${task.id}`)).body).toEqual(task)

    expect((await post(sre, `/v1/tasks/${task.id}/suspend`, { reason: 'odd traffic' })).body.state).toBe(
      'suspended',
    )
    expect(await world.live(token)).toBe(false)
    expect((await post(sre, `/v1/tasks/${task.id}/resume`)).body.state).toBe('open')
    expect(await world.live(token)).toBe(true)

    const deadline = new Date(Date.parse(task.deadline) + 3_600_000).toISOString()
    expect((await post(sre, `/v1/tasks/${task.id}/extend`, { deadline })).body.deadline).toBe(deadline)

    const closed = await post(sre, `/v1/tasks/${task.id}/close`, { outcome: 'risk', reason: 'found out' })
    expect(closed.body).toMatchObject({
      state: 'closed',
      close_reason: 'risk',
      closed_at: expect.any(String),
    })
    expect(await world.live(token)).toBe(false)
    const again = await post(sre, `/v1/tasks/${task.id}/close`, { outcome: 'completed' })
    expect([again.status, again.body]).toEqual([200, closed.body])
    for (const action of ['suspend', 'resume', 'extend', 'heartbeat']) {
      const { status, body } = await post(
        action === 'heartbeat' ? world.as('/agent/a') : sre,
        `/v1/tasks/${task.id}/${action}`,
        {
          ...(action === 'extend' && { deadline }),
        },
      )
      expect([action, status, body.code]).toEqual([action, 409, 'wrong_state'])
    }
    const log = await world.decisions(
      `?task=${task.id}&principal=${encodeURIComponent(ada)}&action=suspend&decision=allow`,
    )
    expect(log).toMatchObject([
      { decision: 'allow', policies: ['sre-act'], asked: { reason: 'odd traffic' } },
    ])
    expect(log[0]?.workload?.groups).toEqual(['staff/groups/engineering', 'staff/groups/sre'])
  })

  test('an operator revokes one credential: its siblings live, and repeating it changes nothing', async () => {
    const task = await world.open('/agent/a', { ref: 'single' })
    const [first, second] = [await world.mint('/agent/a', task), await world.mint('/agent/a', task)]
    const sre = await signedIn()
    const [newest, oldest] = await world.credentials(sre, task)
    expect([newest?.live, oldest?.live]).toEqual([true, true])
    const revoke = () =>
      world.act<Credential>(sre, 'POST', `/v1/credentials/${oldest!.jti}/revoke`, { reason: 'leaked' })
    const revoked = (await revoke()).body
    expect(revoked).toMatchObject({ jti: oldest!.jti, live: false, revoked_at: expect.any(String) })
    expect((await revoke()).body).toEqual(revoked)
    expect((await get<Credential>(sre, `/v1/credentials/${oldest!.jti}`)).body).toEqual(revoked)
    expect([await world.live(first), await world.live(second)]).toEqual([false, true])
  })

  test('who may read and not act gets 403 and a decision; who may not read gets 404, and does not see it in lists', async () => {
    const open = await world.open('/agent/a', { ref: 'public' })
    const hidden = await world.open('/agent/a', { ref: 'hidden', context: { team: 'payroll' } })
    const engineer = await signedIn(['engineering'])
    const refused = await post(engineer, `/v1/tasks/${open.id}/suspend`)
    expect([refused.status, refused.body.code]).toEqual([403, 'refused'])
    expect(await world.decisions('?decision=deny&limit=1')).toMatchObject([
      { id: refused.body.decision_id, action: 'suspend', principal: ada, task_id: open.id },
    ])
    const absent = '019f1c52-6b1e-7c3a-9d2f-0b8f5a4c1e77'
    for (const path of ['', '/suspend', '/close', '/credentials']) {
      const call = (id: string) => (/^(\/s|\/cl)/.test(path) ? post : get)(engineer, `/v1/tasks/${id}${path}`)
      const [there, nowhere] = [await call(hidden.id), await call(absent)]
      expect(there.status).toBe(404)
      const { request_id: _, decision_id: __, ...body } = there.body
      expect(nowhere.body).toMatchObject(body)
    }
    const ids = (await get<TaskList>(engineer, '/v1/tasks?limit=200')).body.items.map(({ id }) => id)
    expect([ids.includes(open.id), ids.includes(hidden.id)]).toEqual([true, false])
    expect((await get<TaskList>(await signedIn([]), '/v1/tasks')).body).toEqual({ items: [], next: null })
    expect((await get(await signedIn('sre'), `/v1/tasks/${hidden.id}`)).status).toBe(200)
  })

  test('an operator opens a task for an agent, which alone works on it', async () => {
    const sre = await signedIn()
    const asked = { kind: 'maintenance', ref: 'OPS-9', principal: 'spiffe://prod.example/agent/keeper' }
    const { status, body } = await post(sre, '/v1/tasks', asked)
    expect([status, body.principal, body.trust]).toEqual([201, asked.principal, 'prod-example'])
    await expect(world.mint('/agent/keeper', body)).resolves.toEqual(expect.any(String))
    expect((await world.exchange(world.as('/agent/a'), { task_id: body.id })).body.code).toBe('task_unknown')
    expect((await post(sre, '/v1/tasks', { ...asked, principal: undefined })).status).toBe(422)
    for (const principal of [ada, 'spiffe://other.example/a', 'nobody:x', 'hallpass:bootstrap'])
      expect((await post(sre, '/v1/tasks', { ...asked, principal })).status).toBe(422)
    expect((await post(sre, '/v1/tasks', { ...asked, ref: 'OPS-10', kind: 'agent-run' })).status).toBe(403)
    expect((await post(await signedIn([]), '/v1/tasks', { ...asked, ref: 'OPS-10' })).status).toBe(403)
  })

  test('an operator mints nothing, introspects nothing, and says nothing of itself but by its groups', async () => {
    const task = await world.open('/agent/a', { ref: 'mine' })
    const sre = await signedIn()
    expect((await world.exchange(sre, { task_id: task.id })).body.code).toBe('refused')
    const rest = await post(sre, `/v1/tasks/${task.id}/credentials`, {
      type: 'jwt',
      scope: 'a',
      audience: 'b',
    })
    expect(rest.status).toBe(403)
    const token = await world.mint('/agent/a', task)
    const told = await world.broker.client.request('POST', '/oauth2/introspect', {
      token: sre,
      form: { token },
    })
    expect(told.body).toEqual({ active: false })
  })

  test('the decision log and the keys are for those who administer', async () => {
    const [sre, security] = [await signedIn(), await signedIn(['security'])]
    for (const [method, path] of [
      ['GET', '/v1/decisions'],
      ['GET', '/v1/keys'],
      ['POST', '/v1/keys/rotate'],
    ] as const) {
      expect((await world.act(sre, method, path)).status).toBe(403)
      expect((await world.act(security, method, path)).status).toBe(200)
      expect((await world.act(world.as('/agent/a'), method, path)).status).toBe(403)
    }
  })
})

describe('a sign-in that is not good enough is 401', () => {
  const now = Math.floor(Date.now() / 1000)
  const good = {
    sub: 'ada',
    aud: 'hallpass-console',
    azp: 'hallpass-console',
    groups: ['sre'],
    iat: now,
    exp: now + 86_400,
  }
  test.each<[string, object, number]>([
    ['a login of this moment', {}, 200],
    ['a login of seven hours ago', { auth_time: now - 7 * 3600 }, 200],
    ['a login of nine hours ago, however fresh its token', { auth_time: now - 9 * 3600 }, 401],
    ['a token of nine hours ago that does not say when its login was', { iat: now - 9 * 3600 }, 401],
    ['a token without a time', { iat: undefined }, 401],
    ['a token issued to another client', { azp: 'other-console' }, 401],
    ['a token for another client', { aud: 'other-console' }, 401],
    ['a token for two clients', { aud: ['hallpass-console', 'other-console'] }, 401],
    ['an expired one', { exp: now - 60 }, 401],
  ])('%s', async (_, more, status) => {
    expect((await get(login.sign({ ...good, ...more }), '/v1/tasks')).status).toBe(status)
  })

  test('and goes stale while it is used', async () => {
    const token = login.sign(good)
    expect((await get(token, '/v1/tasks')).status).toBe(200)
    world.broker.clock.advance(8 * 3_600_000 + 31_000)
    expect((await get(token, '/v1/tasks')).status).toBe(401)
    world.broker.clock.advance(-8 * 3_600_000 - 31_000)
  })
})
