import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { newKey } from './scripted-broker.ts'
import { type Followed, refusal, startFollowed, until } from './verifiers.ts'

let followed: Followed
beforeAll(async () => {
  followed = await startFollowed()
})
afterAll(() => followed.close())

const refused = (claims: Record<string, unknown>, options?: object) =>
  followed.broker.token(claims, options).then(token => refusal(followed.verifier, token))

test('a token is verified, and tells who asks, for which task', async () => {
  const { broker, verifier } = followed
  const [parent, root, taskId] = [randomUUID(), randomUUID(), randomUUID()]
  const token = await broker.token({
    sub: 'on-whose-behalf',
    task_id: taskId,
    task_ver: 3,
    task_path: [`${root}:1`, `${parent}:2`],
    act: { sub: 'x' },
  })
  const auth = await verifier.verify(token, { scope: 'deploy:prod' })
  expect(auth).toMatchObject({
    taskId,
    taskVer: 3,
    taskPath: [
      { id: root, ver: 1 },
      { id: parent, ver: 2 },
    ],
    subject: 'on-whose-behalf',
    clientId: 'github:repo:acme/api',
    scopes: ['deploy:prod', 'read'],
    jti: auth.claims.jti,
    expiresAt: new Date(auth.claims.exp * 1000),
  })
  expect(auth.claims.act).toEqual({ sub: 'x' })
})

describe('what is no such token is refused', () => {
  test.each([
    [{ iss: 'https://other.example' }, 'issuer_wrong'],
    [{ iss: undefined }, 'claims_malformed'],
    [{ aud: 'https://other.example' }, 'audience_wrong'],
    [{ aud: ['https://other.example'] }, 'audience_wrong'],
    [{ aud: 'https://deploy.example/' }, 'audience_wrong'],
    [{ aud: undefined }, 'claims_malformed'],
    [{ exp: undefined }, 'claims_malformed'],
    [{ exp: 'soon' }, 'claims_malformed'],
    [{ exp: 1 }, 'token_expired'],
    [{ nbf: 99_999_999_999 }, 'token_not_yet_valid'],
    [{ iat: undefined }, 'claims_malformed'],
    [{ iat: 'now' }, 'claims_malformed'],
    [{ jti: undefined }, 'claims_malformed'],
    [{ jti: '' }, 'claims_malformed'],
    [{ jti: 7 }, 'claims_malformed'],
    [{ sub: undefined }, 'claims_malformed'],
    [{ sub: ['a'] }, 'claims_malformed'],
    [{ client_id: undefined }, 'claims_malformed'],
    [{ client_id: {} }, 'claims_malformed'],
    [{ scope: ['deploy:prod'] }, 'claims_malformed'],
    [{ scope: null }, 'claims_malformed'],
    [{ task_id: undefined }, 'claims_malformed'],
    [{ task_id: '' }, 'claims_malformed'],
    [{ task_id: 7 }, 'claims_malformed'],
    [{ task_ver: undefined }, 'claims_malformed'],
    [{ task_ver: '1' }, 'claims_malformed'],
    [{ task_ver: -1 }, 'claims_malformed'],
    [{ task_ver: 1.5 }, 'claims_malformed'],
    [{ task_path: null }, 'claims_malformed'],
    [{ task_path: 'a:1' }, 'claims_malformed'],
    [{ task_path: {} }, 'claims_malformed'],
    [{ task_path: [7] }, 'claims_malformed'],
    [{ task_path: ['a'] }, 'claims_malformed'],
    [{ task_path: ['a:'] }, 'claims_malformed'],
    [{ task_path: [':1'] }, 'claims_malformed'],
    [{ task_path: ['a:01'] }, 'claims_malformed'],
    [{ task_path: ['a:-1'] }, 'claims_malformed'],
    [{ task_path: ['a:1e3'] }, 'claims_malformed'],
    [{ task_path: ['a:9999999999999999'] }, 'claims_malformed'],
    [{ task_path: ['a:b:1'] }, 'claims_malformed'],
    [{ task_path: ['a:1', null] }, 'claims_malformed'],
    [{ task_path: ['a:1\n'] }, 'claims_malformed'],
    [{ status: null }, 'claims_malformed'],
    [{ status: 'valid' }, 'claims_malformed'],
    [{ status: {} }, 'claims_malformed'],
    [{ status: { status_list: null } }, 'claims_malformed'],
    [{ status: { status_list: { idx: 1 } } }, 'claims_malformed'],
    [{ status: { status_list: { uri: 'https://x' } } }, 'claims_malformed'],
    [{ status: { status_list: { idx: '1', uri: 'https://x' } } }, 'claims_malformed'],
    [{ status: { status_list: { idx: -1, uri: 'https://x' } } }, 'claims_malformed'],
    [{ status: { status_list: { idx: 0.5, uri: 'https://x' } } }, 'claims_malformed'],
    [{ status: { status_list: { idx: 1, uri: 7 } } }, 'claims_malformed'],
    [{ cnf: { jkt: 'x' } }, 'binding_unproven'],
    [{ cnf: null }, 'binding_unproven'],
  ] as [Record<string, unknown>, string][])('%j: %s', async (claims, code) => {
    expect(await refused(claims)).toBe(code)
  })

  test('another type of token, even one of the same issuer', async () => {
    for (const typ of ['JWT', 'jwt', 'statuslist+jwt', 'application/jwt'])
      expect(await refused({}, { typ })).toBe('token_type_wrong')
    expect(await refused({}, { header: { typ: undefined } })).toBe('token_type_wrong')
    for (const typ of ['application/at+jwt', 'AT+JWT']) expect(await refused({}, { typ })).toBeNull()
  })

  test('what is no token at all', async () => {
    const { verifier, broker } = followed
    const good = await broker.token()
    const [header, payload, signature] = good.split('.') as [string, string, string]
    const texts = [
      '',
      '.',
      '..',
      'x',
      `${good}.`,
      `${header}.${payload}.`,
      `${header}..${signature}`,
      `.${payload}.${signature}`,
    ]
    for (const text of texts)
      expect(await refusal(verifier, text)).toMatch(/^(token_malformed|signature_wrong)$/)
    expect(await refusal(verifier, undefined as unknown as string)).toBe('token_malformed')
    expect(await refusal(verifier, Buffer.from(good) as unknown as string)).toBe('token_malformed')
  })

  test('a signature of another key, another payload, or none', async () => {
    const { verifier, broker } = followed
    const good = await broker.token()
    const [header, payload, signature] = good.split('.') as [string, string, string]
    const stranger = await newKey('ES256', broker.key.kid)
    expect(await refused({}, { key: stranger })).toBe('signature_wrong')
    const other = Buffer.from(JSON.stringify({ ...JSON.parse(atob(payload)), scope: 'admin' })).toString(
      'base64url',
    )
    expect(await refusal(verifier, `${header}.${other}.${signature}`)).toBe('signature_wrong')
    for (const alg of ['none', 'HS256', 'RS512', 'ES256K']) {
      const forged = Buffer.from(JSON.stringify({ typ: 'at+jwt', alg, kid: broker.key.kid })).toString(
        'base64url',
      )
      for (const rest of [`${payload}.${signature}`, `${payload}.`])
        expect(await refusal(verifier, `${forged}.${rest}`)).toMatch(/^(algorithm_refused|token_malformed)$/)
    }
  })

  test('a token that names no key', async () => {
    expect(await refused({}, { header: { kid: undefined } })).toBe('claims_malformed')
  })

  test('extensions that are critical and not understood', async () => {
    expect(await refused({}, { header: { crit: ['x'], x: 1 } })).not.toBeNull()
  })
})

describe('scopes', () => {
  test.each([
    ['deploy:prod', null],
    ['read', null],
    ['read deploy:prod', null],
    ['deploy', 'scope_insufficient'],
    ['deploy:pro', 'scope_insufficient'],
    ['prod', 'scope_insufficient'],
    ['deploy:prod admin', 'scope_insufficient'],
    ['DEPLOY:PROD', 'scope_insufficient'],
  ])('`deploy:prod read` for %j: %s', async (scope, code) => {
    const { verifier, broker } = followed
    expect(await refusal(verifier, await broker.token(), { scope })).toBe(code)
  })

  test('a token without scopes has none', async () => {
    const { verifier, broker } = followed
    for (const scope of [undefined, '', ' ']) {
      const token = await broker.token({ scope })
      expect(await refusal(verifier, token, { scope: 'read' })).toBe('scope_insufficient')
      expect((await verifier.verify(token)).scopes).toEqual([])
    }
  })

  test('what is asked for must be scopes', async () => {
    const { verifier, broker } = followed
    const token = await broker.token()
    for (const scope of ['', ' ', 'a  b', ' a', 'a"', 'a\\b', 'ä', 'a\n'])
      await expect(verifier.verify(token, { scope })).rejects.toThrow(TypeError)
  })

  test('a missing scope is told only of tokens that are alive', async () => {
    const { verifier, broker } = followed
    expect(await refusal(verifier, await broker.token({ exp: 1 }), { scope: 'admin' })).toBe('token_expired')
  })
})

describe('options', () => {
  test.each([
    [{ issuer: 'http://hallpass.example' }, 'issuer'],
    [{ issuer: 'hallpass.example' }, 'issuer'],
    [{ issuer: 'https://hallpass.example/?a' }, 'issuer'],
    [{ issuer: 'https://hallpass.example/#' }, 'issuer'],
    [{ issuer: 'https://a:b@hallpass.example' }, 'issuer'],
    [{ issuer: 'https://HALLPASS.example' }, 'issuer'],
    [{ issuer: 'https://hallpass.example:443' }, 'issuer'],
    [{ issuer: 'https://hallpass.example/a/../b' }, 'issuer'],
    [{ issuer: 'ftp://127.0.0.1' }, 'issuer'],
    [{ issuer: 'http://127.0.0.1.evil.example' }, 'issuer'],
    [{ issuer: undefined }, 'issuer'],
    [{ audience: '' }, 'audience'],
    [{ audience: [] }, 'audience'],
    [{ audience: ['a', ''] }, 'audience'],
    [{ audience: undefined }, 'audience'],
    [{ maxStaleness: Number.POSITIVE_INFINITY }, 'maxStaleness'],
    [{ maxStaleness: Number.NaN }, 'maxStaleness'],
    [{ maxStaleness: 0 }, 'maxStaleness'],
    [{ maxStaleness: '10s' }, 'maxStaleness'],
    [{ clockTolerance: -1 }, 'clockTolerance'],
    [{ clockTolerance: 3_600 }, 'clockTolerance'],
    [{ algorithms: ['none'] }, 'algorithms'],
    [{ algorithms: ['HS256'] }, 'algorithms'],
    [{ algorithms: [] }, 'algorithms'],
  ])('%j is refused', async (wrong, name) => {
    const { broker } = followed
    await expect(
      startFollowed({ issuer: broker.issuer, audience: 'a', ...(wrong as object) }),
    ).rejects.toThrow(`\`${name}\``)
  })

  test('one of several audiences is enough; issuers may have a path and a slash at the end', async () => {
    const { issuer } = followed.broker
    for (const path of ['/', '/tenant', '/tenant/']) {
      const at = `${issuer}${path}`
      const asked: string[] = []
      const other = await startFollowed({
        issuer: at,
        audience: ['https://a.example', 'https://b.example'],
        fetch: (url, init) => {
          asked.push(String(url))
          return fetch(`${issuer}${new URL(String(url)).pathname.replace('/tenant', '')}`, init)
        },
      })
      const of = (claims: object) =>
        followed.broker.token({ iss: at, ...claims }).then(token => refusal(other.verifier, token))
      expect(await of({ aud: 'https://b.example' })).toBeNull()
      expect(await of({ aud: ['https://x.example', 'https://a.example'] })).toBeNull()
      expect(await of({ aud: 'https://deploy.example' })).toBe('audience_wrong')
      expect(await of({ aud: 'https://b.example', iss: at.replace(/\/$/, '') })).toBe(
        path.endsWith('/') ? 'issuer_wrong' : null,
      )
      expect(asked[0]).toMatch(new RegExp(`^${at.replace(/\/$/, '')}/(\\.well-known|v1)/`))
      await other.close()
    }
  })

  test('algorithms that are not listed are refused, and all that are usual are known', async () => {
    const { broker } = followed
    const keys = await Promise.all(
      ['ES256', 'ES384', 'RS256', 'PS256', 'EdDSA', 'RS512'].map(alg => newKey(alg)),
    )
    broker.jwks = [broker.key.jwk, ...keys.map(key => key.jwk)]
    const usual = await startFollowed({ issuer: broker.issuer })
    const narrow = await startFollowed({ issuer: broker.issuer, algorithms: ['ES384'] })
    for (const key of keys) {
      const token = await broker.token({}, { key })
      expect(await refusal(usual.verifier, token)).toBe(key.alg === 'RS512' ? 'algorithm_refused' : null)
      expect(await refusal(narrow.verifier, token)).toBe(key.alg === 'ES384' ? null : 'algorithm_refused')
    }
    await usual.close()
    await narrow.close()
  })
})

describe('time', () => {
  test('at `exp` a token is dead, whatever is tolerated', async () => {
    const { verifier, broker, time, close } = await startFollowed({ clockTolerance: 60 })
    const exp = Math.floor(time.clocks.wall() / 1000) + 4
    const token = await broker.token({ exp })
    time.pass(exp * 1000 - time.clocks.wall() - 1)
    expect(await refusal(verifier, token)).toBeNull()
    time.pass(1)
    expect(await refusal(verifier, token)).toBe('token_expired')
    await close()
  })

  test('a clock that is set back brings no expired token to life', async () => {
    const { verifier, broker, time, close } = await startFollowed()
    const token = await broker.token()
    time.pass(301_000)
    broker.send(broker.tick())
    await until(() => verifier.state().fresh)
    time.setWall(-3_600_000)
    expect(await refusal(verifier, token)).toBe('token_expired')
    expect(
      await refusal(verifier, await broker.token({ exp: Math.floor(time.database() / 1000) + 9 })),
    ).toBeNull()
    await close()
  })
})

describe('keys', () => {
  test('one that is new is loaded when a token names it, but not again and again', async () => {
    const { verifier, broker, time, close } = await startFollowed()
    const added = await newKey()
    expect(await refusal(verifier, await broker.token({}, { key: added }))).toBe('key_unknown')
    const loads = broker.asked['/.well-known/jwks.json'] ?? 0
    broker.jwks.push(added.jwk)
    for (let tries = 0; tries < 20; tries++)
      expect(await refusal(verifier, await broker.token({}, { key: added }))).toBe('key_unknown')
    expect(broker.asked['/.well-known/jwks.json']).toBe(loads)
    time.pass(11_000)
    broker.send(broker.tick())
    expect(await refusal(verifier, await broker.token({}, { key: added }))).toBeNull()
    await close()
  })

  test('nor where a cache on the way says how old its answer is', async () => {
    const { verifier, broker, time, close } = await startFollowed()
    const good = broker.answers.get('/.well-known/jwks.json')
    broker.answers.set('/.well-known/jwks.json', (request, response) => {
      response.setHeader('age', '60')
      good?.(request, response)
    })
    const unknown = await broker.token({}, { key: await newKey() })
    time.pass(11_000)
    broker.send(broker.tick())
    const loads = broker.asked['/.well-known/jwks.json'] ?? 0
    for (let tries = 0; tries < 20; tries++) expect(await refusal(verifier, unknown)).toBe('key_unknown')
    expect(broker.asked['/.well-known/jwks.json']).toBe(loads + 1)
    await close()
  })

  test('so it is with a clock that was set back', async () => {
    const { verifier, broker, time, close } = await startFollowed()
    await verifier.verify(await broker.token())
    time.setWall(-86_400_000)
    time.pass(11_000)
    broker.send(broker.tick())
    const added = await newKey()
    broker.jwks.push(added.jwk)
    const exp = Math.floor(time.database() / 1000) + 60
    await until(async () => (await refusal(verifier, await broker.token({ exp }, { key: added }))) === null)
    await close()
  })

  test('when they cannot be had, nothing is verified', async () => {
    const { verifier, broker, close } = await startFollowed({
      script(broker) {
        broker.answers.set('/.well-known/jwks.json', (_, response) => response.writeHead(503).end())
      },
    })
    const token = await broker.token()
    expect(await refusal(verifier, token)).toBe('keys_unavailable')
    for (const body of ['', 'x', '[]', '{"keys":{}}', '{"keys":[1]}']) {
      broker.answers.set('/.well-known/jwks.json', (_, response) => response.end(body))
      expect(await refusal(verifier, token)).toBe('keys_unavailable')
    }
    broker.answers.set('/.well-known/jwks.json', (_, response) =>
      response.writeHead(302, { location: '/elsewhere' }).end(),
    )
    broker.answers.set('/elsewhere', (_, response) => response.end(JSON.stringify({ keys: broker.jwks })))
    expect(await refusal(verifier, token)).toBe('keys_unavailable')
    expect(broker.asked['/elsewhere']).toBeUndefined()
    broker.answers.set('/.well-known/jwks.json', (_, response) =>
      response.end(JSON.stringify({ keys: broker.jwks })),
    )
    expect(await refusal(verifier, token)).toBeNull()
    await close()
  })
})
