import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { calculateJwkThumbprint, type JWK } from 'jose'
import pino from 'pino'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { startBroker } from '../../src/app.ts'
import { masterKeyFrom } from '../../src/secrets/master-key.ts'
import { wrap } from '../../src/secrets/wrap.ts'
import type { TestBroker } from '../support/broker.ts'
import { monthsOfKeys } from '../support/months-of-keys.ts'
import {
  headerOf,
  isActive,
  mint,
  minted,
  type Scene,
  type SceneOptions,
  startScene,
} from '../support/scene.ts'

const options: SceneOptions = {
  replicas: 3,
  config: {
    credentials: {
      ttlDefault: 300_000,
      ttlMax: 900_000,
      signingAlg: 'ES256',
      signingAlgFor: { 'https://ed.example': 'EdDSA' },
    },
  },
}

let scene: Scene
beforeAll(async () => {
  scene = await startScene(options)
})
afterAll(() => scene?.close())

const published = async ({ client }: TestBroker): Promise<string[]> => {
  const { body } = await client.request<{ keys: { kid: string }[] }>('GET', '/.well-known/jwks.json')
  return body.keys.map(({ kid }) => kid).sort()
}

it('invariant 9: through months of rotations on three replicas every token verifies with any set that may still be held', async () => {
  const { signers, rotationsByHand, days } = await monthsOfKeys(scene, 150)
  expect(days).toBeGreaterThan(30)
  expect(signers).toBeGreaterThan(4)
  expect(rotationsByHand).toBeGreaterThan(0)
}, 120_000)

it('invariant 9: no key signed before it was published for a cache lifetime, nor for longer than its last day', async () => {
  const rows = await scene.broker.sql<{
    alg: string
    published_at: Date
    active_at: Date
    first: Date | null
  }>(
    `SELECT alg, published_at, active_at,
      (SELECT min(issued_at) FROM credentials c WHERE c.kid = k.kid) AS first FROM signing_keys k
      -- But for the very first ones, which nobody can have missed.
      WHERE published_at > (SELECT min(opened_at) FROM tasks)`,
  )
  expect(rows.length).toBeGreaterThan(2)
  for (const { published_at, active_at, first } of rows) {
    expect(active_at.getTime()).toBeGreaterThanOrEqual(published_at.getTime() + 300_000)
    // `iat` is in whole seconds.
    if (first) expect(first.getTime()).toBeGreaterThan(published_at.getTime() + 299_000)
  }
  const late = await scene.broker.sql(
    'SELECT c.jti FROM credentials c JOIN signing_keys k USING (kid) WHERE c.expires_at > k.last_day',
  )
  expect(late).toEqual([])
})

it('invariant 9: who can only write to the database adds no key, changes none and moves none', async () => {
  const { broker, replicas } = scene
  for (const replica of replicas) await replica.sweep()
  const before = await published(broker)
  const rows = await broker.sql<{ kid: string; alg: string; private_key: Buffer; last_day: Date | null }>(
    'SELECT * FROM signing_keys',
  )
  // One that signs and one that will: copies of a key past its last day would not be published anyway.
  const [row, other] = rows.filter(({ alg, last_day }) => {
    return alg === 'ES256' && (last_day === null || last_day.getTime() > broker.clock.now())
  })
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const kid = await calculateJwkThumbprint(privateKey.export({ format: 'jwk' }) as JWK)
  const der = privateKey.export({ type: 'pkcs8', format: 'der' })
  const theirs = masterKeyFrom(randomBytes(32))
  const hex = (bytes: Buffer) => `\\x${bytes.toString('hex')}`
  const flipped = Buffer.from(row!.private_key)
  flipped[40]! ^= 1

  /** A row like one of ours, but for these members. */
  const inject = (members: object) =>
    broker.sql(
      `INSERT INTO signing_keys SELECT (jsonb_populate_record(k, $2)).* FROM signing_keys k WHERE kid = $1`,
      [row!.kid, JSON.stringify(members)],
    )
  const forged: object[] = [
    { kid, private_key: hex(der) },
    {
      kid: `${kid}-2`,
      private_key: hex(wrap(theirs, { purpose: 'signing-key', kid: `ES256.${kid}-2` }, der)),
    },
    {
      kid: `${kid}-3`,
      private_key: hex(wrap(theirs, { purpose: 'signing-key', kid }, der)),
      wrapped_by: theirs.id,
    },
    { kid: `${kid}-4`, private_key: hex(row!.private_key) },
    { kid: `${kid}-5`, private_key: hex(flipped) },
    { kid: `${kid}-6`, private_key: '\\x' },
    { kid: `${kid}-7`, alg: 'none' },
    { kid: `${row!.kid} `, private_key: hex(row!.private_key) },
  ]
  for (const members of forged) await inject(members)

  for (const replica of replicas) {
    await replica.sweep()
    expect(await published(replica)).toEqual(before)
    expect(before).toContain(headerOf((await minted(replica, scene.job())).access_token).kid)
  }
  await broker.sql('DELETE FROM signing_keys WHERE wrapped_by = $1', [theirs.id])
  // One that starts now has nothing in memory to go by.
  const started = await broker.replica()
  expect(await published(started)).toEqual(before)
  expect(before).toContain(headerOf((await minted(started, scene.job())).access_token).kid)
  await started.close()

  // Rows of ours, changed: what does not decrypt as what it says is not published by whoever reads it first.
  await broker.sql('DELETE FROM signing_keys WHERE NOT (kid = ANY ($1))', [rows.map(({ kid }) => kid)])
  const changes: [string, unknown[]][] = [
    ['private_key = $2', [flipped]],
    [`alg = 'EdDSA'`, []],
    ['private_key = $2', [other!.private_key]],
  ]
  for (const [change, values] of changes) {
    await broker.sql(`UPDATE signing_keys SET ${change} WHERE kid = $1`, [row!.kid, ...values])
    const reader = await broker.replica()
    expect(await published(reader)).not.toContain(row!.kid)
    await reader.close()
    await broker.sql('UPDATE signing_keys SET private_key = $2, alg = $3 WHERE kid = $1', [
      row!.kid,
      row!.private_key,
      row!.alg,
    ])
  }
})

it('invariant 9: a key that replaces ones that do not decrypt any more waits for a cache lifetime like any other', async () => {
  const broken = await startScene()
  await broken.broker.sql(`UPDATE signing_keys SET private_key = '\\x00'`)
  const started = await broken.broker.replica()
  const { body } = await started.client.request<{ code: string }>('GET', '/readyz')
  expect(body.code).toBe('unavailable')
  const fresh = await published(started)
  broken.broker.clock.advance(361_000)
  await started.sweep()
  const { access_token } = await minted(started, broken.job())
  expect(fresh).toContain(headerOf(access_token).kid)
  await started.close()
  await broken.close()
})

it('invariant 9: where the key that signs does not decrypt any more, the prepared one takes over once everybody can know it', async () => {
  const broken = await startScene()
  const { broker } = broken
  const [signing, prepared] = await broker.sql<{ kid: string }>(
    'SELECT kid FROM signing_keys ORDER BY active_at',
  )
  await broker.sql(`UPDATE signing_keys SET private_key = '\\x00' WHERE kid = $1`, [signing!.kid])
  const started = await broker.replica()
  expect((await mint(started, broken.job())).status).toBe(503)
  broker.clock.advance(330_000)
  await started.sweep()
  expect((await mint(started, broken.job())).status).toBe(503)
  broker.clock.advance(31_000)
  await started.sweep()
  expect(headerOf((await minted(started, broken.job())).access_token).kid).toBe(prepared!.kid)
  expect((await published(started)).length).toBe(2)
  await started.close()
  await broken.close()
})

it('invariant 9: a broker with another master key does not start, and changes nothing', async () => {
  const { broker } = scene
  const before = await broker.sql('SELECT * FROM signing_keys ORDER BY kid')
  const log = pino({ level: 'silent' })
  const start = startBroker(
    { ...broker.config, listen: { ...broker.config.listen, port: 0 }, masterKey: randomBytes(32) },
    { log, clock: broker.clock.now },
  )
  await expect(start).rejects.toThrow(/wrapped by master key [0-9a-f]{16}, this broker has [0-9a-f]{16}/)
  expect(await broker.sql('SELECT * FROM signing_keys ORDER BY kid')).toEqual(before)
})

it('invariant 9: a token whose key has passed its last day is nobody’s token', async () => {
  const { broker, replicas } = scene
  const { access_token } = await minted(broker, scene.job())
  expect(await isActive(replicas[1]!, scene.agent('service'), access_token)).toBe(true)
  broker.clock.advance(62 * 86_400_000)
  for (let round = 0; round < 3; round++) {
    for (const replica of replicas) await replica.sweep()
    broker.clock.advance(31 * 86_400_000)
  }
  for (const replica of replicas) {
    await replica.sweep()
    expect(await published(replica)).not.toContain(headerOf(access_token).kid)
  }
})
