import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { OidcSource } from '../../src/config.ts'
import { type Fault, generateKey, startIssuer, type TestIssuer } from '../support/issuer.ts'
import { attestorFor, broker, oidcSource, outcome } from './sources.ts'

const second = 1_000
const minute = 60 * second

let issuer: TestIssuer
beforeEach(async () => {
  issuer = await startIssuer()
})
afterEach(() => issuer.close())

function setUp(source: Partial<OidcSource> = {}) {
  const attestor = attestorFor([oidcSource({ issuer: issuer.issuer, ...source })])
  /** Signs a fresh token and attests it. */
  const attempt = (key = issuer.keys[0]) => {
    const exp = Math.floor(attestor.time.now / second) + 60
    return outcome(attestor.attest(issuer.sign({ sub: 'x', aud: broker, exp }, { key })))
  }
  return { ...attestor, attempt }
}

describe('the keys of an issuer', () => {
  it('are asked for once, however many tokens come at once, and kept', async () => {
    const { attempt } = setUp()
    const all = await Promise.all(Array.from({ length: 50 }, () => attempt()))
    expect(new Set(all)).toEqual(new Set(['accepted']))
    expect(await attempt()).toBe('accepted')
    expect(issuer.requests).toEqual({ discovery: 1, jwks: 1, other: [] })
  })

  it('come from the configured address, without discovery, where one is configured', async () => {
    const { attempt } = setUp({ jwksUri: issuer.jwksUri })
    expect(await attempt()).toBe('accepted')
    expect(issuer.requests).toMatchObject({ discovery: 0, jwks: 1 })
  })

  it('are loaded again after ten minutes, so that a withdrawn key is gone by then', async () => {
    const { attempt, time } = setUp()
    const withdrawn = issuer.keys[0]
    expect(await attempt()).toBe('accepted')
    issuer.rotate()
    time.now += 10 * minute - 1
    expect(await attempt(withdrawn)).toBe('accepted')
    time.now += 1
    expect(await attempt(withdrawn)).toBe('kid_unknown')
    expect(await attempt()).toBe('accepted')
  })

  it.each([
    ['max-age=1800', 30],
    ['public, Max-Age="1800", must-revalidate', 30],
    ['max-age=1', 1],
    ['no-store', 1],
    ['max-age=999999', 60],
    ['max-age=nonsense', 10],
    ['s-maxage=5', 10],
  ])('sent with Cache-Control: %s are kept for %i minutes', async (cacheControl, minutes) => {
    issuer.cacheControl = cacheControl
    const { attempt, time } = setUp()
    await attempt()
    time.now += minutes * minute - 1
    await attempt()
    expect(issuer.requests.jwks).toBe(1)
    time.now += 1
    await attempt()
    expect(issuer.requests.jwks).toBe(2)
  })

  it('are loaded again for a key that is not among them, at most twice a minute', async () => {
    const { attempt, time } = setUp()
    const old = issuer.keys[0]
    await attempt()
    issuer.rotate()
    expect(await attempt()).toBe('kid_unknown')
    time.now += 30 * second
    expect(await attempt()).toBe('accepted')
    expect(await attempt(old)).toBe('kid_unknown')
    expect(issuer.requests.jwks).toBe(2)

    // Whoever invents key names cannot make us ask more often.
    time.now += 30 * second
    const stranger = () => attempt(generateKey('ES256'))
    expect(new Set(await Promise.all(Array.from({ length: 20 }, stranger)))).toEqual(new Set(['kid_unknown']))
    expect(await stranger()).toBe('kid_unknown')
    expect(issuer.requests.jwks).toBe(3)
  })

  it('that are none at all mean no', async () => {
    issuer.extraJwks = []
    const key = issuer.keys[0]
    issuer.keys = []
    const { attempt } = setUp()
    expect(await attempt(key)).toBe('kid_unknown')
  })

  it('are loaded again when the clock was set back', async () => {
    const { attempt, time } = setUp()
    await attempt()
    time.now -= minute
    await attempt()
    expect(issuer.requests.jwks).toBe(2)
  })
})

describe('invariant 5: an issuer that does not give its keys', () => {
  it.each<[Fault, string]>([
    ['error', 'unavailable: keys_unreachable'],
    ['hang-up', 'unavailable: keys_unreachable'],
    ['huge', 'keys_too_large'],
    ['not-found', 'keys_refused'],
    ['redirect', 'keys_refused'],
    ['not-json', 'keys_malformed'],
    ['no-keys', 'keys_malformed'],
  ])('(%s) leaves its tokens refused: %s', async (fault, reason) => {
    const { attempt, time, logged } = setUp()
    issuer.fault.jwks = fault
    expect(await attempt()).toBe(reason)
    issuer.fault = { discovery: fault }
    time.now += 5 * second
    expect(await attempt()).toBe(reason)
    // A redirect is not followed.
    expect(issuer.requests.other).toEqual([])
    const logs = reason.replace('unavailable: ', '')
    expect(logged).toMatchObject([
      { trust: 'ci', reason: logs },
      { trust: 'ci', reason: logs },
    ])

    issuer.fault = {}
    time.now += 5 * second
    expect(await attempt()).toBe('accepted')
  })

  it('because it is gone is unavailable, with the time to try again', async () => {
    const { attest, attempt, time } = setUp()
    const token = issuer.sign({ sub: 'x', aud: broker, exp: Math.floor(time.now / second) + 60 })
    await issuer.close()
    expect(await attempt()).toBe('unavailable: keys_unreachable')
    time.now += 2 * second
    await expect(attest(token)).rejects.toMatchObject({ code: 'unavailable', retryAfter: 3 })
  })

  it('in five seconds is unavailable, whether it says nothing or never ends', async () => {
    const dripping = await startIssuer()
    try {
      const other = attestorFor([oidcSource({ issuer: dripping.issuer })])
      const exp = Math.floor(other.time.now / second) + 60
      issuer.fault.discovery = 'slow'
      dripping.fault.jwks = 'drip'
      const attempts = [
        setUp().attempt(),
        outcome(other.attest(dripping.sign({ sub: 'x', aud: broker, exp }))),
      ]
      expect(await Promise.all(attempts)).toEqual(Array(2).fill('unavailable: keys_timeout'))
    } finally {
      await dripping.close()
    }
  }, 15_000)

  it('is not asked again for five seconds, however many tokens come', async () => {
    const { attempt, time } = setUp()
    issuer.fault.jwks = 'error'
    await Promise.all(Array.from({ length: 20 }, () => attempt()))
    await attempt()
    expect(issuer.requests.jwks).toBe(1)
    time.now += 5 * second
    await attempt()
    expect(issuer.requests.jwks).toBe(2)
  })

  it.each<Fault>(['error', 'huge', 'not-json', 'no-keys', 'not-found'])(
    '(%s) leaves the keys that are held good for an hour past their time, and asked for twice a minute',
    async fault => {
      const { attempt, time } = setUp()
      expect(await attempt()).toBe('accepted')
      issuer.fault.jwks = fault
      time.now += 10 * minute
      expect(await attempt()).toBe('accepted')
      expect(await attempt()).toBe('accepted')
      expect(issuer.requests.jwks).toBe(2)
      time.now += 60 * minute - 1
      expect(await attempt()).toBe('accepted')
      expect(issuer.requests.jwks).toBe(3)
      time.now += 1
      expect(await attempt()).not.toBe('accepted')
    },
  )

  it('under a discovery document of another issuer is refused', async () => {
    for (const other of [
      `${issuer.issuer}/`,
      issuer.issuer.replace('127.0.0.1', 'localhost'),
      undefined,
      [issuer.issuer],
    ]) {
      issuer.discovery = { issuer: other }
      expect(await setUp().attempt()).toBe('keys_malformed')
    }
    expect(issuer.requests.jwks).toBe(0)
  })

  it('but points elsewhere without TLS, or to no address, is refused', async () => {
    for (const uri of [
      'http://keys.example/jwks',
      'file:///etc/passwd',
      '/jwks',
      7,
      undefined,
      'https://me:pw@keys.example/',
    ]) {
      issuer.discovery = { jwks_uri: uri }
      expect(await setUp().attempt()).toBe('keys_refused')
    }
    expect(issuer.requests.other).toEqual([])
  })

  it('but points to this machine, being elsewhere itself, is refused', async () => {
    const asked: string[] = []
    const elsewhere = 'https://issuer.example'
    const { attest, time } = attestorFor([oidcSource({ issuer: elsewhere })], {
      fetch: async address => {
        asked.push(String(address))
        return Response.json({ issuer: elsewhere, jwks_uri: issuer.jwksUri })
      },
    })
    const exp = Math.floor(time.now / second) + 60
    expect(await outcome(attest(issuer.sign({ iss: elsewhere, sub: 'x', aud: broker, exp })))).toBe(
      'keys_refused',
    )
    expect(asked).toEqual([`${elsewhere}/.well-known/openid-configuration`])
  })
})

it('finds the discovery document of an issuer with a path, and of one that ends in a slash', async () => {
  const asked: string[] = []
  for (const address of ['https://issuer.example/tenant', 'https://issuer.example/']) {
    const { attest, time } = attestorFor([oidcSource({ issuer: address })], {
      fetch: async url => {
        asked.push(String(url))
        return Response.json({})
      },
    })
    const exp = Math.floor(time.now / second) + 60
    await outcome(attest(issuer.sign({ iss: address, sub: 'x', aud: broker, exp })))
  }
  expect(asked).toEqual([
    'https://issuer.example/tenant/.well-known/openid-configuration',
    'https://issuer.example/.well-known/openid-configuration',
  ])
})
