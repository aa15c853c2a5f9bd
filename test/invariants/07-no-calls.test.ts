import { createServer } from 'node:http'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { ciSource, spiffeSource, startTestBroker, type TestBroker, testIssuer } from '../support/broker.ts'
import { generateKey, listen, shut, signJws, startIssuer, type TestIssuer } from '../support/issuer.ts'
import { jobClaims, mint, minted } from '../support/scene.ts'
import { createTrustDomain } from '../support/spiffe.ts'

/** An address that only attestations name, where everything that a broker could ask for would be found. */
const rogueKey = generateKey('ES256')
const hits: string[] = []
const canary = createServer((request, response) => {
  hits.push(`${request.method} ${request.url}`)
  const origin = `http://${request.headers.host}`
  response.writeHead(200, { 'content-type': 'application/json' })
  response.end(
    JSON.stringify({ issuer: origin, jwks_uri: `${origin}/jwks`, keys: [rogueKey.jwk], spiffe_sequence: 1 }),
  )
})
const domain = createTrustDomain('prod.example')

let url: string
let ci: TestIssuer
let broker: TestBroker

beforeAll(async () => {
  url = await listen(canary)
  ci = await startIssuer()
  const bundle = await domain.serveBundle()
  broker = await startTestBroker({
    trust: [ciSource(ci.issuer), spiffeSource('prod.example', { url: bundle.url })],
  })
  await minted(broker, ci.sign(jobClaims('1')))
})
afterAll(async () => {
  await broker?.close()
  await ci?.close()
  await shut(canary)
})

const claims = (more: object = {}) => ({
  ...jobClaims('1', { now: broker.clock.now() }),
  ...more,
})
/** Everything that anybody ever took an address from. */
const addresses = () => ({
  jku: `${url}/jku`,
  x5u: `${url}/x5u`,
  jwks_uri: `${url}/jwks_uri`,
  jwks: `${url}/jwks`,
  kid: `${url}/kid`,
  iss: url,
  issuer: url,
  url: `${url}/url`,
})

function attestations(): [string, string][] {
  const { kid: _, ...members } = addresses()
  const own = { kid: ci.keys[0]!.kid }
  const rogue = (payload: object, header: object = {}) =>
    signJws(rogueKey, payload, header as Record<string, unknown>)
  return [
    ['the issuer of a forger', rogue(claims({ iss: url }))],
    ['the issuer with a path', rogue(claims({ iss: `${url}/tenant` }))],
    ['an issuer that begins like ours', rogue(claims({ iss: `${ci.issuer}@${new URL(url).host}` }))],
    ['an issuer that ends like ours', rogue(claims({ iss: `${url}/?${ci.issuer}` }))],
    ['an issuer in an array', rogue(claims({ iss: [url, ci.issuer] }))],
    ['jku and a forger’s key', rogue(claims({ iss: ci.issuer }), { jku: `${url}/jku` })],
    ['x5u and a forger’s key', rogue(claims({ iss: ci.issuer }), { x5u: `${url}/x5u` })],
    ['a kid that is a URL', rogue(claims({ iss: ci.issuer }), { kid: `${url}/kid` })],
    ['jwks_uri in header and payload', rogue(claims({ ...members, iss: ci.issuer }), { ...members })],
    ['addresses in a good token’s header', ci.sign(claims(), { header: { ...members, ...own } })],
    ['addresses in a good token’s payload', ci.sign(claims({ ...members, iss: ci.issuer }))],
    [
      'distributed claims',
      ci.sign(claims({ _claim_names: { groups: 's' }, _claim_sources: { s: { endpoint: url } } })),
    ],
    [
      'a trust domain that is an address',
      rogue({ sub: `spiffe://${new URL(url).host}/a`, aud: testIssuer, exp: 9e9 }),
    ],
    [
      'an SVID with an issuer',
      domain.svid('/a', { audience: testIssuer, now: broker.clock.now(), claims: { iss: url } }),
    ],
    [
      'an SVID with a jku',
      domain.svid('/a', { audience: testIssuer, now: broker.clock.now(), header: { jku: `${url}/jku` } }),
    ],
    [
      'a forged SVID with an unknown kid',
      rogue({ sub: 'spiffe://prod.example/a', aud: testIssuer, exp: 9e9 }, { kid: url }),
    ],
    [
      'a forged token of ours',
      rogue(claims({ ...members, iss: testIssuer }), { typ: 'at+jwt', jku: `${url}/jku` }),
    ],
    [
      'a forged operator token',
      rogue(claims({ iss: url }), { typ: 'hallpass-operator+jwt', jku: `${url}/jku` }),
    ],
  ]
}

it('invariant 7: no address of an attestation is ever called, wherever the attestation comes in', async () => {
  const ours = { ...ci.requests }
  const form = { scope: 'deploy:prod', audience: 'https://deploy.example' }
  const type = 'urn:ietf:params:oauth:client-assertion-type'
  for (const index of attestations().keys()) {
    // Misses of a key may ask the configured issuer again, so let them.
    broker.clock.advance(60_000)
    const [what, token] = attestations()[index] as [string, string]
    const { client } = broker
    await mint(broker, token)
    for (const more of [
      { grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer', assertion: token },
      {
        grant_type: 'client_credentials',
        client_assertion: token,
        client_assertion_type: `${type}:jwt-bearer`,
      },
      {
        grant_type: 'client_credentials',
        client_assertion: token,
        client_assertion_type: `${type}:jwt-spiffe`,
      },
    ])
      await client.request('POST', '/oauth2/token', { form: { ...form, ...more } })
    await client.request('GET', '/v1/tasks', { token })
    await client.request('POST', '/oauth2/introspect', { token: ci.sign(claims()), form: { token } })
    await client.request('POST', '/oauth2/revoke', { token: ci.sign(claims()), form: { token } })
    expect(hits, what).toEqual([])
  }
  // The issuer that is configured was asked, at its own two addresses.
  expect(ci.requests.jwks).toBeGreaterThan(ours.jwks)
  expect(ci.requests.other).toEqual([])
  // And whoever had been called would have been seen.
  await fetch(`${url}/jwks`)
  expect(hits).toEqual(['GET /jwks'])
})

it('invariant 7: nothing of a forger is let in either', async () => {
  const rows = await broker.sql('SELECT DISTINCT principal FROM decisions WHERE principal IS NOT NULL')
  const principals = rows.map(({ principal }) => principal)
  expect(principals).toContain('spiffe://prod.example/a')
  expect(
    principals.filter(
      id => !/^(ci:repo:acme\/api:ref:refs\/heads\/main|spiffe:\/\/prod\.example\/a)$/.test(id),
    ),
  ).toEqual([])
})

it('invariant 7: an issuer that sends elsewhere is not followed', async () => {
  const other = await startIssuer()
  const second = await startTestBroker({ trust: [ciSource(other.issuer)] })
  other.fault = { jwks: 'redirect', discovery: 'redirect' }
  expect((await mint(second, other.sign(jobClaims('1')))).status).not.toBe(200)
  expect(other.requests.other).toEqual([])
  await second.close()
  await other.close()
})
