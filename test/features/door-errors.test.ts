import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { allowAll, ciSource, spiffeSource, testIssuer } from '../support/broker.ts'
import { startIssuer, type TestIssuer } from '../support/issuer.ts'
import { createTrustDomain } from '../support/spiffe.ts'
import { type Asked, type Door, doors, oauthDoors } from './doors.ts'
import { jobClaims, startWorld, tokenExchange, type World } from './world.ts'

const policies = `${allowAll}
@id("no-root") forbid (principal, action == Action::"mint", resource == Scope::"root");
@id("no-bank") forbid (principal, action == Action::"mint", resource) when { context.audience == "https://bank.example" };`

let world: World
let once: TestIssuer
const away = createTrustDomain('away.example')

beforeAll(async () => {
  once = await startIssuer()
  world = await startWorld({
    policies,
    trust: [
      ciSource(once.issuer, { name: 'once', reuse: 'once' }),
      spiffeSource('away.example', { file: '/nowhere/bundle.json' }),
    ],
  })
})
afterAll(async () => {
  await world?.close()
  await once?.close()
})

/** Status and `error` by how the attestation came in. */
type Told = Record<Door['role'], [status: number, error?: string]>
const everywhere = (error: string, rest: number): Told => ({
  subject: [400, error],
  assertion: [400, error],
  client: [400, error],
  rest: [rest],
})
const ofAttestation = (rest: number): Told => ({
  subject: [400, 'invalid_request'],
  assertion: [400, 'invalid_grant'],
  client: [401, 'invalid_client'],
  rest: [rest],
})

interface Fault {
  what: string
  code: string
  told: Told
  /** Not of an agent: a door that takes SVIDs alone refuses it for that. */
  job?: true
  make: () => Promise<[attestation: string, asked: Asked]>
}

let refs = 0
const agent = () => world.as('/agent/a')
const task = async (body?: object) => (await world.open('/agent/a', { ref: `r${++refs}`, ...body })).id
const ended = (action: string) => async (): Promise<[string, Asked]> => {
  const id = await task()
  await world.act(agent(), 'POST', `/v1/tasks/${id}/${action}`, {})
  return [agent(), { task_id: id }]
}
const bad = (attestation: () => string) => async (): Promise<[string, Asked]> => [
  attestation(),
  { task_id: await task() },
]
const asked = (more: Asked) => async (): Promise<[string, Asked]> => [
  agent(),
  { task_id: await task(), ...more },
]
const svid = (claims: Record<string, unknown>) => () =>
  world.prod.svid('/agent/a', { audience: testIssuer, claims })
const past = Math.floor(Date.now() / 1000) - 3600

const attestations: Record<string, () => string> = {
  'no JWT at all': () => 'nonsense',
  expired: svid({ iat: past - 300, exp: past }),
  'not valid yet': svid({ nbf: past + 7200 }),
  'of another audience': svid({ aud: 'https://other.example' }),
  'of two audiences': svid({ aud: [testIssuer, 'https://other.example'] }),
  'of a trust domain that nobody configured': svid({ sub: 'spiffe://other.example/agent/a' }),
  'of a SPIFFE ID without a path': svid({ sub: 'spiffe://prod.example' }),
  'signed by nobody': () => `${agent().split('.').slice(0, 2).join('.')}.`,
  'spelled in another base64': () => `${agent()}=`,
}

const faults: Fault[] = [
  ...Object.entries(attestations).map(
    ([what, attestation]): Fault => ({
      what: `an attestation ${what}`,
      code: 'attestation_invalid',
      told: ofAttestation(401),
      make: bad(attestation),
    }),
  ),
  {
    what: 'a Hallpass token for an attestation',
    code: 'attestation_invalid',
    told: ofAttestation(401),
    async make() {
      const id = await task()
      return [await world.mint('/agent/a', { id }), { task_id: id }]
    },
  },
  {
    what: 'an attestation that serves once, and did',
    code: 'attestation_reused',
    told: ofAttestation(401),
    job: true,
    async make() {
      const attestation = once.sign({ ...jobClaims(Date.now(), { run_id: `${++refs}` }), jti: `j${refs}` })
      return [attestation, { task_id: (await world.exchange(attestation)).body.task_id }]
    },
  },
  {
    what: 'an attestation in drift from the task’s context',
    code: 'context_drift',
    told: ofAttestation(403),
    job: true,
    async make() {
      const run_id = `${++refs}`
      const { task_id } = (await world.exchange(world.job({ run_id }))).body
      return [world.job({ run_id, environment: undefined }), { task_id }]
    },
  },
  {
    what: 'a closed task',
    code: 'task_closed',
    told: everywhere('invalid_grant', 409),
    make: ended('close'),
  },
  {
    what: 'a suspended task',
    code: 'task_suspended',
    told: everywhere('invalid_grant', 409),
    make: ended('suspend'),
  },
  {
    what: 'a task that never was',
    code: 'task_unknown',
    told: everywhere('invalid_grant', 404),
    make: async () => [agent(), { task_id: '019f1c52-6b1e-7c3a-9d2f-0b8f5a4c1e77' }],
  },
  {
    what: 'another agent’s task',
    code: 'task_unknown',
    told: everywhere('invalid_grant', 404),
    make: async () => [world.as('/agent/b'), { task_id: await task() }],
  },
  {
    what: 'a task_ver that is not the task’s',
    code: 'task_changed',
    told: everywhere('invalid_grant', 409),
    make: asked({ task_ver: '2' }),
  },
  {
    what: 'one scope of several that policy refuses',
    code: 'refused',
    told: everywhere('invalid_scope', 403),
    make: asked({ scope: 'deploy:prod root' }),
  },
  {
    what: 'no scope that policy allows for the audience',
    code: 'refused',
    told: everywhere('invalid_target', 403),
    make: asked({ scope: 'root' }),
  },
  {
    what: 'one audience of several for which nothing is allowed',
    code: 'refused',
    told: everywhere('invalid_target', 403),
    make: asked({ audience: ['https://deploy.example', 'https://bank.example'] }),
  },
  {
    what: 'more scopes times audiences than 32',
    code: 'malformed',
    told: everywhere('invalid_request', 400),
    make: asked({ scope: Array.from({ length: 17 }, (_, n) => `s${n}`).join(' '), audience: ['a', 'b'] }),
  },
  {
    what: 'the broker itself among other audiences',
    code: 'malformed',
    told: everywhere('invalid_target', 400),
    make: async () => [agent(), { task_id: await task(), audience: [testIssuer, 'https://deploy.example'] }],
  },
  {
    what: 'an issuer whose keys are away',
    code: 'unavailable',
    told: {
      subject: [503, 'temporarily_unavailable'],
      assertion: [503, 'temporarily_unavailable'],
      client: [503, 'temporarily_unavailable'],
      rest: [503],
    },
    make: async () => [away.svid('/agent/a', { audience: testIssuer }), { task_id: await task() }],
  },
]

describe.each(faults)('$what', ({ code, told, make, job }) => {
  test.each(doors.filter(({ svidOnly }) => !(job && svidOnly)))(
    `is ${code} at the door of $name`,
    async door => {
      const { status, body, headers } = await door.ask(world.broker, ...(await make()))
      expect([status, body.error, body.code]).toEqual([
        ...told[door.role],
        ...(door.role === 'rest' ? [undefined] : []),
        code,
      ])
      expect(headers.get('WWW-Authenticate') !== null).toBe(status === 401)
      expect(headers.get('Retry-After') !== null).toBe(status === 503)
      expect(headers.get('Cache-Control')).toBe('no-store')
      if (code !== 'refused') return
      const [logged] = await world.decisions('?decision=deny&limit=1')
      expect(logged).toMatchObject({ id: body.decision_id, code, action: 'mint' })
    },
  )
})

describe('at the OAuth doors alone', () => {
  const forms: [string, Asked, string][] = [
    ['no scope', { scope: undefined }, 'invalid_request'],
    ['no audience', { audience: undefined }, 'invalid_request'],
    ['no task', { task_id: undefined }, 'invalid_request'],
    ['a scope with a quotation mark', { scope: 'a"b' }, 'invalid_request'],
    ['a repeated scope', { scope: ['a', 'b'] }, 'invalid_request'],
    ['a repeated task_id', { task_id: ['019f1c52-6b1e-7c3a-9d2f-0b8f5a4c1e77', 'x'] }, 'invalid_request'],
    ['a task_id that is none', { task_id: 'x' }, 'invalid_request'],
    ['a task_ver that is none', { task_ver: '0' }, 'invalid_request'],
    ['a ttl with a fraction', { ttl: '1.5' }, 'invalid_request'],
    [
      'a token type that nobody issues',
      { requested_token_type: 'urn:ietf:params:oauth:token-type:saml2' },
      'invalid_request',
    ],
    ['an actor', { actor_token: 'x' }, 'invalid_request'],
    ['an actor after an empty one', { actor_token: ['', 'x'] }, 'invalid_request'],
    ['a relative resource', { resource: '/here' }, 'invalid_target'],
    ['a resource with a fragment', { resource: 'https://deploy.example/#x' }, 'invalid_target'],
    ['no grant type', { grant_type: undefined }, 'invalid_request'],
    ['two grant types', { grant_type: [tokenExchange, tokenExchange] }, 'invalid_request'],
    ['a grant type that is not known', { grant_type: 'password' }, 'unsupported_grant_type'],
  ]
  test.each(forms)('%s is malformed', async (_, more, error) => {
    const id = await task()
    for (const door of oauthDoors) {
      const { status, body } = await door.ask(world.broker, agent(), { task_id: id, ...more })
      expect([status, body.error, body.code]).toEqual([400, error, 'malformed'])
    }
  })

  test.each(oauthDoors)(
    '$name without its attestation, with two, or with another type, is malformed',
    async door => {
      const parameter = {
        subject: 'subject_token',
        assertion: 'assertion',
        client: 'client_assertion',
        rest: '',
      }[door.role]
      const wrong: Asked[] = [{ [parameter]: undefined }, { [parameter]: [agent(), agent()] }]
      if (door.role !== 'assertion')
        wrong.push({ [`${parameter}_type`]: undefined }, { [`${parameter}_type`]: 'urn:other' })
      for (const more of wrong) {
        const { status, body } = await door.ask(world.broker, agent(), { task_id: await task(), ...more })
        expect([status, body.error, body.code]).toEqual([400, 'invalid_request', 'malformed'])
      }
    },
  )

  test('an ID token said to be a JWT-SVID is invalid_client', async () => {
    const door = oauthDoors.find(({ svidOnly }) => svidOnly)!
    const { status, body } = await door.ask(world.broker, world.job(), {})
    expect([status, body.error, body.code]).toEqual([401, 'invalid_client', 'attestation_invalid'])
  })

  test('a client_id that is another’s is refused, the caller’s own is taken', async () => {
    for (const door of oauthDoors) {
      const given = { task_id: await task(), client_id: 'spiffe://prod.example/agent/b' }
      expect((await door.ask(world.broker, agent(), given)).body.code).toBe('attestation_invalid')
      expect(
        (await door.ask(world.broker, agent(), { ...given, client_id: 'spiffe://prod.example/agent/a' }))
          .status,
      ).toBe(200)
    }
  })
})
