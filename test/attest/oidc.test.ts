import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { OidcSource } from '../../src/config.ts'
import {
  encode,
  generateKey,
  hmacJws,
  signText,
  startIssuer,
  type TestAlg,
  type TestIssuer,
  type TestKey,
} from '../support/issuer.ts'
import { attestorFor, broker, clockSkew, oidcSource, outcome } from './sources.ts'

const minute = 60_000
let issuer: TestIssuer
let rsa: TestKey
let original: TestKey[]

beforeAll(async () => {
  issuer = await startIssuer()
  rsa = generateKey('RS256', { kid: 'rsa' })
  issuer.keys.push(rsa)
  original = [...issuer.keys]
})
afterEach(() => {
  issuer.keys = [...original]
  issuer.extraJwks = []
})
afterAll(() => issuer.close())

/** An attestor for the issuer, and claims that it accepts. */
function setUp(source: Partial<OidcSource> = {}) {
  const attestor = attestorFor([oidcSource({ issuer: issuer.issuer, ...source })])
  const seconds = Math.floor(attestor.time.now / 1000)
  const claims = {
    sub: 'repo:acme/api:ref:refs/heads/main',
    aud: broker,
    iat: seconds,
    nbf: seconds,
    exp: seconds + 300,
    jti: 'j-1',
    repository: 'acme/api',
    run_attempt: 1,
  }
  return { ...attestor, seconds, claims }
}

describe('an OIDC ID token', () => {
  it('proves its principal, with its claims as tags and groups', async () => {
    const template = { kind: 'ci-job', ref: '{repository}', bind: ['repository'] }
    const { attest, claims, seconds } = setUp({ task: template, reuse: 'once' })
    const token = issuer.sign({ ...claims, teams: ['a', 'b/c'], 'kubernetes.io': { namespace: 'prod' } })
    expect(await attest(token)).toEqual({
      id: 'ci:repo:acme/api:ref:refs/heads/main',
      kind: 'workload',
      trust: 'ci',
      tags: {
        iss: issuer.issuer,
        sub: claims.sub,
        aud: broker,
        iat: `${seconds}`,
        nbf: `${seconds}`,
        exp: `${seconds + 300}`,
        jti: 'j-1',
        repository: 'acme/api',
        run_attempt: '1',
        'kubernetes.io.namespace': 'prod',
      },
      groups: ['ci/teams/a', 'ci/teams/b%2Fc'],
      attestation: {
        sha256: createHash('sha256').update(token).digest('hex'),
        useKey: expect.stringMatching(/^[0-9a-f]{64}$/),
        acceptableUntil: (seconds + 300) * 1000 + clockSkew,
        reuse: 'once',
      },
      template,
    })
  })

  it.each<TestAlg>([
    'RS256',
    'RS384',
    'RS512',
    'PS256',
    'PS384',
    'PS512',
    'ES256',
    'ES384',
    'ES512',
    'EdDSA',
  ])('is accepted when signed with %s', async alg => {
    const { attest, claims } = setUp()
    issuer.rotate(alg)
    expect(await outcome(attest(issuer.sign(claims)))).toBe('accepted')
  })

  it.each([
    ['no type', { typ: undefined }],
    ['the type JOSE', { typ: 'JOSE' }],
    ['the type in small letters', { typ: 'jwt' }],
    ['header members that are not known', { x5t: 'abc', nonce: 'x', cty: 'JWT' }],
  ])('may have %s', async (_, header) => {
    const { attest, claims } = setUp()
    expect(await outcome(attest(issuer.sign(claims, { header })))).toBe('accepted')
  })

  it('may name its audience in an array of one, as Kubernetes does, and leave out iat and nbf', async () => {
    const { attest, claims } = setUp()
    const token = issuer.sign({ ...claims, aud: [broker], iat: undefined, nbf: undefined })
    expect(await outcome(attest(token))).toBe('accepted')
  })
})

describe('the header of an OIDC ID token', () => {
  it.each<[string, Record<string, unknown>, string]>([
    ['a critical extension', { crit: ['exp'] }, 'crit'],
    ['an empty list of critical extensions', { crit: [] }, 'crit'],
    ['an unencoded payload', { b64: false, crit: ['b64'] }, 'crit'],
    ['b64 that is not critical', { b64: true }, 'header'],
    ['a key of its own', { jwk: { kty: 'EC' } }, 'header'],
    ['the address of a key set', { jku: 'https://evil.example/jwks' }, 'header'],
    ['the address of a certificate', { x5u: 'https://evil.example/cert' }, 'header'],
    ['compression', { zip: 'DEF' }, 'header'],
    ['the type of a Hallpass token', { typ: 'at+jwt' }, 'typ'],
    ['the type of a logout token', { typ: 'logout+jwt' }, 'typ'],
    ['the type of a proof', { typ: 'dpop+jwt' }, 'typ'],
    ['an empty type', { typ: '' }, 'typ'],
    ['a type that is no string', { typ: ['JWT'] }, 'typ'],
    ['the type with its prefix', { typ: 'application/jwt' }, 'typ'],
    ['the type with a newline', { typ: 'JWT\n' }, 'typ'],
    ['the type in letters that only look like it', { typ: 'joſe' }, 'typ'],
    ['no algorithm', { alg: undefined }, 'alg'],
    ['the algorithm none', { alg: 'none' }, 'alg'],
    ['the algorithm None', { alg: 'None' }, 'alg'],
    ['an HMAC', { alg: 'HS256' }, 'alg'],
    ['an algorithm in small letters', { alg: 'es256' }, 'alg'],
    ['an algorithm with a space', { alg: 'ES256 ' }, 'alg'],
    ['an algorithm that is a list', { alg: ['ES256'] }, 'alg'],
    ['another curve', { alg: 'ES256K' }, 'alg'],
    ['a name of Object', { alg: 'constructor' }, 'alg'],
    ['a key name that is no string', { kid: 1 }, 'header'],
    ['a key name that nobody has', { kid: 'nobody' }, 'kid_unknown'],
    ['an empty key name', { kid: '' }, 'kid_unknown'],
    ['the algorithm of another curve', { alg: 'ES384' }, 'key_mismatch'],
    ['the algorithm of another key type', { alg: 'RS256' }, 'key_mismatch'],
  ])('refuses %s', async (_, header, reason) => {
    const { attest, claims } = setUp()
    expect(await outcome(attest(issuer.sign(claims, { header })))).toBe(reason)
  })
})

describe('the signature of an OIDC ID token', () => {
  it('is refused when any part was altered', async () => {
    const { attest, claims } = setUp()
    const [header, payload, signature] = issuer.sign(claims).split('.')
    const forged = encode(JSON.stringify({ iss: issuer.issuer, ...claims, sub: 'somebody-else' }))
    const otherHeader = encode(JSON.stringify({ typ: 'JWT', alg: 'ES256', kid: issuer.keys[0]?.kid }))
    const otherSignature = issuer.sign({ ...claims, jti: 'j-2' }).split('.')[2]
    expect(await outcome(attest(`${header}.${forged}.${signature}`))).toBe('signature')
    expect(await outcome(attest(`${otherHeader}.${payload}.${signature}`))).toBe('signature')
    expect(await outcome(attest(`${header}.${payload}.${otherSignature}`))).toBe('signature')
  })

  it('is refused from another key under the same name', async () => {
    const { attest, claims } = setUp()
    const key = generateKey('ES256', { kid: issuer.keys[0]?.kid ?? '' })
    expect(await outcome(attest(issuer.sign(claims, { key })))).toBe('signature')
  })

  it('is refused when it is an HMAC under the public key, in whatever form', async () => {
    const { attest, claims } = setUp()
    const payload = { iss: issuer.issuer, ...claims }
    const pem = rsa.publicKey.export({ format: 'pem', type: 'spki' })
    const der = rsa.publicKey.export({ format: 'der', type: 'spki' })
    for (const secret of [pem, pem.toString().trim(), der, JSON.stringify(rsa.jwk)]) {
      expect(await outcome(attest(hmacJws(secret, payload, { alg: 'HS256', kid: 'rsa' })))).toBe('alg')
      expect(await outcome(attest(hmacJws(secret, payload, { alg: 'RS256', kid: 'rsa' })))).toBe('signature')
      expect(await outcome(attest(hmacJws(secret, payload, { alg: 'ES256', kid: 'rsa' })))).toBe(
        'key_mismatch',
      )
    }
  })

  it('is refused for the algorithm none, without a signature or with one', async () => {
    const { attest, claims } = setUp()
    const unsigned = `${encode('{"alg":"none"}')}.${encode(JSON.stringify({ iss: issuer.issuer, ...claims }))}.`
    expect(await outcome(attest(unsigned))).toBe('encoding')
    expect(await outcome(attest(`${unsigned}AAAA`))).toBe('alg')
  })

  it('is refused when ECDSA is all zero, in DER, or of another length', async () => {
    const { attest, claims } = setUp()
    const input = issuer.sign(claims).split('.').slice(0, 2).join('.')
    const good = Buffer.from(issuer.sign(claims).split('.')[2] ?? '', 'base64url')
    const der = Buffer.concat([
      Buffer.from([0x30, 68, 2, 32]),
      good.subarray(0, 32),
      Buffer.from([2, 32]),
      good.subarray(32),
    ])
    for (const bytes of [
      Buffer.alloc(64),
      der,
      good.subarray(1),
      Buffer.concat([Buffer.alloc(1), good]),
      Buffer.alloc(1),
    ]) {
      expect(await outcome(attest(`${input}.${bytes.toString('base64url')}`))).toBe('signature')
    }
  })

  it('is refused when made with PKCS#1 padding where PSS was named, and the other way round', async () => {
    const { attest, claims } = setUp()
    const pss = generateKey('PS256', { kid: 'pss' })
    issuer.extraJwks = [
      { ...rsa.jwk, kid: 'any', alg: undefined },
      { ...pss.jwk, kid: 'any-pss', alg: undefined },
    ]
    expect(await outcome(attest(issuer.sign(claims, { key: rsa, header: { kid: 'any' } })))).toBe('accepted')
    expect(
      await outcome(attest(issuer.sign(claims, { key: rsa, header: { kid: 'any', alg: 'PS256' } }))),
    ).toBe('signature')
    expect(
      await outcome(attest(issuer.sign(claims, { key: pss, header: { kid: 'any-pss', alg: 'RS256' } }))),
    ).toBe('signature')
  })

  it('in its twin form (r, n − s) verifies, and the attestation is still the same one', async () => {
    const { attest, claims } = setUp()
    for (const jti of ['j-1', undefined]) {
      const token = issuer.sign({ ...claims, jti })
      const cut = token.lastIndexOf('.') + 1
      const twin = token.slice(0, cut) + twinOf(token.slice(cut))
      const [first, second] = [await attest(token), await attest(twin)]
      expect(second.attestation.sha256).not.toBe(first.attestation.sha256)
      expect(second.attestation.useKey).toBe(first.attestation.useKey)
    }
  })
})

describe('what identifies an attestation that is used', () => {
  it('is its source, issuer and jti, and not what else it says', async () => {
    const { attest, claims } = setUp()
    const first = await attest(issuer.sign(claims))
    const again = await attest(issuer.sign({ ...claims, exp: claims.exp + 1 }))
    const other = await attest(issuer.sign({ ...claims, jti: 'j-2' }))
    expect(again.attestation.useKey).toBe(first.attestation.useKey)
    expect(other.attestation.useKey).not.toBe(first.attestation.useKey)
  })

  it.each([
    ['no jti', undefined],
    ['an empty jti', ''],
    ['a jti that is no string', 7],
  ])('with %s is its header and payload', async (_, jti) => {
    const { attest, claims } = setUp()
    const first = await attest(issuer.sign({ ...claims, jti }))
    const same = await attest(issuer.sign({ ...claims, jti }))
    const other = await attest(issuer.sign({ ...claims, jti, exp: claims.exp + 1 }))
    expect(same.attestation.useKey).toBe(first.attestation.useKey)
    expect(other.attestation.useKey).not.toBe(first.attestation.useKey)
  })

  it('is another one for the same jti at another source', async () => {
    const second = await startIssuer()
    try {
      const { attest, claims } = setUp()
      const both = attestorFor([oidcSource({ issuer: second.issuer, name: 'other' })])
      const first = await attest(issuer.sign(claims))
      const other = await both.attest(second.sign(claims))
      expect(other.attestation.useKey).not.toBe(first.attestation.useKey)
    } finally {
      await second.close()
    }
  })
})

describe('the claims of an OIDC ID token', () => {
  it.each<[string, (seconds: number) => Record<string, unknown>, string]>([
    ['no subject', () => ({ sub: undefined }), 'subject'],
    ['an empty subject', () => ({ sub: '' }), 'subject'],
    ['a subject that is no string', () => ({ sub: 7 }), 'subject'],
    ['a subject of 2,049 letters', () => ({ sub: 'x'.repeat(2049) }), 'subject'],
    ['no audience', () => ({ aud: undefined }), 'audience'],
    ['another audience', () => ({ aud: 'https://other.example' }), 'audience'],
    ['an audience with a slash more', () => ({ aud: `${broker}/` }), 'audience'],
    ['an empty list of audiences', () => ({ aud: [] }), 'audience'],
    ['a second audience', () => ({ aud: [broker, 'https://other.example'] }), 'audience'],
    ['the audience twice', () => ({ aud: [broker, broker] }), 'audience'],
    ['an audience that is an object', () => ({ aud: { 0: broker } }), 'audience'],
    ['no exp', () => ({ exp: undefined }), 'claims'],
    ['an exp that is a string', seconds => ({ exp: `${seconds + 300}` }), 'claims'],
    ['an exp that is null', () => ({ exp: null }), 'claims'],
    ['an exp beyond all time', () => ({ exp: 1e300 }), 'claims'],
    ['an exp that is past', seconds => ({ exp: seconds - 31 }), 'expired'],
    ['an exp before all time', seconds => ({ exp: -seconds }), 'expired'],
    ['an nbf ahead', seconds => ({ nbf: seconds + 40 }), 'not_yet_valid'],
    ['an nbf that is a string', seconds => ({ nbf: `${seconds}` }), 'claims'],
    ['an iat ahead', seconds => ({ iat: seconds + 40 }), 'not_yet_valid'],
    ['an iat that is no time', () => ({ iat: true }), 'claims'],
    ['claims that collide', () => ({ 'a.b': 1, a: { b: 1 } }), 'claims_collide'],
    ['an issuer that is no string', () => ({ iss: [issuer.issuer] }), 'claims'],
    ['an issuer one letter off', () => ({ iss: `${issuer.issuer}x` }), 'issuer_unknown'],
    ['an issuer with a slash more', () => ({ iss: `${issuer.issuer}/` }), 'issuer_unknown'],
    ['an issuer in capitals', () => ({ iss: issuer.issuer.toUpperCase() }), 'issuer_unknown'],
    ['an empty issuer', () => ({ iss: '' }), 'issuer_unknown'],
    ['no issuer', () => ({ iss: undefined }), 'issuer_unknown'],
    ['the broker as issuer', () => ({ iss: broker }), 'own_token'],
  ])('refuses %s', async (_, altered, reason) => {
    const { attest, claims, seconds } = setUp()
    expect(await outcome(attest(issuer.sign({ ...claims, ...altered(seconds) })))).toBe(reason)
  })

  it('refuses an exp that JavaScript would read as infinite, and a repeated claim', async () => {
    const { attest, claims } = setUp()
    const [key] = issuer.keys
    const header = JSON.stringify({ alg: 'ES256', kid: key?.kid })
    const payload = JSON.stringify({ iss: issuer.issuer, ...claims })
    const write = (text: string) => signText(key!, header, text)
    expect(await outcome(attest(write(payload)))).toBe('accepted')
    expect(await outcome(attest(write(payload.replace(/"exp":\d+/, '"exp":1e999'))))).toBe('claims')
    expect(await outcome(attest(write(payload.replace('{', `{"sub":"${claims.sub}",`))))).toBe('json')
    expect(
      await outcome(
        attest(write(Buffer.from(payload.replace('{', '{"x":"é",'), 'latin1').toString('latin1'))),
      ),
    ).toBe('accepted')
    expect(
      await outcome(attest(signText(key!, header, Buffer.from(payload.replace('{', '{"x":"é",'), 'latin1')))),
    ).toBe('json')
  })

  it('bear a clock that is off by the skew, and no more', async () => {
    const { attest, claims, time } = setUp()
    const token = issuer.sign(claims)
    const issued = claims.iat * 1000
    const expires = claims.exp * 1000
    const at = (now: number) => {
      time.now = now
      return outcome(attest(token))
    }
    expect(await at(issued - clockSkew)).toBe('accepted')
    expect(await at(issued - clockSkew - 1)).toBe('not_yet_valid')
    expect(await at(expires + clockSkew - 1)).toBe('accepted')
    expect(await at(expires + clockSkew)).toBe('expired')
    // A broker's clock ten minutes off: refused, both ways.
    expect(await at(issued - 10 * minute)).toBe('not_yet_valid')
    expect(await at(issued + 10 * minute)).toBe('expired')
  })

  it('must include what the source requires, exactly', async () => {
    const { attest, claims } = setUp({ require: { repository_owner_id: '4711', 'x.y': 'true' } })
    const attempt = (more: object) => outcome(attest(issuer.sign({ ...claims, ...more })))
    expect(await attempt({ repository_owner_id: '4711', x: { y: true } })).toBe('accepted')
    expect(await attempt({ repository_owner_id: 4711, x: { y: 'true' } })).toBe('accepted')
    expect(await attempt({ repository_owner_id: '4711' })).toBe('required_claim')
    expect(await attempt({ repository_owner_id: '47111', x: { y: true } })).toBe('required_claim')
    expect(await attempt({ repository_owner_id: ['4711'], x: { y: true } })).toBe('required_claim')
    expect(await attempt({})).toBe('required_claim')
    expect(await outcome(setUp({ require: { toString: 'x' } }).attest(issuer.sign(claims)))).toBe(
      'required_claim',
    )
  })
})

describe('a token from an operators’ source', () => {
  const operators = { groupsClaim: 'groups', maxAge: 8 * 60 * minute }

  it('proves an operator and its groups', async () => {
    const { attest, claims } = setUp({ name: 'staff', operators })
    const principal = await attest(issuer.sign({ ...claims, azp: broker, groups: ['sre', 'on call'] }))
    expect(principal).toMatchObject({ kind: 'operator', id: `staff:${claims.sub}`, template: null })
    expect(principal.groups).toEqual(['staff/groups/sre', 'staff/groups/on call'])
    expect((await attest(issuer.sign({ ...claims, groups: 'sre' }))).groups).toEqual(['staff/groups/sre'])
  })

  it.each<[string, (seconds: number) => Record<string, unknown>, string]>([
    ['to another client', () => ({ azp: 'other' }), 'authorized_party'],
    ['to a list of clients', () => ({ azp: [broker] }), 'authorized_party'],
    ['after a login too long ago', seconds => ({ auth_time: seconds - 8 * 3600 - 30 }), 'login_too_old'],
    ['after a login in the future', seconds => ({ auth_time: seconds + 60 }), 'not_yet_valid'],
    ['after a login at no time', () => ({ auth_time: 'today' }), 'claims'],
    [
      'too long ago, without the time of a login',
      seconds => ({ iat: seconds - 8 * 3600 - 30 }),
      'login_too_old',
    ],
    ['at no time', () => ({ iat: undefined }), 'claims'],
  ])('is refused when issued %s', async (_, altered, reason) => {
    const { attest, claims, seconds } = setUp({ operators })
    expect(await outcome(attest(issuer.sign({ ...claims, ...altered(seconds) })))).toBe(reason)
  })

  it('is judged by its login, when it names one, and not by when it was renewed', async () => {
    const { attest, claims, seconds } = setUp({ operators })
    const old = seconds - 9 * 3600
    expect(await outcome(attest(issuer.sign({ ...claims, auth_time: seconds, iat: old })))).toBe('accepted')
    expect(await outcome(attest(issuer.sign({ ...claims, auth_time: old, iat: seconds })))).toBe(
      'login_too_old',
    )
  })
})

describe('the refusal of an attestation', () => {
  it('invariant 6: says nothing of the attestation, neither to its caller nor to the log', async () => {
    const { attest, claims, logged } = setUp()
    const secret = 'sEcReT-in-the-token'
    const tokens = [
      issuer.sign({ ...claims, sub: secret, aud: secret }),
      issuer.sign({ ...claims, iss: secret }),
      issuer.sign(claims, { header: { kid: secret } }),
      issuer.sign(claims, { header: { alg: secret } }),
      `${encode(`{"${secret}"`)}.${encode('{}')}.${encode(secret)}`,
    ]
    for (const token of tokens) {
      const error: unknown = await attest(token).catch((thrown: unknown) => thrown)
      if (!(error instanceof Error) || !(error.cause instanceof Error)) throw error
      const said = [
        error.message,
        error.stack,
        error.cause.message,
        error.cause.stack,
        JSON.stringify(error),
        JSON.stringify(logged),
      ].join()
      expect(said).not.toContain(secret)
      expect(said).not.toContain(token.slice(0, 20))
    }
  })

  it('comes without any request to anywhere for what no configured issuer can have signed', async () => {
    const { attest, claims } = setUp()
    const before = { ...issuer.requests }
    expect(await outcome(attest(issuer.sign({ ...claims, iss: `${issuer.issuer}/tenant` })))).toBe(
      'issuer_unknown',
    )
    expect(await outcome(attest(issuer.sign(claims, { header: { alg: 'none' } })))).toBe('alg')
    expect(issuer.requests).toEqual(before)
  })

  it('invariant 7: never comes from an address that the attestation names', async () => {
    const asked = new Set<string>()
    const { attest, time } = attestorFor([oidcSource({ issuer: issuer.issuer })], {
      fetch: (address, init) => {
        asked.add(String(address))
        return fetch(address, init)
      },
    })
    const evil = `${issuer.issuer}/evil`
    const claims = { sub: evil, aud: broker, exp: Math.floor(time.now / 1000) + 60 }
    const more = { jwks_uri: evil, jku: evil, iss_url: evil, _claim_sources: { src: { endpoint: evil } } }
    const headers = [{ jku: evil }, { x5u: evil }, { jwk: { jku: evil } }, { kid: evil }, { typ: evil }]
    for (const header of headers) await outcome(attest(issuer.sign({ ...claims, ...more }, { header })))
    await outcome(attest(issuer.sign({ ...claims, iss: evil })))
    await outcome(attest(issuer.sign({ ...claims, iss: undefined, sub: `spiffe://${evil}` })))
    expect(await outcome(attest(issuer.sign({ ...claims, ...more })))).toBe('accepted')
    expect([...asked]).toEqual([`${issuer.issuer}/.well-known/openid-configuration`, issuer.jwksUri])
  })
})

it('gives no two sources the same principal, whatever their names and subjects', async () => {
  const second = await startIssuer()
  const name = fc.stringMatching(/^[a-z][a-z0-9-]{0,3}$/)
  const sub = fc.string({ unit: fc.constantFrom('a', 'b', ':', '/', '-', ' '), minLength: 1, maxLength: 5 })
  try {
    await fc.assert(
      fc.asyncProperty(name, name, sub, sub, async (a, b, subA, subB) => {
        fc.pre(a !== b)
        const { attest, time } = attestorFor([
          oidcSource({ issuer: issuer.issuer, name: a }),
          oidcSource({ issuer: second.issuer, name: b }),
        ])
        const rest = { aud: broker, exp: Math.floor(time.now / 1000) + 60 }
        const first = await attest(issuer.sign({ ...rest, sub: subA }))
        const other = await attest(second.sign({ ...rest, sub: subB }))
        expect(first.id).not.toBe(other.id)
      }),
      { numRuns: 25 },
    )
  } finally {
    await second.close()
  }
})

/** (r, n − s) on P-256. */
function twinOf(signature: string): string {
  const order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n
  const bytes = Buffer.from(signature, 'base64url')
  const s = order - BigInt(`0x${bytes.subarray(32).toString('hex')}`)
  return Buffer.concat([
    bytes.subarray(0, 32),
    Buffer.from(s.toString(16).padStart(64, '0'), 'hex'),
  ]).toString('base64url')
}
