import { decodeJwt } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { testIssuer } from '../support/broker.ts'
import { startWorld, type World } from './world.ts'

const audiences = ['https://deploy.example', 'https://logs.example']
const policies = `
@id("open") permit (principal is Workload, action == Action::"open", resource);
@id("mint") permit (principal is Workload, action == Action::"mint", resource);
@id("deploy-asks") permit (principal == Workload::"spiffe://prod.example/svc/deploy", action == Action::"introspect", resource)
when { context.audience == "https://deploy.example" };
@id("logs-asks") permit (principal == Workload::"spiffe://prod.example/svc/logs", action == Action::"introspect", resource)
when { context.audience == "https://logs.example" };
@id("deploy-reads") permit (principal == Workload::"spiffe://prod.example/svc/deploy", action == Action::"read", resource);
@id("own-revoke") permit (principal is Workload, action == Action::"revoke", resource) when { resource.owner == principal };`

let world: World
beforeAll(async () => {
  world = await startWorld({ policies })
})
afterAll(() => world?.close())

const ask = async (path: string, token: string, form: Record<string, string> = {}) => {
  const options = { token: world.as(path), form: { token, ...form } }
  return (await world.broker.client.request('POST', '/oauth2/introspect', options)).body
}
const revoke = (path: string, token: string, form: Record<string, string> = {}) =>
  world.broker.client.request('POST', '/oauth2/revoke', { token: world.as(path), form: { token, ...form } })
let refs = 0
const minted = async (more: Record<string, string | string[]> = {}) =>
  world.mint('/agent/a', await world.open('/agent/a', { ref: `r${++refs}` }), more)
const inactive = { active: false }

describe('introspection (RFC 7662)', () => {
  test('tells a service of a live token what the token says, and no more', async () => {
    const token = await minted()
    const { iss, sub, client_id, aud, iat, exp, jti, scope, task_id, task_ver } = decodeJwt(token)
    const told = { iss, sub, client_id, aud, iat, exp, jti, scope, task_id, task_ver }
    expect(await ask('/svc/deploy', token, { token_type_hint: 'refresh_token' })).toEqual({
      active: true,
      token_type: 'Bearer',
      ...told,
    })
  })

  test('answers a token of two audiences to each of them, with both', async () => {
    const token = await minted({ audience: audiences })
    expect(decodeJwt(token).aud).toEqual(audiences)
    for (const service of ['/svc/deploy', '/svc/logs'])
      expect(await ask(service, token)).toMatchObject({ active: true, aud: audiences })
  })

  test('is inactive and nothing more to who has no business with it, its own minter included, and is logged', async () => {
    const token = await minted()
    for (const stranger of ['/svc/logs', '/agent/a', '/agent/b'])
      expect(await ask(stranger, token)).toEqual(inactive)
    const { jti } = decodeJwt(token)
    expect(
      (await world.decisions('?action=introspect&decision=deny&limit=3')).map(d => [d.jti, d.code]),
    ).toEqual(Array(3).fill([jti, 'refused']))
  })

  test('is inactive for what is unknown, altered, expired or somebody else’s', async () => {
    const token = await minted({ ttl: '60' })
    const [header, payload, signature] = token.split('.') as [string, string, string]
    const other = Buffer.from(JSON.stringify({ ...decodeJwt(token), scope: 'root' })).toString('base64url')
    const none = Buffer.from(JSON.stringify({ alg: 'none', typ: 'at+jwt' })).toString('base64url')
    for (const text of [
      'x',
      'a.b.c',
      `${header}.${payload}`,
      `${header}.${other}.${signature}`,
      `${none}.${payload}.`,
      world.as('/agent/a'),
    ])
      expect(await ask('/svc/deploy', text)).toEqual(inactive)
    world.broker.clock.advance(60_000)
    expect(await ask('/svc/deploy', token)).toEqual(inactive)
  })

  test('needs a caller who proves who it is', async () => {
    const token = await minted()
    const { status, body, headers } = await world.broker.client.request('POST', '/oauth2/introspect', {
      form: { token },
    })
    expect([status, body.code]).toEqual([401, 'attestation_missing'])
    expect(headers.get('WWW-Authenticate')).toBe('Bearer realm="hallpass"')
    const forged = await world.broker.client.request('POST', '/oauth2/introspect', {
      token: 'x',
      form: { token },
    })
    expect([forged.status, forged.body.error]).toEqual([401, 'invalid_token'])
    const empty = { token: world.as('/svc/deploy'), form: {} }
    expect((await world.broker.client.request('POST', '/oauth2/introspect', empty)).body.error).toBe(
      'invalid_request',
    )
  })
})

describe('revocation (RFC 7009)', () => {
  test('kills this token and no other, and repeating it is 200', async () => {
    const task = await world.open('/agent/a', { ref: 'two' })
    const [one, two] = [await world.mint('/agent/a', task), await world.mint('/agent/a', task)]
    for (let n = 0; n < 2; n++) {
      const { status, text } = await revoke('/agent/a', one, { token_type_hint: 'access_token' })
      expect([status, text]).toEqual([200, ''])
    }
    expect([await world.live(one), await world.live(two)]).toEqual([false, true])
    expect(await world.broker.sql('SELECT jti FROM revocations WHERE jti IS NOT NULL')).toEqual([
      { jti: decodeJwt(one).jti },
    ])
  })

  test('is 200 for what is unknown and for what is not the caller’s to know, and kills neither', async () => {
    const token = await minted()
    for (const [path, text] of [
      ['/agent/a', 'x'],
      ['/agent/a', world.as('/agent/a')],
      ['/agent/b', token],
    ] as const)
      expect((await revoke(path, text)).status).toBe(200)
    expect(await world.live(token)).toBe(true)
  })

  test('is 403 to who sees the task and may not revoke', async () => {
    const token = await minted()
    const { status, body } = await revoke('/svc/deploy', token)
    expect([status, body.error, body.code]).toEqual([403, 'unauthorized_client', 'refused'])
    expect(await world.live(token)).toBe(true)
  })

  test('of a token for the broker itself ends what it may do there', async () => {
    const task = await world.open('/agent/a', { ref: 'self' })
    const token = await world.mint('/agent/a', task, { audience: testIssuer })
    const read = () => world.act(token, 'GET', `/v1/tasks/${task.id}`)
    expect((await read()).status).toBe(200)
    await revoke('/agent/a', token)
    expect((await read()).status).toBe(401)
  })
})
