import { renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { decodeJwt } from 'jose'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import type { DecisionList } from '../../src/http/openapi.generated.d.ts'
import { allowAll } from '../support/broker.ts'
import { deploy, type Problem, startWorld, type World } from './world.ts'

const base = `${allowAll.replace(/@id\("allow-mint"\).*\n/, '')}
@id("deploy") @ttl("4m") permit (principal, action == Action::"mint", resource in Scope::"deploy");
@id("deploy-prod") @ttl("90s") permit (principal, action == Action::"mint", resource == Scope::"deploy:prod");
@id("logs") permit (principal, action == Action::"mint", resource == Scope::"logs:read");
@id("no-root") forbid (principal, action == Action::"mint", resource == Scope::"root");`

let world: World
beforeAll(async () => {
  world = await startWorld({ policies: base })
})
afterAll(() => world?.close())

let refs = 0
const open = (more: object = {}) => world.open('/agent/a', { ref: `r${++refs}`, ...more })
const ask = async (scope: string, more: Record<string, string | string[]> = {}) =>
  (await world.exchange(world.as('/agent/a'), { task_id: (await open()).id, scope, ...more })).body

describe('@ttl', () => {
  test.each([
    ['the shortest of the permits that were satisfied', 'deploy:prod', {}, 90],
    ['one permit’s', 'deploy:staging', {}, 240],
    ['the configuration’s where no permit says', 'logs:read', {}, 300],
    ['the shortest of all scopes', 'logs:read deploy:staging', {}, 240],
    ['what was asked, where that is less', 'deploy:prod', { ttl: '30' }, 30],
    ['no more than policy gives, whatever was asked', 'deploy:prod', { ttl: '900' }, 90],
    ['no more than ttl_max', 'logs:read', { ttl: '999999999' }, 900],
  ])('a credential lives for %s', async (_, scope, more, seconds) => {
    const { access_token, expires_in } = await ask(scope, more)
    const { iat, exp } = decodeJwt(access_token)
    expect([exp! - iat!, expires_in]).toEqual([seconds, seconds])
  })
})

describe('GET /v1/decisions', () => {
  const list = async (query: string) =>
    (await world.act<DecisionList>(await world.broker.operatorToken(), 'GET', `/v1/decisions${query}`)).body

  test('has every decision, with what was asked, by whom, in which request, and the policies that decided', async () => {
    const task = await open({ context: { environment: 'staging' } })
    const minted = await world.exchange(world.as('/agent/a'), {
      task_id: task.id,
      audience: [deploy, 'b'],
      ttl: '60',
    })
    const refused = await world.exchange(world.as('/agent/a'), {
      task_id: task.id,
      scope: 'logs:read root',
      task_ver: '1',
    })
    const { items } = await list(`?task=${task.id}`)
    expect(items.map(({ action, decision }) => [action, decision])).toEqual([
      ['mint', 'deny'],
      ['mint', 'allow'],
      ['open', 'allow'],
    ])
    const [deny, allow, opened] = items
    const common = {
      at: expect.any(String),
      principal: 'spiffe://prod.example/agent/a',
      trust: 'prod-example',
      task_id: task.id,
      task_ver: 1,
      policy_version: expect.stringMatching(/^[0-9a-f]{16}$/),
      workload: { tags: expect.objectContaining({ sub: 'spiffe://prod.example/agent/a' }), groups: [] },
      context: { environment: 'staging' },
      address: '127.0.0.1',
    }
    expect(allow).toEqual({
      ...common,
      id: expect.any(String),
      request_id: minted.headers.get('X-Request-Id'),
      action: 'mint',
      decision: 'allow',
      code: null,
      reason: null,
      jti: decodeJwt(minted.body.access_token).jti,
      policies: ['deploy', 'deploy-prod'],
      asked: {
        scope: 'deploy:prod',
        audience: [deploy, 'b'],
        ttl: 60,
        task_id: task.id,
        task_ver: null,
        credential: 'jwt',
      },
    })
    expect(deny).toMatchObject({
      ...common,
      id: refused.body.decision_id,
      request_id: refused.headers.get('X-Request-Id'),
      code: 'refused',
      reason: 'forbidden by no-root',
      jti: null,
      policies: ['no-root'],
      asked: { scope: 'logs:read root', task_ver: 1 },
    })
    expect(opened).toMatchObject({
      ...common,
      policies: ['allow-open'],
      asked: { kind: 'agent-run', ref: task.ref },
    })
    expect(JSON.stringify(items)).not.toContain('eyJ')
  })

  test('can be searched by task, principal, action and verdict, a page at a time', async () => {
    const task = await open()
    for (const scope of ['root', 'logs:read', 'root'])
      await world.exchange(world.as('/agent/a'), { task_id: task.id, scope })
    await world.exchange(world.as('/agent/z'), { task_id: task.id })
    const count = async (query: string) => (await list(`?limit=200&${query}`)).items.length
    expect(await count(`task=${task.id}`)).toBe(4)
    expect(await count(`task=${task.id}&action=mint`)).toBe(3)
    expect(await count(`task=${task.id}&decision=deny`)).toBe(2)
    expect(await count('principal=spiffe://prod.example/agent/z')).toBe(1)
    expect(await count(`task=${task.id}&principal=spiffe://prod.example/agent/z`)).toBe(0)

    const all = (await list(`?task=${task.id}`)).items.map(({ id }) => id)
    const paged: string[] = []
    let cursor: string | null = ''
    while (cursor !== null) {
      const page: DecisionList = await list(`?task=${task.id}&limit=3${cursor && `&cursor=${cursor}`}`)
      paged.push(...page.items.map(({ id }) => id))
      cursor = page.next
    }
    expect(paged).toEqual(all)
    for (const query of ['?cursor=x', '?task=x', '?decision=maybe', '?what=1'])
      expect(
        (await world.act(await world.broker.operatorToken(), 'GET', `/v1/decisions${query}`)).status,
      ).toBe(400)
  })

  test('has the refusal of a request in the problem that the caller saw', async () => {
    const { body, headers } = await world.act<Problem>(world.as('/agent/a'), 'GET', '/v1/decisions')
    expect(body.request_id).toBe(headers.get('X-Request-Id'))
    expect(await world.decisions('?action=administer&decision=deny&limit=1')).toMatchObject([
      { id: body.decision_id, request_id: body.request_id, principal: 'spiffe://prod.example/agent/a' },
    ])
  })

  test('samples who proved nothing, by reason, without what was sent', async () => {
    await world.exchange(world.prod.svid('/agent/a', { audience: 'https://other.example' }))
    await vi.waitFor(async () =>
      expect(await world.decisions('?action=attest&limit=1')).toMatchObject([
        {
          decision: 'deny',
          code: 'attestation_invalid',
          reason: 'audience',
          principal: null,
          workload: null,
        },
      ]),
    )
  })
})

describe('the folder is followed', () => {
  const put = (text: string) => {
    const file = join(world.broker.policyDir, 'test.cedar')
    writeFileSync(`${file}.new`, text)
    renameSync(`${file}.new`, file)
  }
  const patiently = { timeout: 15_000, interval: 100 }
  const version = async () => (await world.decisions('?action=mint&limit=1'))[0]?.policy_version
  const said = (text: string) => world.broker.logged.filter(line => line.includes(text))

  test('a change is in force without a restart; a bad one is refused, named, and the last good set stays', async () => {
    expect(await ask('new:scope')).toMatchObject({ code: 'refused' })
    const first = await version()
    const better = `${base}\n@id("new") permit (principal, action == Action::"mint", resource == Scope::"new:scope");`
    put(better)
    await vi.waitFor(async () => expect((await ask('new:scope')).expires_in).toBe(300), patiently)
    const second = await version()
    expect(second).not.toBe(first)

    for (const [bad, named] of [
      [`${better}\npermit (principal, action, resource) when { principal.nonsense };`, 'test.cedar:'],
      [better.replace('@id("new")', '@id("new") @tttl("5m")'), '@tttl is not known'],
      [better.replace('@id("new")', ''), 'every policy needs an @id'],
      [`${better}\n@id("new") forbid (principal, action, resource);`, '@id is taken'],
      ['permit (', 'test.cedar:1:'],
    ] as const) {
      const before = said('policy change refused').length
      put(bad)
      await vi.waitFor(() => expect(said('policy change refused').length).toBeGreaterThan(before), patiently)
      expect(said('policy change refused').at(-1)).toContain(named)
      expect((await ask('new:scope')).expires_in).toBe(300)
      expect(await version()).toBe(second)
    }

    put(base)
    await vi.waitFor(async () => expect((await ask('new:scope')).code).toBe('refused'), patiently)
    expect(await version()).toBe(first)
  })

  test('what was minted before lives on: policy decides at the door, the task’s end decides afterwards', async () => {
    const { access_token } = await ask('logs:read')
    put(base.replace(/@id\("logs"\).*\n/, ''))
    await vi.waitFor(async () => expect((await ask('logs:read')).code).toBe('refused'), patiently)
    expect(await world.live(access_token)).toBe(true)
    put(base)
    await vi.waitFor(async () => expect((await ask('logs:read')).expires_in).toBe(300), patiently)
  })
})
