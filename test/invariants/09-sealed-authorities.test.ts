import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { calculateJwkThumbprint, type JWK } from 'jose'
import pino from 'pino'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { startBroker } from '../../src/app.ts'
import { authorityCertificate, rootCertificate } from '../../src/mint/x509/authority-certificate.ts'
import { signerOf } from '../../src/mint/x509/signer-of.ts'
import { masterKeyFrom } from '../../src/secrets/master-key.ts'
import { wrap } from '../../src/secrets/wrap.ts'
import type { TestBroker } from '../support/broker.ts'
import { certificateOn, derOf, faultOf, fetchTrust, pki } from '../support/certificate-scene.ts'
import { type Scene, startScene } from '../support/scene.ts'

let scene: Scene
beforeAll(async () => {
  scene = await startScene({ config: { pki } })
  scene.broker.clock.advance(600_000)
  await scene.broker.sweep()
})
afterAll(() => scene?.close())

const hex = (bytes: Buffer) => `\\x${bytes.toString('hex')}`
const published = async (on: TestBroker) => {
  const { roots, authorities } = await fetchTrust(on)
  return [...roots, ...authorities].map(der => der.toString('base64')).sort()
}

/** What whoever can write to the database can make up: keys, certificates, and seals under a master key of their own. */
async function theirs() {
  const { broker } = scene
  const key = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const kid = await calculateJwkThumbprint(key.publicKey.export({ format: 'jwk' }) as JWK)
  const life = { notBefore: broker.clock.now() - 3_600_000, notAfter: broker.clock.now() + 40 * 86_400_000 }
  const root = rootCertificate({ key, kid, trustDomain: pki.trustDomain, ...life })
  const issuer = signerOf({ certificate: root, privateKey: key.privateKey, kid })
  const below = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const belowKid = await calculateJwkThumbprint(below.publicKey.export({ format: 'jwk' }) as JWK)
  const authority = authorityCertificate({
    issuer,
    publicKey: below.publicKey,
    kid: belowKid,
    trustDomain: pki.trustDomain,
    urls: { crl: 'http://127.0.0.1/x' },
    ...life,
  })
  const pkcs8 = (one: typeof key) => one.privateKey.export({ type: 'pkcs8', format: 'der' })
  const master = masterKeyFrom(randomBytes(32))
  const content = Buffer.from(
    JSON.stringify({ certificate: root.toString('base64'), privateKey: pkcs8(key).toString('base64') }),
  )
  return {
    kid,
    root,
    belowKid,
    authority,
    content,
    pkcs8: pkcs8(below),
    sealedRoot: wrap(master, { purpose: 'ca-root', kid }, content),
    wrappedKey: wrap(master, { purpose: 'ca-authority', kid: belowKid }, pkcs8(below)),
  }
}

it('invariant 9: who can only write to the database adds no root and no authority, changes none and moves none', async () => {
  const { broker } = scene
  const before = await published(broker)
  const jwks = async (on: TestBroker) => (await on.client.request('GET', '/.well-known/jwks.json')).text
  const tokens = await jwks(broker)
  const forged = await theirs()
  const keys = await broker.sql<{
    kid: string
    use: string
    chain: Buffer[] | null
    root_kid: string | null
    private_key: Buffer
  }>('SELECT * FROM signing_keys ORDER BY active_at, kid')
  const [root] = await broker.sql<{ kid: string; sealed: Buffer }>('SELECT * FROM ca_roots')
  const [signing, prepared] = keys.filter(({ use }) => use === 'x509')
  const token = keys.find(({ use }) => use === 'jwt')
  const good = await fetchTrust(broker)

  const addRoot = (kid: string, sealed: Buffer) =>
    broker.sql(
      'INSERT INTO ca_roots SELECT $1, $2, wrapped_by, true, published_at, active_at, NULL, NULL FROM ca_roots LIMIT 1',
      [kid, sealed],
    )
  const addKey = (members: object) =>
    broker.sql(
      `INSERT INTO signing_keys SELECT (jsonb_populate_record(k, $2)).* FROM signing_keys k WHERE kid = $1`,
      [signing!.kid, JSON.stringify(members)],
    )
  const flipped = Buffer.from(root!.sealed)
  flipped[50]! ^= 1

  await addRoot(forged.kid, forged.sealedRoot)
  await addRoot(`${forged.kid}-1`, forged.content)
  await addRoot(`${forged.kid}-2`, root!.sealed)
  await addRoot(`${forged.kid}-3`, flipped)
  await addRoot(`${forged.kid}-4`, signing!.private_key)
  await addRoot(`${forged.kid}-5`, Buffer.alloc(0))
  const chain = { chain: [hex(forged.authority)], root_kid: forged.kid }
  await addKey({ kid: forged.belowKid, private_key: hex(forged.wrappedKey), ...chain })
  await addKey({ kid: `${forged.belowKid}-1`, private_key: hex(forged.pkcs8), ...chain })
  // The forged root goes along in the chain, and the good one at its end.
  await addKey({
    kid: `${forged.belowKid}-2`,
    private_key: hex(forged.wrappedKey),
    chain: [hex(forged.authority), hex(forged.root)],
  })
  // A good key under another name, or with no chain or another's.
  await addKey({ kid: `${forged.belowKid}-3` })
  await addKey({ kid: `${forged.belowKid}-4`, chain: [] })
  // A token's key as an authority's, and the other way about.
  await addKey({ kid: `${token!.kid}-1`, private_key: hex(token!.private_key) })
  await addKey({ kid: `${signing!.kid}-1`, use: 'jwt', chain: null, root_kid: null })

  const check = async (on: TestBroker, without: string[] = []) => {
    expect(await published(on)).toEqual(before.filter(one => !without.includes(one)))
    expect(await jwks(on)).toBe(tokens)
  }
  await broker.sweep()
  await check(broker)
  const started = await broker.replica()
  await check(started)
  const { status, body } = await certificateOn(scene, started)
  expect(status).toBe(201)
  expect(body.chain.map(derOf)).toEqual(signing!.chain)
  await started.close()
  await broker.sql('DELETE FROM ca_roots WHERE kid <> $1', [root!.kid])
  await broker.sql('DELETE FROM signing_keys WHERE NOT (kid = ANY ($1))', [keys.map(({ kid }) => kid)])

  // Rows of ours, changed: nothing that was not there before is published or signs, by whoever reads them first.
  const changes: [string, unknown[]][] = [
    ['chain = $2', [prepared!.chain]],
    ['chain = $2', [[forged.authority]]],
    ['chain = $2', [[...signing!.chain!, forged.root]]],
    ['private_key = $2', [prepared!.private_key]],
    [`private_key = $2`, [forged.wrappedKey]],
    [`root_kid = 'nosuch'`, []],
    [`use = 'jwt', chain = NULL, root_kid = NULL`, []],
  ]
  for (const [change, values] of changes) {
    await broker.sql(`UPDATE signing_keys SET ${change} WHERE kid = $1`, [signing!.kid, ...values])
    const reader = await broker.replica()
    const now = await published(reader)
    const added = await broker.sql<{ chain: Buffer[] }>(
      `SELECT chain FROM signing_keys WHERE use = 'x509' AND NOT (kid = ANY ($1))`,
      [keys.map(({ kid }) => kid)],
    )
    // Ones that the broker made since are its own.
    const made = added.flatMap(row => row.chain.map(der => der.toString('base64')))
    expect(
      now.filter(one => !before.includes(one) && !made.includes(one)),
      change,
    ).toEqual([])
    expect(await jwks(reader), change).toBe(tokens)
    const answer = await certificateOn(scene, reader)
    if (answer.status === 201) {
      const trust = { roots: good.roots, authorities: answer.body.chain.map(derOf) }
      expect(faultOf(derOf(answer.body.certificate), trust, broker.clock.now())).toBe(null)
    }
    await reader.close()
    await broker.sql('DELETE FROM signing_keys WHERE NOT (kid = ANY ($1))', [keys.map(({ kid }) => kid)])
    await broker.sql(
      'UPDATE signing_keys SET private_key = $2, chain = $3, root_kid = $4, use = $5 WHERE kid = $1',
      [signing!.kid, signing!.private_key, signing!.chain, signing!.root_kid, 'x509'],
    )
  }
  await broker.sweep()
  expect((await fetchTrust(broker)).sequence).toBe(good.sequence)
}, 240_000)

it('invariant 9: where the root does not open any more, what replaces it is known before it is needed', async () => {
  const broken = await startScene({ config: { pki } })
  const { broker } = broken
  await broker.sql(`UPDATE ca_roots SET sealed = '\\x00'`)
  const started = await broker.replica()
  const trust = await fetchTrust(started)
  expect((await certificateOn(broken, started)).status).toBe(503)
  broker.clock.advance(361_000)
  await started.sweep()
  const { status, body } = await certificateOn(broken, started)
  expect(status).toBe(201)
  expect(faultOf(derOf(body.certificate), trust, broker.clock.now())).toBe(null)
  await started.close()
  await broken.close()
}, 120_000)

it('invariant 9: a broker with another master key does not start, be there nothing but roots', async () => {
  const other = await startScene({ config: { pki } })
  const { broker } = other
  const start = () =>
    startBroker(
      { ...broker.config, listen: { ...broker.config.listen, port: 0 }, masterKey: randomBytes(32) },
      { log: pino({ level: 'silent' }), clock: broker.clock.now },
    )
  await expect(start()).rejects.toThrow(/signing keys are wrapped by master key [0-9a-f]{16}/)
  await broker.sql('DELETE FROM signing_keys')
  const before = await broker.sql('SELECT * FROM ca_roots')
  await expect(start()).rejects.toThrow(/roots are wrapped by master key [0-9a-f]{16}/)
  expect(await broker.sql('SELECT * FROM ca_roots')).toEqual(before)
  await other.close()
})
