import { randomUUID } from 'node:crypto'
import fc, { type Arbitrary } from 'fast-check'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type Operation, readContract, type Schema } from '../../src/http/contract/document.ts'
import { ciSource, startTestBroker, type TestBroker, testIssuer } from '../support/broker.ts'
import type { RequestOptions } from '../support/client.ts'
import { tricky, valuesOf } from '../support/client-arbitraries.ts'
import { startIssuer, type TestIssuer } from '../support/issuer.ts'

/**
 * Every operation of openapi.yaml, asked well, badly and absurdly. The client holds every answer against the contract, where no
 * 500 is documented; PostgreSQL is there, so 503 is no answer either. What a failure prints (seed, path) repeats it.
 */

const document = readContract()
const uuid = '019f1c52-6b1e-7c3a-9d2f-0b8f5a4c1e77'

let broker: TestBroker
let agents: TestIssuer
let ci: TestIssuer
/** Stands in a request where a value exists only once the broker runs. */
const known = { task: uuid, jti: uuid, operator: '', attestation: '', job: '', token: '' }

beforeAll(async () => {
  agents = await startIssuer()
  ci = await startIssuer()
  const trust = [ciSource(agents.issuer, { name: 'agents', task: null }), ciSource(ci.issuer)]
  const pki = { trustDomain: 'hallpass.test', path: '/task/{task_id}' }
  broker = await startTestBroker({ trust, config: { pki } })
  known.operator = await broker.operatorToken()
  const iat = Math.floor(Date.now() / 1000)
  const claims = { sub: 'agent-7', aud: testIssuer, iat, exp: iat + 600 }
  known.attestation = agents.sign(claims)
  known.job = ci.sign({ ...claims, repository: 'acme/api', run_id: '7', run_attempt: '1', check_run_id: '9' })
})

// A task and a token of their own for each operation: one of them is sure to end what it is given.
beforeEach(async () => {
  const { client } = broker
  // Another may have blocked everything.
  const operator = { token: known.operator }
  const blocks = await client.request<{ items: { id: string }[] }>('GET', '/v1/blocks?limit=200', operator)
  for (const { id } of blocks.body.items) await client.request('DELETE', `/v1/blocks/${id}`, operator)
  const { attestation: token } = known
  const json = { kind: 'agent-run', ref: `fuzz-${randomUUID()}` }
  const opened = await client.request<{ id: string }>('POST', '/v1/tasks', { token, json })
  expect([200, 201], opened.text).toContain(opened.status)
  known.task = opened.body.id
  const path = `/v1/tasks/${known.task}/credentials`
  const mint = { type: 'jwt', scope: 'deploy:staging', audience: 'https://deploy.example' }
  known.token =
    (await client.request<{ access_token?: string }>('POST', path, { token, json: mint })).body
      .access_token ?? ''
  const listed = await client.request<{ items: { jti: string }[] }>('GET', path, { token })
  known.jti = listed.body.items[0]?.jti ?? uuid
})

afterAll(async () => {
  await broker?.close()
  await agents?.close()
  await ci?.close()
})

interface Shot {
  method: string
  path: string
  options: RequestOptions
}

const enormous = ['x'.repeat(3000), '9'.repeat(3000), '\u{1f600}'.repeat(300), ' '.repeat(500)]
const words: Arbitrary<string> = fc.oneof(
  fc.constantFrom(
    ...tricky,
    ...enormous,
    '',
    '0',
    '-1',
    '1e9',
    'true',
    '\0',
    '*',
    uuid,
    '..',
    '__proto__',
    '<task>',
    '<jti>',
  ),
  fc.string({ unit: 'binary', maxLength: 40 }).map(text => text.toWellFormed()),
)

const nested = (depth: number): unknown => JSON.parse('{"a":['.repeat(depth) + ']}'.repeat(depth))
const junk: Arbitrary<unknown> = fc.oneof(
  words,
  fc.constantFrom(
    null,
    true,
    0,
    -1,
    0.5,
    1e308,
    2 ** 53,
    [],
    {},
    [[]],
    [null],
    nested(5),
    nested(9),
    'x'.repeat(20_000),
  ),
  fc.jsonValue(),
)

/** Bytes that are no JSON that may be: each is 400, or 413. */
const rawJson = fc.constantFrom<(string | Uint8Array<ArrayBuffer>)[]>(
  '',
  '{',
  'null',
  '{"reason":"a","reason":"a"}',
  '{"reason":"\\u0000"}',
  '{"reason":"\\ud800"}',
  '{"__proto__":{"reason":"a"}}',
  '{"reason":1e999}',
  '\ufeff{}',
  '['.repeat(100_000),
  `[${'0,'.repeat(50_000)}0]`,
  JSON.stringify({ reason: 'x'.repeat(300 * 1024) }),
  new Uint8Array([0x7b, 0xff, 0xfe, 0x7d]),
)

const mediaTypes = [
  'text/plain',
  'application/json',
  'application/merge-patch+json',
  'application/x-www-form-urlencoded',
  'application/json; charset=utf-16',
  'multipart/form-data; boundary=x',
  'application/jsonp',
  'x',
]

/** The value as it is, or with one thing wrong. */
const spoiled = (value: unknown): Arbitrary<unknown> => {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return fc.constant(value)
  const members = Object.entries(value)
  const names = fc.constantFrom('extra', 'constructor', ...members.map(([name]) => name))
  const without = names.map(name => Object.fromEntries(members.filter(([other]) => other !== name)))
  const changed = fc.tuple(names, junk).map(([name, wrong]) => ({ ...value, [name]: wrong }))
  return fc.oneof({ weight: 3, arbitrary: fc.constant(value) }, without, { weight: 3, arbitrary: changed })
}

const jsonBody = (schema: Schema, mediaType: string): Arbitrary<RequestOptions> => {
  const good = fc
    .tuple(valuesOf(schema, document), fc.boolean())
    .map(([value, known]) => (known ? belowKnownTask(value) : value))
  const values = fc.oneof({ weight: 5, arbitrary: good.chain(spoiled) }, junk)
  const text = fc.oneof({ weight: 6, arbitrary: values.map(value => JSON.stringify(value)) }, rawJson)
  return fc.record({ body: text, headers: headersWith(mediaType) })
}

/** A parent that is there: what is opened below it must come through as well, or fail for its own reasons. */
const belowKnownTask = (value: unknown): unknown =>
  typeof value === 'object' && value !== null && 'parent_id' in value
    ? { ...value, parent_id: '<task>' }
    : value

const grants = fc.constantFrom<Record<string, string>>(
  {
    grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
    subject_token: '<attestation>',
    subject_token_type: 'urn:ietf:params:oauth:token-type:jwt',
  },
  {
    grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
    subject_token: '<job>',
    subject_token_type: 'urn:ietf:params:oauth:token-type:id_token',
  },
  { grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer', assertion: '<attestation>' },
  {
    grant_type: 'client_credentials',
    client_assertion: '<attestation>',
    client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
  },
)

const formBody = (schema: Schema, mediaType: string): Arbitrary<RequestOptions> => {
  const rest = fc.record({
    scope: fc.constantFrom('deploy:staging', 'deploy:prod logs:read'),
    audience: fc.constantFrom('https://deploy.example', 'a'),
    task_id: fc.constantFrom('<task>', '<task>', uuid),
    token: fc.constantFrom('<token>', '<attestation>', '<operator>', 'x'),
  })
  const good = fc
    .tuple(grants, rest)
    .map(([grant, others]): Record<string, unknown> => ({ ...grant, ...others }))
  const mixed = fc
    .tuple(good, valuesOf(schema, document))
    .map(([ours, any]) => ({ ...(any as object), ...ours }))
  const names = fc.constantFrom(...Object.keys(schema.properties ?? {}), 'actor_token', '__proto__')
  const further = fc.array(fc.tuple(names, words), { maxLength: 2 })
  const form = fc
    .tuple(
      fc.oneof(good, mixed),
      fc.oneof(fc.constant([]), further),
      fc.constantFrom(1, 1, 1, 1, 1, 1, 1, 2, 400),
    )
    .map(([given, more, times]) => {
      const pairs = [...Object.entries(given), ...more].flatMap(([name, value]) =>
        [value].flat().map((one): [string, string] => [name, String(one)]),
      )
      return Array<string>(times).fill(new URLSearchParams(pairs).toString()).join('&')
    })
  const odd = fc.constantFrom('', '&&&', '%', '%ff=%ff', '{"token":"x"}', `token=${'x'.repeat(70_000)}`)
  const text = fc.oneof({ weight: 8, arbitrary: form }, odd)
  return fc.record({ body: text, headers: headersWith(mediaType) })
}

const headersWith = (mediaType: string): Arbitrary<Record<string, string>> =>
  fc
    .tuple(
      fc.oneof({ weight: 9, arbitrary: fc.constant(mediaType) }, fc.constantFrom(...mediaTypes)),
      fc.constantFrom(undefined, undefined, '*', '"1"', 'W/"1"', '"1", "2"', '1', '"', ',', 'x'.repeat(2000)),
      fc.oneof({ weight: 19, arbitrary: fc.constant(undefined) }, fc.constantFrom('gzip', 'br', 'x')),
    )
    .map(([type, ifMatch, encoding]) => ({
      'Content-Type': type,
      ...(ifMatch && { 'If-Match': ifMatch }),
      ...(encoding && { 'Content-Encoding': encoding }),
    }))

const bodyOf = ({ body }: Operation): Arbitrary<RequestOptions> => {
  if (body === null) return fc.oneof({ weight: 5, arbitrary: fc.constant({}) }, fc.record({ body: rawJson }))
  const schema = resolve(body.schema)
  const some = body.mediaType.endsWith('json')
    ? jsonBody(schema, body.mediaType)
    : formBody(schema, body.mediaType)
  return fc.oneof({ weight: 9, arbitrary: some }, fc.constant({}))
}

const resolve = (schema: Schema): Schema =>
  typeof schema.$ref === 'string' ? (document.schemas[schema.$ref.split('/').at(-1) ?? ''] ?? {}) : schema

const pathOf = (operation: Operation): Arbitrary<string> => {
  const isTask = operation.path.includes('/tasks/')
  const ids = fc.oneof(
    { weight: 6, arbitrary: fc.constant(isTask ? '<task>' : '<jti>') },
    words.map(encodeURIComponent),
    fc.constantFrom(uuid, uuid.toUpperCase(), '%00', '%ff', '%', `${uuid}%0a`, 'a%2Fb'),
  )
  return ids.map(id => operation.path.replace(/\{\w+\}/, () => id))
}

const queryOf = ({ parameters }: Operation): Arbitrary<string> => {
  const inQuery = parameters.filter(({ in: place }) => place === 'query')
  const good = inQuery.map(({ name, schema }) =>
    fc.tuple(fc.constant(name), valuesOf(schema, document).map(String)),
  )
  const names = fc.constantFrom('extra', 'access_token', '__proto__', ...inQuery.map(({ name }) => name))
  const bad = fc.tuple(names, words)
  const pairs = fc.array(good.length > 0 ? fc.oneof({ weight: 4, arbitrary: fc.oneof(...good) }, bad) : bad, {
    maxLength: 3,
  })
  const weight = good.length > 0 ? 2 : 12
  return fc.oneof(
    { weight, arbitrary: fc.constant('') },
    { weight: 4, arbitrary: pairs.map(list => `?${new URLSearchParams(list)}`) },
    fc.constantFrom('?', '?&', '?%', '?limit=%ff', '?=', `?limit=1${'&limit=1'.repeat(500)}`),
  )
}

const shots = (operation: Operation): Arbitrary<Shot> => {
  const tokens = fc.oneof(
    { weight: 6, arbitrary: fc.constantFrom('<operator>', '<attestation>', '<job>') },
    fc.constantFrom(undefined, '<token>', 'x', 'a.b.c', 'x'.repeat(6000), '..', '"', 'a b'),
  )
  const methods = fc.oneof(
    { weight: 12, arbitrary: fc.constant(operation.method) },
    fc.constantFrom('GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'PROPFIND'),
  )
  return fc
    .tuple(methods, pathOf(operation), queryOf(operation), tokens, bodyOf(operation))
    .map(([method, path, query, token, { body, ...options }]) => ({
      method,
      path: path + query,
      options: {
        ...options,
        ...(token === undefined ? {} : { token }),
        // fetch gives these no body.
        ...(body === undefined || method === 'GET' || method === 'HEAD' ? {} : { body }),
      },
    }))
}

/** Puts what is known by now where a shot, made before, has its placeholder, plain or percent-encoded. */
const filled = (text: string): string =>
  text.replace(
    /(?:<|%3C)(task|jti|operator|attestation|job|token)(?:>|%3E)/g,
    (_, name: keyof typeof known) => known[name],
  )

const fire = ({ method, path, options: { body, token, ...options } }: Shot) =>
  broker.client.request<unknown>(method, filled(path), {
    ...options,
    ...(token === undefined ? {} : { token: filled(token) }),
    ...(body === undefined ? {} : { body: typeof body === 'string' ? filled(body) : body }),
  })

const secrets = () => [known.operator, known.attestation, known.job]

describe('whatever it is sent, the broker answers as the contract says', () => {
  it.each(
    document.operations.map(operation => [`${operation.method} ${operation.path}`, operation] as const),
  )('%s', async (_, operation) => {
    await fc.assert(
      fc.asyncProperty(shots(operation), async shot => {
        const { status, text } = await fire(shot)
        expect(status).toBeLessThan(500)
        for (const secret of secrets()) expect(text).not.toContain(secret)
      }),
      { numRuns: 150 },
    )
  })
})

it('and logs no token of it all', () => {
  const logged = broker.logged.join('')
  for (const secret of secrets()) expect(logged).not.toContain(secret)
})

it('and is alive and ready after it all', async () => {
  expect((await broker.client.request('GET', '/healthz')).status).toBe(200)
  expect((await broker.client.request('GET', '/readyz')).status).toBe(200)
})
