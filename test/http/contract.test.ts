import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { errorCodes, HallpassError, publicCode } from '../../src/errors.ts'
import { readContract } from '../../src/http/contract/document.ts'
import { loadContract } from '../../src/http/contract.ts'
import type { Bodies } from '../../src/http/openapi.generated.d.ts'
import { valuesOf } from '../support/client-arbitraries.ts'

const document = readContract()
const contract = loadContract(document)

const refusal = (act: () => unknown): HallpassError => {
  try {
    act()
  } catch (error) {
    if (error instanceof HallpassError) return error
    throw error
  }
  throw new Error('was accepted')
}

const query = (operationId: string, text: string) => () =>
  contract.query(operationId)(new URLSearchParams(text))
const token = (text: string) => () => contract.form('issueToken')(new URLSearchParams(text))
const mint = { type: 'jwt', scope: 'deploy:prod', audience: 'https://a.example' }

describe('a body is refused, with the place of the fault, when it has', () => {
  it.each<[string, keyof Bodies, unknown, string]>([
    ['an unknown member', 'openTask', { kindd: 'x' }, '/kindd'],
    ['an unknown member whose name a pointer must escape', 'openTask', { 'a/b~c': 1 }, '/a~1b~0c'],
    ['an unknown member named like a method', 'closeTask', { toString: 1 }, '/toString'],
    ['an unknown member where nothing is needed', 'rotateKeys', { now: true }, '/now'],
    ['no deadline to extend to', 'extendTask', {}, '/deadline'],
    ['a wrong type', 'closeTask', { reason: 1 }, '/reason'],
    ['null where there is no null', 'openTask', { purpose: null }, '/purpose'],
    ['an array for an object', 'patchTaskContext', [], ''],
    ['a string for an object', 'patchTaskContext', 'sha', ''],
    ['null for an object', 'closeTask', null, ''],
    ['a kind in capitals', 'openTask', { kind: 'CI' }, '/kind'],
    ['a kind of 65 characters', 'openTask', { kind: 'k'.repeat(65) }, '/kind'],
    ['a kind with a line end after it', 'openTask', { kind: 'ci\n' }, '/kind'],
    ['an empty ref', 'openTask', { ref: '' }, '/ref'],
    ['a ref of 1,025 characters', 'openTask', { ref: 'r'.repeat(1025) }, '/ref'],
    ['a purpose of 1,025 characters', 'openTask', { purpose: 'p'.repeat(1025) }, '/purpose'],
    ['a context with a number', 'openTask', { context: { sha: 1 } }, '/context/sha'],
    ['a context with null', 'openTask', { context: { sha: null } }, '/context/sha'],
    ['a context of 65 keys', 'openTask', { context: keys(65) }, '/context'],
    ['an empty context key', 'openTask', { context: { '': 'x' } }, '/context/'],
    [
      'a context key of 129 characters',
      'patchTaskContext',
      { ['k'.repeat(129)]: 'x' },
      `/${'k'.repeat(129)}`,
    ],
    ['a context value of 2,049 characters', 'patchTaskContext', { a: 'v'.repeat(2049) }, '/a'],
    ['a context value that is an object', 'patchTaskContext', { a: { b: 'c' } }, '/a'],
    ['a bound key that is no string', 'openTask', { bind: ['sha', 1] }, '/bind/1'],
    ['65 bound keys', 'openTask', { bind: Object.keys(keys(65)) }, '/bind'],
    ['a deadline without a zone', 'openTask', { deadline: '2026-07-01T12:00:00' }, '/deadline'],
    ['a deadline on 30 February', 'extendTask', { deadline: '2026-02-30T12:00:00Z' }, '/deadline'],
    [
      'a deadline at a leap second, which no Date can hold',
      'extendTask',
      { deadline: '2016-12-31T23:59:60Z' },
      '/deadline',
    ],
    ['a deadline with a space', 'extendTask', { deadline: '2026-07-01 12:00:00Z' }, '/deadline'],
    ['a deadline as a number', 'extendTask', { deadline: 1782907200 }, '/deadline'],
    ['a heartbeat of 0', 'openTask', { heartbeat_timeout: 0 }, '/heartbeat_timeout'],
    ['a heartbeat of 1.5', 'openTask', { heartbeat_timeout: 1.5 }, '/heartbeat_timeout'],
    ['a heartbeat of 0s', 'openTask', { heartbeat_timeout: '0s' }, '/heartbeat_timeout'],
    ['a heartbeat of 90', 'openTask', { heartbeat_timeout: '90' }, '/heartbeat_timeout'],
    ['a heartbeat of an age', 'openTask', { heartbeat_timeout: '99999d' }, '/heartbeat_timeout'],
    ['an outcome that only the broker gives', 'closeTask', { outcome: 'expired' }, '/outcome'],
    ['a reason of 1,025 characters', 'suspendTask', { reason: 'r'.repeat(1025) }, '/reason'],
    ['a parent that is no ID', 'openTask', { parent_id: 'the-one-above' }, '/parent_id'],
    ['an ID in capitals', 'openTask', { parent_id: '019F1C52-6B1E-7C3A-9D2F-0B8F5A4C1E77' }, '/parent_id'],
    ['two parents', 'openTask', { parent_id: ['019f1c52-6b1e-7c3a-9d2f-0b8f5a4c1e77'] }, '/parent_id'],
    ['everything that is not true', 'revokeMany', { everything: false }, '/everything'],
    ['a principal of 4,097 characters', 'revokeMany', { principal: 'p'.repeat(4097) }, '/principal'],
    ['a trust source in capitals', 'revokeMany', { trust: 'CI' }, '/trust'],
    ['an until without a zone', 'revokeMany', { trust: 'ci', until: '2026-07-01T12:00:00' }, '/until'],
    ['no scope', 'mintCredential', { type: 'jwt', audience: 'a' }, '/scope'],
    ['no audience', 'mintCredential', { type: 'jwt', scope: 's' }, '/audience'],
    ['no type', 'mintCredential', { scope: 's', audience: 'a' }, '/type'],
    ['a type that does not exist', 'mintCredential', { ...mint, type: 'x508' }, '/type'],
    ['a password for nothing', 'mintCredential', { ...mint, type: 'x509', password: 'x' }, '/format'],
    ['a file without a password', 'mintCredential', { ...mint, type: 'x509', format: 'pkcs12' }, '/password'],
    [
      'the same DNS name twice',
      'mintCredential',
      { ...mint, type: 'x509', csr: 'x', dns_names: ['a', 'a'] },
      '/dns_names',
    ],
    ['two spaces in a scope', 'mintCredential', { ...mint, scope: 'a  b' }, '/scope'],
    ['a quote in a scope', 'mintCredential', { ...mint, scope: 'a"b' }, '/scope'],
    ['33 scopes', 'mintCredential', { ...mint, scope: Array(33).fill('s').join(' ') }, '/scope'],
    ['a scope of 5,000 characters', 'mintCredential', { ...mint, scope: 's'.repeat(5000) }, '/scope'],
    ['no audience in the list', 'mintCredential', { ...mint, audience: [] }, '/audience'],
    ['33 audiences', 'mintCredential', { ...mint, audience: Array(33).fill('a') }, '/audience'],
    ['an empty audience', 'mintCredential', { ...mint, audience: ['a', ''] }, '/audience/1'],
    [
      'an audience of 1,025 characters',
      'mintCredential',
      { ...mint, audience: 'a'.repeat(1025) },
      '/audience',
    ],
    ['a ttl of 0', 'mintCredential', { ...mint, ttl: 0 }, '/ttl'],
    ['an infinite ttl', 'mintCredential', { ...mint, ttl: Number.POSITIVE_INFINITY }, '/ttl'],
    ['a ttl as text', 'mintCredential', { ...mint, ttl: '300' }, '/ttl'],
    ['a task_ver past what a database holds', 'mintCredential', { ...mint, task_ver: 2 ** 31 }, '/task_ver'],
  ])('%s', (_, operationId, body, path) => {
    const error = refusal(() => contract.body(operationId)(body))
    expect(error.code).toBe('invalid')
    expect(error.paths?.map(fault => fault.path)).toContain(path)
    expect(error.paths?.every(fault => fault.message.length > 0)).toBe(true)
  })

  it('nothing, where something is needed: malformed', () => {
    expect(refusal(() => contract.body('openTask')(undefined)).code).toBe('malformed')
    expect(refusal(() => contract.body('patchTaskContext')(undefined)).code).toBe('malformed')
  })
})

function keys(count: number): Record<string, string> {
  return Object.fromEntries(Array.from({ length: count }, (_, n) => [`key${n}`, 'x']))
}

describe('the faults of a body', () => {
  const faultsOf = (operationId: keyof Bodies, body: unknown) =>
    refusal(() => contract.body(operationId)(body)).paths ?? []

  it('are told all at once, each place once', () => {
    const paths = faultsOf('mintCredential', { type: 'x', scope: '', audience: 1, ttl: -1 }).map(
      ({ path }) => path,
    )
    expect(paths.toSorted()).toEqual(['/audience', '/scope', '/ttl', '/type'])
  })

  it('say what fits, over all alternatives', () => {
    expect(faultsOf('mintCredential', { ...mint, audience: 1 })).toEqual([
      { path: '/audience', message: 'must be string or array' },
    ])
    expect(faultsOf('mintCredential', { ...mint, type: 'x508' })).toEqual([
      { path: '/type', message: 'must be one of "jwt", "x509"' },
    ])
    expect(faultsOf('mintCredential', { ...mint, format: 'pkcs12' })).toEqual([
      { path: '/password', message: 'is required' },
    ])
  })

  it('are 20 at most', () => {
    expect(faultsOf('openTask', keys(2000))).toHaveLength(20)
  })

  it('have paths of bounded length, however long a name is', () => {
    const [fault] = faultsOf('openTask', { ['\u{1f600}'.repeat(50_000)]: 1 })
    expect(fault?.path.length).toBeLessThan(300)
    expect(fault?.path.isWellFormed()).toBe(true)
  })

  it('never repeat a value', () => {
    const told = JSON.stringify(
      faultsOf('mintCredential', { type: 's3cret', scope: 's3cret"', audience: ['s3cret', 1] }),
    )
    expect(told).not.toContain('s3cret')
  })
})

describe('a body is accepted', () => {
  it('where none is needed and there is none', () => {
    expect(contract.body('heartbeatTask')(undefined)).toEqual({})
    expect(contract.body('closeTask')(undefined)).toEqual({ outcome: 'completed' })
  })

  it('with context keys named like members of Object.prototype', () => {
    const context = { constructor: 'a', toString: 'b', hasOwnProperty: 'c' }
    expect(contract.body('openTask')({ context })).toEqual({ context })
  })

  it.each([1, '90s', '5m', '8h', '90d', null])('with the heartbeat_timeout %j', heartbeat => {
    expect(contract.body('openTask')({ heartbeat_timeout: heartbeat })).toEqual({
      heartbeat_timeout: heartbeat,
    })
  })

  it.each([
    'openTask',
    'patchTaskContext',
    'closeTask',
    'suspendTask',
    'extendTask',
    'mintCredential',
    'rotateKeys',
    'withdrawKey',
    'revokeMany',
  ] as const)('property: %s takes whatever has the shape of the contract', operationId => {
    const { body } = document.operations.find(operation => operation.operationId === operationId) ?? {}
    fc.assert(
      fc.property(valuesOf(body?.schema ?? {}, document), value => {
        expect(contract.body(operationId)(structuredClone(value))).toMatchObject(value as object)
      }),
    )
  })

  it('property: or answers with a HallpassError, whatever the value is', () => {
    fc.assert(
      fc.property(fc.anything({ withNullPrototype: true }), value => {
        try {
          contract.body('openTask')(value)
        } catch (error) {
          expect(error).toBeInstanceOf(HallpassError)
        }
      }),
    )
  })
})

describe('query parameters are malformed when', () => {
  it.each([
    ['one is unknown', 'listTasks', 'colour=red'],
    ['one is named like a member of Object.prototype', 'listTasks', 'toString=1&__proto__=2'],
    ['an operation has none', 'getTask', 'verbose=1'],
    ['one is repeated', 'listTasks', 'state=open&state=open'],
    ['limit is 0', 'listTasks', 'limit=0'],
    ['limit is 201', 'listTasks', 'limit=201'],
    ['limit is empty', 'listTasks', 'limit='],
    ['limit is 1e2', 'listTasks', 'limit=1e2'],
    ['limit has a sign', 'listTasks', 'limit=%2B1'],
    ['limit has a leading zero', 'listTasks', 'limit=010'],
    ['limit has a space', 'listTasks', 'limit=+10'],
    ['limit is of another script', 'listTasks', 'limit=\u0661'],
    ['state does not exist', 'listTasks', 'state=OPEN'],
    ['state is empty', 'listTasks', 'state='],
    ['ref holds U+0000', 'listTasks', 'ref=a%00b'],
    ['ref is enormous', 'listTasks', `ref=${'r'.repeat(1025)}`],
    ['cursor is no cursor', 'listTasks', 'cursor=a%20b'],
    ['cursor is enormous', 'listTasks', `cursor=${'c'.repeat(513)}`],
    ['task is no ID', 'listDecisions', 'task=1'],
    ['task is in capitals', 'listDecisions', 'task=019F1C52-6B1E-7C3A-9D2F-0B8F5A4C1E77'],
    ['decision does not exist', 'listDecisions', 'decision=maybe'],
  ])('%s', (_, operationId, text) => {
    expect(refusal(query(operationId, text)).code).toBe('malformed')
  })
})

it('query parameters are typed, and defaults filled in', () => {
  expect(query('listTasks', '')()).toEqual({ limit: 50 })
  expect(query('listTasks', 'limit=7&state=open&ref=a%2Fb')()).toEqual({
    limit: 7,
    state: 'open',
    ref: 'a/b',
  })
  expect(query('getTask', '')()).toEqual({})
})

describe('a form is malformed when', () => {
  it.each([
    ['it is empty', '', 'grant_type is missing'],
    [
      'a parameter without a value stands for a needed one (RFC 6749 §3.2)',
      'grant_type=g&scope=',
      'scope is missing',
    ],
    ['a parameter is repeated', 'grant_type=g&scope=s&scope=s', 'scope is repeated'],
    [
      'a parameter is repeated without a value',
      'grant_type=g&scope=s&task_id=&task_id=',
      'task_id is repeated',
    ],
    ['a parameter that is not known is repeated', 'grant_type=g&scope=s&x=1&x=1', 'is repeated'],
    ['a value holds U+0000', 'grant_type=g%00&scope=s', 'grant_type is malformed'],
    ['a scope is malformed', 'grant_type=g&scope=a++b', 'scope is malformed'],
    ['a ttl is 0', 'grant_type=g&scope=s&ttl=0', 'ttl is malformed'],
    ['a ttl is no whole number', 'grant_type=g&scope=s&ttl=1.5', 'ttl is malformed'],
    ['a ttl is enormous', `grant_type=g&scope=s&ttl=${'9'.repeat(400)}`, 'ttl is malformed'],
    ['a task_id is no ID', 'grant_type=g&scope=s&task_id=7', 'task_id is malformed'],
    [
      'a token type is not known',
      'grant_type=g&scope=s&subject_token_type=saml',
      'subject_token_type is malformed',
    ],
    ['there are 33 audiences', `grant_type=g&scope=s${'&audience=a'.repeat(33)}`, 'audience is malformed'],
  ])('%s', (_, text, message) => {
    const error = refusal(token(text))
    expect(error.code).toBe('malformed')
    expect(error.message).toContain(message)
    // RFC 6749 §5.2, error_description.
    expect(error.message).toMatch(/^[\x20-\x21\x23-\x5b\x5d-\x7e]+$/)
  })
})

describe('a form', () => {
  it('ignores what it does not know, and what has no value', () => {
    expect(token('grant_type=g&scope=s&colour=red&__proto__=x&task_id=')()).toEqual({
      grant_type: 'g',
      scope: 's',
    })
  })

  it('reads audience and resource as lists, which alone may repeat', () => {
    expect(token('grant_type=g&scope=s&audience=a&resource=urn:b&audience=c')()).toEqual({
      grant_type: 'g',
      scope: 's',
      audience: ['a', 'c'],
      resource: ['urn:b'],
    })
  })

  it('property: answers any text with the form or a HallpassError that repeats no value', () => {
    const names = fc.constantFrom(
      'grant_type',
      'scope',
      'audience',
      'ttl',
      'task_id',
      'toString',
      '__proto__',
      '',
    )
    const pairs = fc.array(
      fc.tuple(
        fc.oneof(names, fc.string()),
        fc.string({ unit: 'binary' }).map(text => `s3cret${text}`),
      ),
    )
    fc.assert(
      fc.property(pairs, given => {
        try {
          contract.form('issueToken')(new URLSearchParams(given))
        } catch (error) {
          expect(error).toBeInstanceOf(HallpassError)
          expect(String(error)).not.toContain('s3cret')
        }
      }),
    )
  })
})

describe('openapi.yaml', () => {
  it('has exactly the error codes that errors.ts shows outside', () => {
    expect(document.schemas.ErrorCode?.enum).toEqual([...new Set(errorCodes.map(publicCode))])
  })

  it('lets no answer and no JSON body hold members that it does not name', () => {
    const loose = Object.entries(document.schemas)
      .filter(([, { type, additionalProperties }]) => type === 'object' && additionalProperties === undefined)
      .map(([name]) => name)
    // RFC 6749 §3.2: parameters that are not known are ignored.
    expect(loose).toEqual(['TokenRequest', 'IntrospectRequest', 'RevokeRequest'])
  })

  it('gives every operation that needs a caller a 401, and every one that takes a body 413 and 415', () => {
    for (const { operationId, security, body, responses } of document.operations) {
      if (security.length > 0) expect(responses, operationId).toHaveProperty('401')
      if (body) expect(Object.keys(responses), operationId).toEqual(expect.arrayContaining(['413', '415']))
    }
  })

  it('has a challenge with every 401, and Retry-After with every 429 and 503', () => {
    for (const { responses } of document.operations) {
      if (responses['401']) expect(responses['401'].headers['WWW-Authenticate']?.required).toBe(true)
      for (const status of ['429', '503']) {
        if (responses[status]) expect(responses[status].headers['Retry-After']?.required).toBe(true)
      }
    }
  })

  it('tells the media type that a body must have', () => {
    expect(contract.mediaType('openTask')).toBe('application/json')
    expect(contract.mediaType('patchTaskContext')).toBe('application/merge-patch+json')
    expect(contract.mediaType('issueToken')).toBe('application/x-www-form-urlencoded')
  })

  it('is needed whole: a name that it does not have stops the broker when it starts', () => {
    expect(() => contract.query('nosuch')).toThrow(TypeError)
  })
})
