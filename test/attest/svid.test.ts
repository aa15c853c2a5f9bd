import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { generateKey, startIssuer, type TestAlg } from '../support/issuer.ts'
import { type BundleEndpoint, createTrustDomain, type TestTrustDomain } from '../support/spiffe.ts'
import { attestorFor, broker, clockSkew, oidcSource, outcome, spiffeSource } from './sources.ts'

const second = 1_000
const minute = 60 * second

let folder: string
let prod: TestTrustDomain
let file: string
let lab: TestTrustDomain
let endpoint: BundleEndpoint

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hallpass-spiffe-'))
})
afterAll(() => rm(folder, { recursive: true }))

/** Two trust domains at once: prod by a bundle file, lab by a bundle endpoint. */
async function setUp() {
  prod = createTrustDomain('prod.example')
  lab = createTrustDomain('lab.example')
  file = join(folder, `${crypto.randomUUID()}.json`)
  await prod.writeBundle(file)
  endpoint = await lab.serveBundle()
  const attestor = attestorFor([
    spiffeSource({ trustDomain: 'prod.example', bundle: { file }, reuse: 'once' }),
    spiffeSource({ trustDomain: 'lab.example', name: 'lab', bundle: { url: endpoint.url } }),
  ])
  const { time, attest } = attestor
  const svid = (domain: TestTrustDomain, options: object = {}) =>
    domain.svid('/ci/deployer', { audience: broker, now: time.now, ...options })
  /** Signs a fresh SVID and attests it. */
  const attempt = (domain: TestTrustDomain, options?: object) => outcome(attest(svid(domain, options)))
  return { ...attestor, svid, attempt }
}
afterEach(() => endpoint?.close())

describe('a JWT-SVID', () => {
  it('proves its SPIFFE ID, whichever of two trust domains it is of', async () => {
    const { attest, svid, time } = await setUp()
    const principal = await attest(svid(prod))
    expect(principal).toMatchObject({
      id: 'spiffe://prod.example/ci/deployer',
      kind: 'workload',
      trust: 'prod',
      groups: [],
      template: null,
      attestation: {
        reuse: 'once',
        acceptableUntil: (Math.floor(time.now / second) + 300) * second + clockSkew,
      },
    })
    expect(principal.tags.sub).toBe('spiffe://prod.example/ci/deployer')
    expect((await attest(svid(lab, { audience: [broker] }))).id).toBe('spiffe://lab.example/ci/deployer')
  })

  it('is another attestation than one with the same jti of another trust domain', async () => {
    const { attest, svid } = await setUp()
    const claims = { jti: 'j-1' }
    const [first, again, other] = [svid(prod, { claims }), svid(prod, { claims }), svid(lab, { claims })]
    const { useKey } = (await attest(first)).attestation
    expect((await attest(again)).attestation.useKey).toBe(useKey)
    expect((await attest(other)).attestation.useKey).not.toBe(useKey)
  })

  it.each<TestAlg>(['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512'])(
    'is accepted when signed with %s',
    async alg => {
      const { attempt } = await setUp()
      prod.rotate(alg)
      await prod.writeBundle(file)
      expect(await attempt(prod)).toBe('accepted')
    },
  )

  it('may have an issuer that is not configured: its trust domain alone is asked', async () => {
    const { attempt } = await setUp()
    expect(await attempt(prod, { claims: { iss: 'https://spire.prod.example' } })).toBe('accepted')
    expect(await attempt(prod, { claims: { iss: broker } })).toBe('own_token')
  })

  it.each<[string, object, string]>([
    ['EdDSA', { alg: 'EdDSA' }, 'alg'],
    ['an HMAC', { alg: 'HS256' }, 'alg'],
    ['none', { alg: 'none' }, 'alg'],
    ['no key name', { kid: undefined }, 'kid_missing'],
    ['a key name that nobody has', { kid: 'nobody' }, 'kid_unknown'],
    ['another algorithm than its key’s', { alg: 'RS256' }, 'key_mismatch'],
    ['the type in small letters', { typ: 'jwt' }, 'typ'],
    ['the type of a Hallpass token', { typ: 'at+jwt' }, 'typ'],
    ['the type of another SVID', { typ: 'wit+jwt' }, 'typ'],
    ['any other header member', { cty: 'JWT' }, 'header'],
    ['a certificate of its own', { x5c: ['MIIB'] }, 'header'],
    ['a critical extension', { crit: ['exp'] }, 'crit'],
  ])('with %s is refused', async (_, header, reason) => {
    const { attempt } = await setUp()
    expect(await attempt(prod, { header })).toBe(reason)
  })

  it.each<[string, object, string]>([
    ['no audience', { aud: undefined }, 'audience'],
    ['another audience', { aud: 'spiffe://prod.example/other' }, 'audience'],
    ['a second audience', { aud: [broker, 'other'] }, 'audience'],
    ['no exp', { exp: undefined }, 'claims'],
    ['an exp that is past', { exp: 1 }, 'expired'],
    ['an nbf ahead', { nbf: 200_000_000_000 }, 'not_yet_valid'],
    ['an iat ahead', { iat: 200_000_000_000 }, 'not_yet_valid'],
    ['no subject', { sub: undefined }, 'issuer_unknown'],
    ['a subject that is no SPIFFE ID', { sub: 'deployer' }, 'issuer_unknown'],
    ['a subject without a path', { sub: 'spiffe://prod.example' }, 'subject'],
    ['a subject with a trailing slash', { sub: 'spiffe://prod.example/ci/' }, 'subject'],
    ['a subject with a port', { sub: 'spiffe://prod.example:1/ci' }, 'subject'],
    ['a subject in capitals', { sub: 'spiffe://PROD.example/ci' }, 'subject'],
    ['a subject with percent-encoding', { sub: 'spiffe://prod.example/%63i' }, 'subject'],
    ['a trust domain that is not configured', { sub: 'spiffe://evil.example/ci' }, 'issuer_unknown'],
    ['a trust domain below the configured one', { sub: 'spiffe://x.prod.example/ci' }, 'issuer_unknown'],
  ])('with %s is refused', async (_, claims, reason) => {
    const { attempt } = await setUp()
    expect(await attempt(prod, { claims })).toBe(reason)
  })

  it('is refused ten minutes early and ten minutes late', async () => {
    const { attempt, time } = await setUp()
    expect(await attempt(prod, { now: time.now + 10 * minute })).toBe('not_yet_valid')
    expect(await attempt(prod, { now: time.now - 10 * minute })).toBe('expired')
  })

  it('of another trust domain is refused, though both are trusted', async () => {
    const { attempt } = await setUp()
    const [key] = lab.keys
    expect(await attempt(prod, { key })).toBe('kid_unknown')
    expect(await attempt(prod, { key, header: { kid: prod.keys[0]?.kid } })).toBe('signature')
    expect(await attempt(lab, { claims: { sub: 'spiffe://prod.example/admin' } })).toBe('kid_unknown')
  })

  it('is refused when its key is in the bundle for another use, or twice under one name', async () => {
    const { attempt } = await setUp()
    const key = generateKey('ES256', { use: 'x509-svid' })
    const double = generateKey('ES256', { use: 'jwt-svid', kid: prod.keys[0]?.kid ?? '' })
    prod.extraJwks = [key.jwk, double.jwk]
    await prod.writeBundle(file)
    expect(await attempt(prod, { key })).toBe('kid_unknown')
    expect(await attempt(prod)).toBe('key_ambiguous')
  })

  it('is what it is whether or not its caller says so, and what says so falsely is refused', async () => {
    const issuer = await startIssuer()
    try {
      const { svid } = await setUp()
      const { attest, time } = attestorFor([
        spiffeSource({ trustDomain: 'prod.example', bundle: { file } }),
        oidcSource({ issuer: issuer.issuer }),
      ])
      const exp = Math.floor(time.now / second) + 60
      const idToken = issuer.sign({ sub: 'spiffe://prod.example/ci/deployer', aud: broker, exp })
      expect((await attest(svid(prod), { expect: 'jwt-svid' })).id).toBe('spiffe://prod.example/ci/deployer')
      expect((await attest(idToken)).id).toBe('ci:spiffe://prod.example/ci/deployer')
      expect(await outcome(attest(idToken, { expect: 'jwt-svid' }))).toBe('svid_expected')
    } finally {
      await issuer.close()
    }
  })

  it('of a trust domain that shares its keys with an OIDC issuer is still one principal, by its issuer', async () => {
    const issuer = await startIssuer()
    try {
      await setUp()
      const { attest, time } = attestorFor([
        spiffeSource({ trustDomain: 'prod.example', bundle: { file } }),
        oidcSource({ issuer: issuer.issuer }),
      ])
      const svid = prod.svid('/ci', { audience: broker, now: time.now, claims: { iss: issuer.issuer } })
      expect(await outcome(attest(svid))).toBe('kid_unknown')
      expect(await outcome(attest(svid, { expect: 'jwt-svid' }))).toBe('svid_expected')
    } finally {
      await issuer.close()
    }
  })

  it('is no other source’s principal, whatever the OIDC sources are called and say', async () => {
    const issuer = await startIssuer()
    const name = fc.stringMatching(/^[a-z][a-z0-9-]{0,5}$/).filter(text => text !== 'spiffe')
    const sub = fc.constantFrom('//prod.example/ci/deployer', 'spiffe://prod.example/ci/deployer', ':x', 'x')
    try {
      const { attest, svid } = await setUp()
      const { id } = await attest(svid(prod))
      await fc.assert(
        fc.asyncProperty(name, sub, async (called, subject) => {
          const oidc = attestorFor([oidcSource({ issuer: issuer.issuer, name: called })])
          const exp = Math.floor(oidc.time.now / second) + 60
          const principal = await oidc.attest(issuer.sign({ sub: subject, aud: broker, exp }))
          expect(principal.id).not.toBe(id)
          expect(principal.id.startsWith('spiffe:')).toBe(false)
        }),
        { numRuns: 20 },
      )
    } finally {
      await issuer.close()
    }
  })
})

describe('a bundle file', () => {
  it('is read again when it changed', async () => {
    const { attempt, time } = await setUp()
    const old = prod.keys[0]
    expect(await attempt(prod)).toBe('accepted')
    prod.rotate()
    await prod.writeBundle(file)
    time.now += 5 * second
    expect(await attempt(prod)).toBe('accepted')
    expect(await attempt(prod, { key: old })).toBe('kid_unknown')
  })

  it('with no keys revokes everything', async () => {
    const { attempt, time } = await setUp()
    const [key] = prod.keys
    expect(await attempt(prod)).toBe('accepted')
    prod.keys = []
    await prod.writeBundle(file)
    time.now += 5 * second
    expect(await attempt(prod, { key })).toBe('kid_unknown')
    expect(await attempt(lab)).toBe('accepted')
  })

  it('may go back in its sequence: the operator put it there', async () => {
    const { attempt, time } = await setUp()
    expect(await attempt(prod)).toBe('accepted')
    prod.rotate()
    prod.sequence = 0
    await prod.writeBundle(file)
    time.now += 5 * second
    expect(await attempt(prod)).toBe('accepted')
  })

  it.each([
    ['half written', '{"keys":['],
    ['without keys', '{}'],
    ['too large', ' '.repeat(600 * 1024)],
  ])('that is %s leaves the last good one in place for an hour', async (_, text) => {
    const { attempt, time, logged } = await setUp()
    expect(await attempt(prod)).toBe('accepted')
    await writeFile(file, text)
    time.now += 5 * second
    expect(await attempt(prod)).toBe('accepted')
    expect(logged).toMatchObject([{ trust: 'prod' }])
    time.now += 60 * minute
    expect(await attempt(prod)).not.toBe('accepted')
  })

  it('that is not there is unavailable until it is', async () => {
    const { attempt, time } = await setUp()
    await rm(file)
    expect(await attempt(prod)).toBe('unavailable: keys_unreachable')
    await prod.writeBundle(file)
    time.now += 5 * second
    expect(await attempt(prod)).toBe('accepted')
  })
})

describe('a bundle endpoint', () => {
  it.each([
    [120, 120],
    [null, 300],
    [0, 10],
    [86_400, 3600],
    ['60', 300],
    [-60, 300],
  ])('with the refresh hint %s is asked again after %i s', async (hint, seconds) => {
    const { attempt, time } = await setUp()
    lab.bundle = () => ({
      keys: lab.keys.map(key => key.jwk),
      ...(hint === null ? {} : { spiffe_refresh_hint: hint }),
    })
    const old = lab.keys[0]
    expect(await attempt(lab)).toBe('accepted')
    lab.rotate()
    time.now += seconds * second - 1
    expect(await attempt(lab, { key: old })).toBe('accepted')
    time.now += 1
    expect(await attempt(lab, { key: old })).toBe('kid_unknown')
    expect(await attempt(lab)).toBe('accepted')
    expect(endpoint.requests).toBe(2)
  })

  it('with no keys revokes everything', async () => {
    const { attempt, time } = await setUp()
    const [key] = lab.keys
    expect(await attempt(lab)).toBe('accepted')
    lab.keys = []
    time.now += minute
    expect(await attempt(lab, { key })).toBe('kid_unknown')
  })

  it('that goes back in its sequence is not followed until the bundle held is too old', async () => {
    const { attempt, time, logged } = await setUp()
    lab.sequence = 2 ** 60
    const held = lab.keys[0]
    expect(await attempt(lab)).toBe('accepted')
    lab.rotate()
    lab.sequence = 5
    time.now += minute
    expect(await attempt(lab)).toBe('kid_unknown')
    expect(await attempt(lab, { key: held })).toBe('accepted')
    expect(logged).toMatchObject([{ trust: 'lab', reason: 'keys_older' }])
    time.now += 60 * minute
    expect(await attempt(lab)).toBe('accepted')
    expect(await attempt(lab, { key: held })).toBe('kid_unknown')
  })

  it('that fails leaves the last good bundle in place for an hour past its hint', async () => {
    const { attempt, time } = await setUp()
    expect(await attempt(lab)).toBe('accepted')
    endpoint.fault = 'error'
    time.now += minute + 60 * minute - 1
    expect(await attempt(lab)).toBe('accepted')
    time.now += 1
    expect(await attempt(lab)).toBe('unavailable: keys_unreachable')
  })

  it('that redirects, or sends too much or no bundle, is refused', async () => {
    for (const [fault, reason] of [
      ['redirect', 'keys_refused'],
      ['huge', 'keys_too_large'],
      ['not-json', 'keys_malformed'],
      ['no-keys', 'keys_malformed'],
      ['hang-up', 'unavailable: keys_unreachable'],
    ] as const) {
      const { attempt } = await setUp()
      endpoint.fault = fault
      expect(await attempt(lab)).toBe(reason)
      await endpoint.close()
    }
  })
})

describe('in the background', () => {
  it('bundles are loaded before anyone asks, and again when they are due', async () => {
    const { start, stop, time } = await setUp()
    start()
    try {
      await expect.poll(() => endpoint.requests, { timeout: 5_000 }).toBe(1)
      time.now += minute
      await expect.poll(() => endpoint.requests, { timeout: 5_000 }).toBe(2)
    } finally {
      stop()
    }
  })

  it('nothing happens once stopped, and attesting still works', async () => {
    const { start, stop, time, attempt } = await setUp()
    start()
    await expect.poll(() => endpoint.requests, { timeout: 5_000 }).toBe(1)
    stop()
    time.now += minute
    await new Promise(resolve => setTimeout(resolve, 1_500))
    expect(endpoint.requests).toBe(1)
    expect(await attempt(lab)).toBe('accepted')
  })
})
