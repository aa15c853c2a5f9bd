import { randomBytes } from 'node:crypto'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { oids } from '../../src/der/oids.ts'
import { constructed, primitive, tags } from '../../src/der/tags.ts'
import { boolean, element, integer, none, oid, sequence } from '../../src/der/write.ts'
import {
  type CrlOptions,
  distributionPoint,
  entryOf,
  extension,
  type Leaf,
  newAuthority,
  newCrl,
  newKeyPair,
  type Signer,
  uri,
  uuid7,
} from './certificate-maker.ts'
import { certificateRefusal, type Followed, startFollowed, until } from './verifiers.ts'

let followed: Followed
let authority: Signer
let leaf: Leaf
/** The broker's lists can be had, its feed cannot. */
beforeEach(async () => {
  followed = await startFollowed()
  const { broker, time, verifier } = followed
  authority = await broker.withAuthority()
  leaf = broker.certificate()
  broker.onFeed = connection => connection.cut()
  for (const feed of broker.feeds) feed.cut()
  await until(() => broker.feeds.length === 0)
  time.pass(20_000)
  expect(verifier.state().fresh).toBe(false)
})
afterEach(() => followed.close())

const refused = (one = leaf) => certificateRefusal(followed.verifier, one.der)
const path = () => `/pki/crl/${authority.kid}`
const now = () => followed.time.database()
const second = (moment: number) => Math.floor(moment / 1000) * 1000

/** How the certificate fares with such a list. */
async function fares(options: Partial<CrlOptions>): Promise<string | null> {
  followed.broker.crl(options)
  return refused()
}

describe('the feed is silent: the revocation list is asked', () => {
  test('a certificate that is not on it lives', async () => {
    expect(await refused()).toBeNull()
    const others = Array.from({ length: 50 }, () => ({ serial: uuid7(now()), reason: 1 }))
    followed.time.pass(11_000)
    expect(await fares({ entries: others })).toBeNull()
  })

  test.each([
    [undefined, 'credential_revoked'],
    [0, 'credential_revoked'],
    [1, 'credential_revoked'],
    [5, 'credential_revoked'],
    [6, 'credential_suspended'],
    [9, 'credential_revoked'],
    [77, 'credential_revoked'],
    [8, 'crl_malformed'],
  ])('one with reason %s: %s', async (reason, code) => {
    const entry = { serial: leaf.serial, ...(reason !== undefined && { reason }) }
    const entries = [{ serial: uuid7(now()) }, entry, { serial: uuid7(now()) }]
    expect(await fares({ entries })).toBe(code)
  })

  test('of its own authority and no other', async () => {
    const { broker } = followed
    const other = await broker.withAuthority()
    broker.crl({ at: other, by: other, entries: [{ serial: leaf.serial }] })
    expect(await refused()).toBeNull()
    expect(broker.asked[`/pki/crl/${other.kid}`]).toBeUndefined()
  })

  test('it is fetched once for many, and kept for no longer than `maxStaleness`', async () => {
    const { broker, time } = followed
    const leaves = Array.from({ length: 40 }, () => broker.certificate())
    expect(await Promise.all(leaves.map(refused))).toEqual(leaves.map(() => null))
    expect(broker.asked[path()]).toBe(1)
    time.pass(9_000)
    await refused()
    expect(broker.asked[path()]).toBe(1)
    time.pass(1_100)
    await refused()
    expect(broker.asked[path()]).toBe(2)
  })

  test('nothing is asked about a certificate before its signature is verified', async () => {
    const forged = followed.broker.certificate({ by: { ...authority, privateKey: newKeyPair().privateKey } })
    expect(await refused(forged)).toBe('signature_wrong')
    expect(followed.broker.asked[path()]).toBeUndefined()
  })

  test('when the feed comes back, it is trusted again', async () => {
    const { broker, verifier } = followed
    broker.answers.delete(path())
    expect(await refused()).toBe('crl_unreachable')
    broker.onFeed = connection => connection.write(broker.snapshot() + broker.tick())
    await until(() => verifier.state().fresh)
    expect(await refused()).toBeNull()
  })

  test('what dies while a list is waited for is refused', async () => {
    const { broker, verifier } = followed
    const good = broker.answers.get(path())
    let respond = () => {}
    broker.answers.set(path(), (request, response) => {
      respond = () => good?.(request, response)
    })
    const code = refused()
    await until(() => broker.asked[path()])
    broker.onFeed = connection =>
      connection.write(
        broker.snapshot() + broker.event('credential', { jti: leaf.jti, until: broker.until() }),
      )
    await until(() => verifier.state().dead === 1)
    respond()
    expect(await code).toBe('credential_revoked')
  })

  test('who watches is told when it can no longer be known, and not before', async () => {
    const { broker, time } = followed
    const { signal } = await followed.verifier.verifyCertificate(leaf.der)
    await new Promise(resolve => setTimeout(resolve, 1_300))
    expect(signal.aborted).toBe(false)
    broker.answers.delete(path())
    time.pass(11_000)
    await until(() => signal.aborted)
    expect(signal.reason).toMatchObject({ code: 'crl_unreachable' })
  })

  test('an authority that is published no more is not believed, nor are ones that cannot be had', async () => {
    const { broker, time } = followed
    expect(await refused()).toBeNull()
    const { published } = broker
    broker.published = []
    await broker.withAuthority()
    time.pass(11_000)
    expect(await refused()).toBe('authority_unknown')
    broker.published = published
    time.pass(11_000)
    expect(await refused()).toBeNull()
    broker.answers.set('/pki/ca.pem', (_, response) => response.writeHead(503).end())
    time.pass(11_000)
    expect(await refused()).toBe('authorities_unavailable')
  })

  test('nor is one that is published no more by a list that is still held', async () => {
    const { broker, time } = followed
    const good = broker.answers.get(path())
    broker.answers.delete(path())
    expect(await refused()).toBe('crl_unreachable')
    time.pass(6_000)
    broker.answers.set(path(), good as () => void)
    expect(await refused()).toBeNull()
    broker.published = []
    await broker.withAuthority()
    time.pass(5_000)
    expect(await refused()).toBe('authority_unknown')
    expect(broker.asked[path()]).toBe(2)
  })

  test('authorities out of a cache prove nothing', async () => {
    const { broker, time } = followed
    const good = broker.answers.get('/pki/ca.pem')
    expect(await refused()).toBeNull()
    broker.answers.set('/pki/ca.pem', (request, response) => {
      response.setHeader('age', '60')
      good?.(request, response)
    })
    time.pass(11_000)
    expect(await refused()).toBe('authorities_unavailable')
  })
})

describe('a revocation list is refused', () => {
  test('that is older than allowed, from the future, or past its time', async () => {
    const moment = second(now())
    for (const [options, code] of [
      [{ thisUpdate: moment - 14_000 }, null],
      [{ thisUpdate: moment - 17_000 }, 'crl_stale'],
      [{ thisUpdate: moment - 86_400_000, nextUpdate: moment + 86_400_000 }, 'crl_stale'],
      [{ thisUpdate: moment + 4_000 }, null],
      [{ thisUpdate: moment + 7_000 }, 'crl_stale'],
      [{ thisUpdate: moment, nextUpdate: moment }, 'crl_stale'],
      [{ thisUpdate: moment, nextUpdate: moment - 60_000 }, 'crl_stale'],
    ] as const) {
      const other = await startFollowed()
      const by = await other.broker.withAuthority()
      other.time.pass(now() - other.time.database())
      other.broker.crl({ at: by, by, ...options })
      other.broker.onFeed = connection => connection.cut()
      for (const feed of other.broker.feeds) feed.cut()
      other.time.pass(0)
      await until(() => other.broker.feeds.length === 0)
      await until(() => !other.verifier.state().fresh)
      expect(await certificateRefusal(other.verifier, other.broker.certificate().der)).toBe(code)
      await other.close()
    }
  })

  test('a wall clock that is set back makes none young', async () => {
    const { broker, time } = followed
    const thisUpdate = now()
    const certificate = broker.certificate({ notAfter: now() + 600_000 })
    broker.crl({ thisUpdate, nextUpdate: thisUpdate + 600_000 })
    expect(await refused(certificate)).toBeNull()
    time.pass(60_000)
    time.setWall(-60_000)
    expect(await refused(certificate)).toBe('crl_stale')
  })

  test('that is signed by another key, under the authority’s name', async () => {
    expect(await fares({ key: newKeyPair().privateKey })).toBe('crl_signature_wrong')
  })

  test('that is another authority’s', async () => {
    const other = await followed.broker.withAuthority()
    expect(await fares({ at: authority, by: other } as Partial<CrlOptions>)).toBe('crl_other')
  })

  test('of an authority that may sign none', async () => {
    const { broker } = followed
    const root = await newAuthority({ now: now() })
    const by = await newAuthority({ now: now(), by: root, usages: [5] })
    broker.published.push(root, by)
    broker.crl({ at: by, by } as Partial<CrlOptions>)
    expect(await refused(broker.certificate({ by }))).toBe('crl_other')
  })

  test.each<[string, (url: string) => Partial<CrlOptions>, string | null]>([
    ['a delta', () => ({ extensions: [extension(oids.deltaCrlIndicator, integer(1), true)] }), 'crl_other'],
    [
      'with what is critical and unknown',
      () => ({ extensions: [extension('1.2.3', none, true)] }),
      'crl_other',
    ],
    ['of a key that has another identifier', () => ({ keyId: randomBytes(20) }), 'crl_other'],
    ['of this address', url => ({ extensions: [distributionPoint(url)] }), null],
    ['of another address', url => ({ extensions: [distributionPoint(`${url}/1`)] }), 'crl_other'],
    ['of no address', () => ({ extensions: [distributionPoint(null)] }), 'crl_other'],
    [
      'of end entities alone',
      url => ({ extensions: [distributionPoint(url, element(primitive(1), Buffer.of(0xff)))] }),
      'crl_other',
    ],
    [
      'of some reasons alone',
      url => ({ extensions: [distributionPoint(url, element(primitive(3), Buffer.of(1, 2)))] }),
      'crl_other',
    ],
    [
      'of others’ certificates too',
      url => ({ extensions: [distributionPoint(url, element(primitive(4), Buffer.of(0xff)))] }),
      'crl_other',
    ],
    [
      'that names another algorithm than it is signed in',
      () => ({ algorithm: sequence(oid(oids.ecdsaWithSha384)) }),
      'crl_signature_wrong',
    ],
    ['of version 1', () => ({ version: null }), 'crl_malformed'],
    ['of version 3', () => ({ version: 2 }), 'crl_malformed'],
    ['that does not say until when it serves', () => ({ nextUpdate: null }), 'crl_malformed'],
    ['without extensions', () => ({ extensions: null }), 'crl_malformed'],
    [
      'with an extension twice',
      () => ({ extensions: [extension(oids.crlNumber, integer(8))] }),
      'crl_malformed',
    ],
    [
      'with an entry that is not understood',
      () => ({ entries: [{ serial: randomBytes(16), more: [extension('1.2.3', none, true)] }] }),
      'crl_malformed',
    ],
    [
      'with an entry of another issuer',
      () => ({
        entries: [{ serial: Buffer.alloc(16, 1), more: [extension('2.5.29.29', sequence(), true)] }],
      }),
      'crl_malformed',
    ],
    [
      'with an entry twice',
      () => ({ entries: [{ serial: Buffer.alloc(16, 1) }, { serial: Buffer.alloc(16, 1) }] }),
      'crl_malformed',
    ],
    ['with an entry without a number', () => ({ entries: [{ serial: Buffer.alloc(1) }] }), 'crl_malformed'],
  ])('%s: %s', async (_, options, code) => {
    expect(await fares(options(`${followed.broker.issuer}${path()}`))).toBe(code)
  })

  test.each<[string, (good: Buffer) => Buffer]>([
    ['empty', () => Buffer.alloc(0)],
    ['a text', () => Buffer.from('hello')],
    ['a sequence', () => sequence(boolean(true))],
    ['cut off', good => good.subarray(0, -1)],
    ['with something after it', good => Buffer.concat([good, Buffer.of(0)])],
    ['a certificate', () => leaf.der],
    ['in two signatures', good => element(tags.sequence, good)],
    ['around itself', good => element(constructed(0), good)],
    ['an address', () => uri('https://x.example')],
  ])('that is %s', async (_, spoilt) => {
    const good = newCrl({ by: authority, thisUpdate: now() })
    followed.broker.answers.set(path(), (_, response) => response.writeHead(200).end(spoilt(good)))
    expect(await refused()).toBe('crl_malformed')
  })

  test.each([503, 404, 302])('that is answered with %i', async status => {
    const { broker } = followed
    broker.answers.set('/elsewhere', broker.answers.get(path()) as () => void)
    broker.answers.set(path(), (_, response) => response.writeHead(status, { location: '/elsewhere' }).end())
    for (let tries = 0; tries < 20; tries++) expect(await refused()).toBe('crl_unreachable')
    expect([broker.asked[path()], broker.asked['/elsewhere']]).toEqual([1, undefined])
  })

  test('that is too long, or never ends', async () => {
    followed.broker.answers.set(path(), (_, response) => {
      const megabyte = Buffer.alloc(1024 * 1024, 'x')
      const write = () => {
        if (!response.destroyed) response.write(megabyte, () => setImmediate(write))
      }
      write()
    })
    expect(await refused()).toBe('crl_unreachable')
  })

  test('that is not answered in time', async () => {
    followed.broker.answers.set(path(), () => {})
    expect(await refused()).toBe('crl_unreachable')
  })
})

test('a list of 100,000 is read without holding up what else there is to do', async () => {
  const entry = entryOf({ serial: Buffer.alloc(16, 1), reason: 5 }, now())
  const more = Buffer.concat(
    Array.from({ length: 100_000 }, (_, number) => {
      const other = Buffer.from(entry)
      other.writeUInt32BE(number, 12)
      return other
    }),
  )
  const crl = newCrl({
    by: authority,
    thisUpdate: now(),
    more,
    entries: [{ serial: leaf.serial, reason: 6 }],
  })
  followed.broker.answers.set(path(), (_, response) => response.writeHead(200).end(crl))
  let turns = 0
  const turning = setInterval(() => turns++, 1)
  const begun = performance.now()
  expect(await refused()).toBe('credential_suspended')
  clearInterval(turning)
  expect(turns).toBeGreaterThan(2)
  // A liveness bound, no measurement.
  expect(performance.now() - begun).toBeLessThan(10_000)
  expect(await refused(followed.broker.certificate())).toBeNull()
})
