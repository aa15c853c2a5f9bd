import { randomBytes } from 'node:crypto'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { oids } from '../../src/der/oids.ts'
import { writePem } from '../../src/der/pem.ts'
import { element, none, oid, sequence, set } from '../../src/der/write.ts'
import {
  type AuthorityOptions,
  day,
  extension,
  type KeyKind,
  newAuthority,
  newKeyPair,
  newLeaf,
  type Signer,
} from './certificate-maker.ts'
import { certificateRefusal, type Followed, startFollowed } from './verifiers.ts'

/** PrintableString. */
const printable = element(0x13, Buffer.from('lower'))

let followed: Followed
let now: number
beforeEach(async () => {
  followed = await startFollowed()
  now = followed.time.database()
})
afterEach(() => followed.close())

const refusedBy = (by: Signer) => certificateRefusal(followed.verifier, newLeaf({ now, by }).der)

const answer = (body: string | Buffer, status = 200, headers = {}) =>
  followed.broker.answers.set('/pki/ca.pem', (_, response) => response.writeHead(status, headers).end(body))

/** By then authorities that nobody knows are asked for again. */
function later(): void {
  followed.time.pass(11_000)
  followed.broker.send(followed.broker.tick())
}

/** How a certificate fares by an authority made so, under a root made so. */
async function fares(
  authority: Partial<AuthorityOptions>,
  root: Partial<AuthorityOptions> = {},
): Promise<string | null> {
  const above = await newAuthority({ now, ...root })
  const signer = await newAuthority({ now, by: above, ...authority })
  followed.broker.published.push(above, signer)
  return refusedBy(signer)
}

describe('an authority is believed', () => {
  test.each<KeyKind>(['P-256', 'P-384', 'RSA', 'Ed25519'])('under a root with a %s key', async kind => {
    expect(await fares({}, { keys: newKeyPair(kind) })).toBeNull()
  })

  test('under a root with others between: those are the organisation’s, and sign no certificates of tasks', async () => {
    const root = await newAuthority({ now, keys: newKeyPair('RSA') })
    const upper = await newAuthority({ now, by: root, keys: newKeyPair('P-384') })
    const lower = await newAuthority({ now, by: upper })
    const own = await newAuthority({ now, by: lower, pathLength: 0 })
    followed.broker.published.push(own, lower, root, upper)
    expect(await refusedBy(own)).toBeNull()
    for (const other of [lower, upper, root]) expect(await refusedBy(other)).not.toBeNull()
    expect(await refusedBy(lower)).toBe('authority_unknown')
  })

  test('though it tells no identifier of its key', async () => {
    expect(await fares({ keyId: null })).toBeNull()
  })

  test('though neither it nor its root tells what its key is used for', async () => {
    expect(await fares({ usages: null }, { usages: null })).toBeNull()
  })

  test('with purposes, if clients are among them', async () => {
    const purposes = (...ids: string[]) => [extension(oids.extKeyUsage, sequence(...ids.map(oid)))]
    expect(await fares({ more: purposes(oids.clientAuth) })).toBeNull()
    later()
    expect(await fares({ more: purposes('2.5.29.37.0') })).toBeNull()
    later()
    expect(await fares({ more: purposes(oids.serverAuth) })).toBe('authority_unknown')
  })

  test('for servers only if it and all above it are for them', async () => {
    const serves = async (authority: string[], root: string[]) => {
      const purposes = (ids: string[]) =>
        ids.length === 0 ? {} : { more: [extension(oids.extKeyUsage, sequence(...ids.map(oid)))] }
      const above = await newAuthority({ now, ...purposes(root) })
      const by = await newAuthority({ now, by: above, ...purposes(authority) })
      followed.broker.published.push(above, by)
      later()
      const { der } = newLeaf({ now, by, purposes: [oids.clientAuth, oids.serverAuth] })
      expect(await certificateRefusal(followed.verifier, der)).toBeNull()
      return certificateRefusal(followed.verifier, der, { usage: 'serverAuth' })
    }
    const { clientAuth, serverAuth, anyExtendedKeyUsage } = oids
    expect(await serves([], [])).toBeNull()
    expect(await serves([clientAuth, serverAuth], [anyExtendedKeyUsage])).toBeNull()
    expect(await serves([clientAuth], [])).toBe('certificate_usage_wrong')
    expect(await serves([], [clientAuth])).toBe('certificate_usage_wrong')
  })

  test('with policies, critical or not', async () => {
    const policies = sequence(sequence(oid('1.2.3')))
    expect(await fares({ more: [extension(oids.certificatePolicies, policies, true)] })).toBeNull()
  })

  test('by either of two roots, whichever lasts longer', async () => {
    const { time, broker } = followed
    const keys = newKeyPair()
    const [old, young] = await Promise.all([
      newAuthority({ now, notAfter: now + 60_000 }),
      newAuthority({ now }),
    ])
    const by = await newAuthority({ now, by: old, keys, name: 'crossed' })
    const crossed = await newAuthority({ now, by: young, keys, name: 'crossed' })
    broker.published.push(old, by, young, crossed)
    const long = newLeaf({ now, by, notAfter: now + 300_000 })
    const { expiresAt } = await followed.verifier.verifyCertificate(long.der)
    expect(expiresAt.getTime()).toBeGreaterThan(now + 290_000)
    time.pass(120_000)
    broker.send(broker.tick())
    expect(await certificateRefusal(followed.verifier, long.der)).toBeNull()
  })
})

describe('an authority is not believed', () => {
  test.each<[string, Partial<AuthorityOptions>, Partial<AuthorityOptions>?]>([
    ['that is no authority', { isAuthority: false }],
    ['that may not sign certificates', { usages: [6] }],
    ['that has no usages', { usages: [] }],
    ['with what is critical and unknown', { more: [extension('1.2.3.4', none, true)] }],
    ['with constraints of policies', { more: [extension(oids.policyConstraints, sequence(), true)] }],
    ['with an extension twice', { more: [extension(oids.keyUsage, none)] }],
    ['under a root that signs no authorities', {}, { pathLength: 0 }],
    ['under a root that is none', {}, { isAuthority: false }],
    ['under a root that may not sign certificates', {}, { usages: [6] }],
    ['under a root with what is critical and unknown', {}, { more: [extension('1.2.3.4', none, true)] }],
    ['under a root with an RSA key of 1,024 bits', {}, { keys: newKeyPair('RSA-1024') }],
  ])('%s', async (_, authority, root = {}) => {
    expect(await fares(authority, root)).toBe('authority_unknown')
  })

  test('with a key that is not P-256', async () => {
    for (const kind of ['P-384', 'RSA', 'Ed25519'] as const)
      expect(await fares({ keys: newKeyPair(kind) })).toBe('algorithm_refused')
  })

  test.each<[string, (lower: Signer) => Promise<Signer> | Signer]>([
    [
      'has constraints of names that cannot be read',
      by => newAuthority({ now, by, more: [extension(oids.nameConstraints, sequence())] }),
    ],
    ['may not sign certificates', by => newAuthority({ now, by, usages: [6] })],
    [
      'spells its issuer in another way',
      by =>
        newAuthority({ now, by: { ...by, name: sequence(set(sequence(oid(oids.commonName), printable))) } }),
    ],
    ['cannot be read', by => ({ ...by, certificate: randomBytes(90) })],
  ])('that is the organisation’s own, though the one below it %s', async (_, below) => {
    const root = await newAuthority({ now, keys: newKeyPair('RSA') })
    const lower = await newAuthority({ now, by: root, name: 'lower' })
    followed.broker.published.push(root, lower, await below(lower))
    expect(await refusedBy(lower)).toBe('authority_unknown')
  })

  test('whose root is not published, though it is itself', async () => {
    const root = await newAuthority({ now })
    const signer = await newAuthority({ now, by: root })
    followed.broker.published.push(signer)
    expect(await refusedBy(signer)).toBe('authority_unknown')
  })

  test('whose root is another one of that name', async () => {
    const [root, other] = await Promise.all([
      newAuthority({ now, name: 'root' }),
      newAuthority({ now, name: 'root' }),
    ])
    const signer = await newAuthority({ now, by: root })
    const forged = { ...root, keyId: other.keyId }
    const second = await newAuthority({ now, by: forged })
    followed.broker.published.push(other, signer, second)
    expect(await refusedBy(signer)).toBe('authority_unknown')
    expect(await refusedBy(second)).toBe('authority_unknown')
  })

  test('whose root did not sign itself', async () => {
    const { privateKey } = newKeyPair()
    const keys = newKeyPair()
    const root = await newAuthority({ now, name: 'root', keys: { privateKey, publicKey: keys.publicKey } })
    const signer = await newAuthority({ now, by: { ...root, privateKey: keys.privateKey } })
    followed.broker.published.push(root, signer)
    expect(await refusedBy(signer)).toBe('authority_unknown')
  })

  test('that signs itself: then it is a root', async () => {
    const root = await newAuthority({ now })
    followed.broker.published.push(root)
    expect(await refusedBy(root)).toBe('authority_unknown')
  })

  test('whose path goes in a circle, or is too long', async () => {
    const [one, two] = [newKeyPair(), newKeyPair()]
    const first = await newAuthority({ now, name: 'one', keys: one })
    const second = await newAuthority({ now, name: 'two', keys: two, by: first })
    const circle = await newAuthority({ now, name: 'one', keys: one, by: second })
    followed.broker.published.push(circle, second)
    const below = await newAuthority({ now, by: second })
    followed.broker.published.push(below)
    expect(await refusedBy(below)).toBe('authority_unknown')

    let signer = await newAuthority({ now })
    followed.broker.published = [signer]
    for (let depth = 0; depth < 4; depth++) {
      signer = await newAuthority({ now, by: signer })
      followed.broker.published.push(signer)
    }
    later()
    expect(await refusedBy(signer)).toBeNull()
    signer = await newAuthority({ now, by: signer })
    followed.broker.published.push(signer)
    later()
    expect(await refusedBy(signer)).toBe('authority_unknown')
  })

  test.each<[string, Partial<AuthorityOptions>, Partial<AuthorityOptions>]>([
    ['that has expired', { notBefore: 0, notAfter: -1000 }, {}],
    ['that is not valid yet', { notBefore: day }, {}],
    ['whose root has expired', {}, { notAfter: -1000 }],
    ['whose root is not valid yet', {}, { notBefore: day }],
  ])('%s', async (_, authority, root) => {
    const from = (options: Partial<AuthorityOptions>) => ({
      ...options,
      ...(options.notBefore !== undefined && {
        notBefore: now + options.notBefore - (options.notBefore === 0 ? day : 0),
      }),
      ...(options.notAfter !== undefined && { notAfter: now + options.notAfter }),
    })
    expect(await fares(from(authority), from(root))).toBe('authority_expired')
  })

  test('after it has expired, nor is what it signed for longer', async () => {
    const { broker, time } = followed
    const root = await newAuthority({ now })
    const by = await newAuthority({ now, by: root, notAfter: now + 60_000 })
    broker.published.push(root, by)
    const { der } = newLeaf({ now, by })
    const { expiresAt, signal } = await followed.verifier.verifyCertificate(der)
    expect(expiresAt.getTime()).toBeLessThanOrEqual(now + 60_000)
    time.pass(60_000)
    broker.send(broker.tick())
    expect(await certificateRefusal(followed.verifier, der)).toBe('authority_expired')
    await expect.poll(() => signal.aborted, { timeout: 10_000 }).toBe(true)
  })
})

describe('the published authorities', () => {
  test('are loaded again for a certificate of one that is not known, but not again and again', async () => {
    const { broker, time } = followed
    const first = await broker.withAuthority()
    expect(await refusedBy(first)).toBeNull()
    const root = await newAuthority({ now })
    const second = await newAuthority({ now, by: root })
    broker.published.push(root, second)
    for (let tries = 0; tries < 20; tries++) expect(await refusedBy(second)).toBe('authority_unknown')
    expect(broker.asked['/pki/ca.pem']).toBe(1)
    time.pass(11_000)
    broker.send(broker.tick())
    expect(await refusedBy(second)).toBeNull()
    expect(broker.asked['/pki/ca.pem']).toBe(2)
    expect(await refusedBy(first)).toBeNull()
  })

  test('nor where a cache on the way says how old its answer is', async () => {
    const { broker, time } = followed
    const first = await broker.withAuthority()
    const good = broker.answers.get('/pki/ca.pem')
    broker.answers.set('/pki/ca.pem', (request, response) => {
      response.setHeader('age', '60')
      good?.(request, response)
    })
    const by = await newAuthority({ now, by: await newAuthority({ now }) })
    expect(await refusedBy(first)).toBeNull()
    for (let tries = 0; tries < 20; tries++) expect(await refusedBy(by)).toBe('authority_unknown')
    expect(broker.asked['/pki/ca.pem']).toBe(1)
    time.pass(11_000)
    for (let tries = 0; tries < 20; tries++) expect(await refusedBy(by)).toBe('authority_unknown')
    expect(broker.asked['/pki/ca.pem']).toBe(2)
  })

  test('that are published no more sign nothing, once the others were loaded', async () => {
    const { broker, time } = followed
    const first = await broker.withAuthority()
    expect(await refusedBy(first)).toBeNull()
    broker.published = []
    await broker.withAuthority()
    time.pass(301_000)
    broker.send(broker.tick())
    now = time.database()
    await expect.poll(() => refusedBy(first), { timeout: 10_000 }).toBe('authority_unknown')
  })

  test('are loaded once for many', async () => {
    const signer = await followed.broker.withAuthority()
    const codes = await Promise.all(Array.from({ length: 30 }, () => refusedBy(signer)))
    expect(codes).toEqual(codes.map(() => null))
    expect(followed.broker.asked['/pki/ca.pem']).toBe(1)
  })

  test('that cannot be had leave everything refused, and are asked for again after a second', async () => {
    const { broker, time } = followed
    const signer = await broker.withAuthority()
    const good = broker.answers.get('/pki/ca.pem')
    answer('', 503)
    for (let tries = 0; tries < 20; tries++) expect(await refusedBy(signer)).toBe('authorities_unavailable')
    expect(broker.asked['/pki/ca.pem']).toBe(1)
    time.pass(1_100)
    broker.answers.set('/pki/ca.pem', good as () => void)
    expect(await refusedBy(signer)).toBeNull()
  })

  test('that are known serve while new ones cannot be had', async () => {
    const { broker, time } = followed
    const signer = await broker.withAuthority()
    expect(await refusedBy(signer)).toBeNull()
    answer('', 503)
    time.pass(301_000)
    broker.send(broker.tick())
    now = time.database()
    await expect.poll(() => (broker.asked['/pki/ca.pem'] ?? 0) > 1, { timeout: 10_000 }).toBe(true)
    expect(await refusedBy(signer)).toBeNull()
  })

  test.each<[string, string | Buffer, number]>([
    ['nothing', '', 200],
    ['no PEM', 'hello', 200],
    ['PEM of other things', writePem('PUBLIC KEY', randomBytes(90)), 200],
    ['text around it', `x\n${writePem('CERTIFICATE', randomBytes(90))}`, 200],
    ['more than there should be', writePem('CERTIFICATE', randomBytes(9)).repeat(257), 200],
    ['1 MB and more', ' '.repeat(1024 * 1024 + 1), 200],
    ['elsewhere', '', 302],
    ['gone', '', 404],
  ])('that are %s', async (_, body, status) => {
    const { broker } = followed
    const signer = await broker.withAuthority()
    broker.answers.set('/elsewhere', broker.answers.get('/pki/ca.pem') as () => void)
    answer(body, status, status === 302 ? { location: '/elsewhere' } : {})
    expect(await refusedBy(signer)).toBe('authorities_unavailable')
    expect(broker.asked['/elsewhere']).toBeUndefined()
  })

  test('among which one cannot be read are the others', async () => {
    const { broker } = followed
    const signer = await broker.withAuthority()
    answer(
      [randomBytes(90), ...broker.published.map(({ certificate }) => certificate)]
        .map(der => writePem('CERTIFICATE', der))
        .join('\n'),
    )
    expect(await refusedBy(signer)).toBeNull()
  })
})
