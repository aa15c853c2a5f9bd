import { createRemoteJWKSet, jwtVerify } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { checkPolicyDir } from '../../src/decide/folder.ts'
import type { Task, TokenResponse } from '../../src/http/openapi.generated.d.ts'
import { type Claims, formOfReadme, type RunningExample, startExample } from './example.ts'
import { providers } from './providers.ts'
import type { OAuthError } from './world.ts'

describe.each(providers)('$name', provider => {
  const { name, scope, audience } = provider
  let example: RunningExample
  beforeAll(async () => {
    example = await startExample(name)
  })
  afterAll(() => example?.close())

  /** The one call of the README. */
  const call = (more: Claims = {}, form: Record<string, string> = {}) =>
    example.broker.client.request<TokenResponse & OAuthError>('POST', '/oauth2/token', {
      form: { ...formOfReadme(example.readme), subject_token: example.attest(more), ...form },
    })
  const read = (id: string, more: Claims = {}) =>
    example.broker.client.request<Task>('GET', `/v1/tasks/${id}`, { token: example.attest(more) })

  test('is configuration alone: the file loads without a warning, and so do its policies', async () => {
    expect(example.config.warnings).toEqual([])
    expect(await checkPolicyDir(`${example.dir}/policies`)).toEqual({ faults: [], warnings: [] })
    const [source] = example.config.trust
    const iss = source && 'issuer' in source ? source.issuer : null
    expect([iss, name]).toEqual([example.claims.iss, source?.name])
    expect([example.claims.aud].flat()).toEqual([source?.audience])
  })

  test('the README’s one call answers a token for exactly the scope it asked, that dies with the job’s task', async () => {
    expect(formOfReadme(example.readme)).toMatchObject({ scope, audience })
    const { status, body, headers } = await call()
    expect([status, headers.get('Cache-Control')]).toEqual([200, 'no-store'])
    expect(body).toEqual({
      access_token: expect.any(String),
      issued_token_type: 'urn:ietf:params:oauth:token-type:access_token',
      token_type: 'Bearer',
      expires_in: 300,
      scope,
      task_id: expect.any(String),
    })

    // RFC 9068 §4: as a resource server verifies it.
    const jwks = createRemoteJWKSet(new URL('/.well-known/jwks.json', example.broker.url))
    const issuer = 'https://hallpass.example'
    const { payload, protectedHeader } = await jwtVerify(body.access_token, jwks, {
      issuer,
      audience,
      typ: 'at+jwt',
    })
    expect(protectedHeader).toEqual({ typ: 'at+jwt', alg: 'ES256', kid: expect.any(String) })
    const { iat, exp, jti } = payload
    expect(payload).toEqual({
      iss: issuer,
      sub: provider.principal,
      client_id: provider.principal,
      aud: audience,
      iat,
      exp,
      jti: expect.stringMatching(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/),
      scope,
      task_id: body.task_id,
      task_ver: 1,
      status: { status_list: { idx: expect.any(Number), uri: expect.stringContaining('/status-lists/') } },
    })
    expect(exp! - iat!).toBe(300)
    const again = (await call()).body
    expect(again.task_id).toBe(body.task_id)
    expect(again.access_token).not.toContain(jti!)

    const task = (await read(body.task_id)).body
    expect(task).toMatchObject({
      kind: provider.kind,
      ref: provider.ref,
      principal: provider.principal,
      subject: provider.principal,
      trust: name,
      state: 'open',
      ver: 1,
    })
    expect(task.context).toEqual(provider.context)
    expect(task.bind).toEqual(Object.keys(provider.context))
  })

  test.each(Object.keys(provider.refused))('policy refuses %s', async what => {
    // Each as a job of its own: this is about policy, not about drift.
    const job = provider.another(500 + Object.keys(provider.refused).indexOf(what))
    const { status, body } = await call(merged(job, provider.refused[what] ?? {}))
    expect([status, body.code]).toEqual([400, 'refused'])
    expect(['invalid_scope', 'invalid_target']).toContain(body.error)
    expect(body.decision_id).toEqual(expect.any(String))
  })

  test('policy refuses another audience, and a scope that nobody has', async () => {
    expect((await call({}, { audience: 'https://other.example' })).body).toMatchObject({
      error: 'invalid_target',
    })
    expect((await call({}, { scope: `${scope} admin` })).body).toMatchObject({
      error: 'invalid_scope',
      code: 'refused',
    })
  })

  test('another job of the same workflow gets a task of its own, and nothing of this one', async () => {
    const mine = (await call()).body.task_id
    const other = provider.another(100)
    const theirs = (await call(other)).body.task_id
    expect(theirs).not.toBe(mine)
    const stolen = await call(other, { task_id: mine })
    expect(stolen.body).toMatchObject({ error: 'invalid_grant', code: 'task_unknown' })
    expect((await read(mine, other)).status).toBe(404)
    const token = example.attest(other)
    const close = await example.broker.client.request('POST', `/v1/tasks/${mine}/close`, { token, json: {} })
    expect(close.status).toBe(404)
    expect((await read(mine)).body.state).toBe('open')
  })

  test.each(provider.needs.map((claims, n) => ({ claims, n: n + 1 })))(
    'an attestation that does not name its job is refused (part $n of its name)',
    async ({ claims }) => {
      const { status, body } = await call(claims)
      expect([status, body.error, body.code]).toEqual([400, 'invalid_request', 'malformed'])
    },
  )

  test('what is not ours, though of this issuer, proves nothing', async () => {
    const { body } = await call(provider.foreign)
    expect(body).toMatchObject({ error: 'invalid_request', code: 'attestation_invalid' })
  })
})

/** What the second says of a pod goes into the first's. */
function merged(one: Claims, two: Claims): Claims {
  const name = 'kubernetes.io'
  if (!(name in one && name in two)) return { ...one, ...two }
  return { ...one, ...two, [name]: { ...(two[name] as Claims), pod: (one[name] as Claims).pod } }
}
