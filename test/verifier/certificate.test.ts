import { randomBytes, randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { oids } from '../../src/der/oids.ts'
import { writePem } from '../../src/der/pem.ts'
import { constructed, primitive, tags } from '../../src/der/tags.ts'
import {
  bitString,
  bits,
  boolean,
  element,
  integer,
  none,
  octetString,
  oid,
  sequence,
  utf8String,
} from '../../src/der/write.ts'
import type { VerifierRefusal } from '../../src/verifier/refusal.ts'
import {
  dns,
  ecdsaWithSha256,
  extension,
  type LeafOptions,
  newAuthority,
  newKeyPair,
  type Signer,
  type TaskParts,
  taskValue,
  uri,
  uuid7,
  uuidBytes,
} from './certificate-maker.ts'
import { certificateRefusal, type Followed, startFollowed, until } from './verifiers.ts'

describe('a certificate', () => {
  let followed: Followed
  let authority: Signer
  beforeAll(async () => {
    followed = await startFollowed()
    authority = await followed.broker.withAuthority()
  })
  afterAll(() => followed.close())

  const refused = (options: Partial<LeafOptions> = {}, asked?: object) =>
    certificateRefusal(followed.verifier, followed.broker.certificate(options).der, asked)

  test('is verified, and tells for which task it is', async () => {
    const { broker, verifier, time } = followed
    const [taskId, root, parent] = [randomUUID(), randomUUID(), randomUUID()]
    const path = [
      { id: root, ver: 1 },
      { id: parent, ver: 70_000 },
    ]
    const notAfter = Math.floor(time.database() / 1000) * 1000 + 300_000
    const { der, jti, serial } = broker.certificate({
      notAfter,
      task: { taskId, taskVer: 3, path, audience: ['https://other.example', broker.audience] },
      names: [uri('spiffe://hallpass.example/task/x'), dns('a.example'), dns('b.example')],
    })
    const auth = await verifier.verifyCertificate(der, { scope: 'read deploy:prod' })
    expect(auth).toMatchObject({
      credential: 'certificate',
      taskId,
      taskVer: 3,
      taskPath: path,
      jti,
      serial: serial.toString('hex'),
      spiffeId: 'spiffe://hallpass.example/task/x',
      dnsNames: ['a.example', 'b.example'],
      scopes: ['deploy:prod', 'read'],
      audience: ['https://other.example', broker.audience],
      expiresAt: new Date(notAfter),
    })
    expect(Buffer.from(auth.certificate)).toEqual(der)
  })

  test('may be PEM, or the first of a chain, of which nothing else is looked at', async () => {
    const { verifier, broker } = followed
    const leaf = broker.certificate()
    const pem = leaf.pem + writePem('CERTIFICATE', authority.certificate)
    for (const chain of [
      leaf.pem,
      pem,
      [leaf.der],
      [leaf.der, authority.certificate],
      [leaf.der, randomBytes(9)],
    ])
      expect(await certificateRefusal(verifier, chain)).toBeNull()
    expect(await certificateRefusal(verifier, [authority.certificate, leaf.der])).not.toBeNull()
  })

  describe('is refused that is no certificate', () => {
    test.each<[string, unknown]>([
      ['nothing', new Uint8Array()],
      ['an empty chain', []],
      ['an empty text', ''],
      ['a number', 7],
      ['nothing at all', null],
      ['chance', randomBytes(500)],
      ['an empty sequence', sequence()],
      ['a text', 'certificate'],
    ])('%s', async (_, what) => {
      expect(await certificateRefusal(followed.verifier, what as Uint8Array)).toBe('certificate_malformed')
    })

    test('one with something after it, or cut off', async () => {
      const { der } = followed.broker.certificate()
      for (const wrong of [Buffer.concat([der, none, Buffer.of(0)]), der.subarray(0, -1), der.subarray(1)])
        expect(await certificateRefusal(followed.verifier, wrong)).toBe('certificate_malformed')
    })

    test('one that is too large', async () => {
      const more = [extension('1.2.3', randomBytes(70_000))]
      expect(await refused({ more })).toBe('certificate_malformed')
    })

    test('one with 10,000 extensions', async () => {
      const more = Array.from({ length: 10_000 }, (_, at) => extension(`1.2.${at}`, none))
      expect(await refused({ more })).toBe('certificate_malformed')
      const some = Array.from({ length: 65 }, (_, at) => extension(`1.2.${at}`, none))
      expect(await refused({ more: some })).toBe('certificate_malformed')
    })
  })

  test.each<[string, Partial<LeafOptions>, string]>([
    ['of version 1', { version: none as Buffer }, 'certificate_malformed'],
    ['of version 2', { version: element(constructed(0), integer(1)) }, 'certificate_malformed'],
    ['with something after its extensions', { after: [sequence()] }, 'certificate_malformed'],
    [
      'with an extension twice',
      { more: [extension(oids.hallpassTask, taskValue())] },
      'certificate_malformed',
    ],
    ['with two algorithms', { innerAlgorithm: sequence(oid(oids.ecdsaWithSha384)) }, 'certificate_malformed'],
    [
      'with a parameter where none belongs',
      {
        innerAlgorithm: sequence(oid(oids.ecdsaWithSha256), element(tags.null)),
        outerAlgorithm: sequence(oid(oids.ecdsaWithSha256), element(tags.null)),
      },
      'algorithm_refused',
    ],
    [
      'signed in another algorithm',
      {
        innerAlgorithm: sequence(oid(oids.ecdsaWithSha384)),
        outerAlgorithm: sequence(oid(oids.ecdsaWithSha384)),
      },
      'algorithm_refused',
    ],
    ['with a serial number that is none of ours', { serial: Uint8Array.of(7) }, 'certificate_type_wrong'],
    [
      'with a serial number that is no UUIDv7',
      { serial: uuidBytes('01890a5d-ac96-4b4b-8cce-b302099a8057') },
      'certificate_type_wrong',
    ],
    [
      'with a longer one',
      { serial: Buffer.concat([uuid7(Date.now()), Buffer.of(1)]) },
      'certificate_type_wrong',
    ],
    ['without a task', { instead: { [oids.hallpassTask]: null } }, 'certificate_type_wrong'],
    ['without basicConstraints', { instead: { [oids.basicConstraints]: null } }, 'certificate_type_wrong'],
    [
      'of an authority',
      {
        instead: { [oids.basicConstraints]: extension(oids.basicConstraints, sequence(boolean(true)), true) },
      },
      'certificate_type_wrong',
    ],
    [
      'that spells out that it is no authority',
      {
        instead: {
          [oids.basicConstraints]: extension(oids.basicConstraints, sequence(boolean(false)), true),
        },
      },
      'certificate_malformed',
    ],
    ['without keyUsage', { instead: { [oids.keyUsage]: null } }, 'certificate_type_wrong'],
    [
      'that signs nothing',
      { instead: { [oids.keyUsage]: extension(oids.keyUsage, bits(2), true) } },
      'certificate_type_wrong',
    ],
    [
      'that signs certificates',
      { instead: { [oids.keyUsage]: extension(oids.keyUsage, bits(0, 5), true) } },
      'certificate_type_wrong',
    ],
    [
      'that signs revocation lists',
      { instead: { [oids.keyUsage]: extension(oids.keyUsage, bits(0, 6), true) } },
      'certificate_type_wrong',
    ],
    ['without a purpose', { instead: { [oids.extKeyUsage]: null } }, 'certificate_usage_wrong'],
    ['for servers', { purposes: [oids.serverAuth] }, 'certificate_usage_wrong'],
    ['for OCSP', { purposes: [oids.ocspSigning] }, 'certificate_usage_wrong'],
    ['for anything', { purposes: ['2.5.29.37.0'] }, 'certificate_usage_wrong'],
    ['without a name', { instead: { [oids.subjectAltName]: null } }, 'certificate_type_wrong'],
    ['with DNS names alone', { names: [dns('a.example')] }, 'certificate_type_wrong'],
    [
      'with two URIs',
      { names: [uri('spiffe://hallpass.example/a'), uri('spiffe://hallpass.example/b')] },
      'certificate_type_wrong',
    ],
    ['with another URI', { names: [uri('https://hallpass.example/a')] }, 'certificate_type_wrong'],
    [
      'with a SPIFFE ID without a path',
      { names: [uri('spiffe://hallpass.example')] },
      'certificate_type_wrong',
    ],
    [
      'with a SPIFFE ID in another spelling',
      { names: [uri('spiffe://Hallpass.example/a')] },
      'certificate_type_wrong',
    ],
    [
      'with a SPIFFE ID that climbs',
      { names: [uri('spiffe://hallpass.example/a/../b')] },
      'certificate_type_wrong',
    ],
    [
      'with a SPIFFE ID with a slash at its end',
      { names: [uri('spiffe://hallpass.example/a/')] },
      'certificate_type_wrong',
    ],
    [
      'with a blank in a name',
      { names: [uri('spiffe://hallpass.example/a'), dns('a b')] },
      'certificate_malformed',
    ],
    [
      'with a name of another kind',
      { names: [uri('spiffe://hallpass.example/a'), element(primitive(7), Buffer.of(127, 0, 0, 1))] },
      'certificate_malformed',
    ],
    [
      'with what is critical and unknown',
      { more: [extension('1.2.3.4', none, true)] },
      'certificate_extension_unknown',
    ],
    [
      'with constraints of names',
      { more: [extension(oids.nameConstraints, sequence(), true)] },
      'certificate_extension_unknown',
    ],
    ['for another audience', { task: { audience: ['https://other.example'] } }, 'audience_wrong'],
    [
      'for an audience in another spelling',
      { task: { audience: ['https://deploy.example/'] } },
      'audience_wrong',
    ],
    [
      'with a scope that would pass for two',
      { task: { scopes: ['deploy:prod admin'] } },
      'certificate_malformed',
    ],
    ['with a scope that is none', { task: { scopes: [''] } }, 'certificate_malformed'],
    ['with a scope with quotation marks', { task: { scopes: ['a"b'] } }, 'certificate_malformed'],
  ])('%s is refused', async (_, options, code) => {
    expect(await refused(options)).toBe(code)
  })

  test('with what is unknown and not critical is taken', async () => {
    expect(await refused({ more: [extension('1.2.3.4', randomBytes(7))] })).toBeNull()
  })

  describe('whose task cannot be read is refused', () => {
    const id = octetString(uuidBytes(randomUUID()))
    const list = sequence(utf8String('a'))
    const forUs = sequence(utf8String('https://deploy.example'))
    test.each<[string, Buffer]>([
      ['of another version', taskValue({ version: 2 })],
      ['of version 0', taskValue({ version: 0 })],
      ['version of the task 0', taskValue({ taskVer: 0 })],
      ['version of a task above it 0', taskValue({ path: [{ id: randomUUID(), ver: 0 }] })],
      ['without scopes', taskValue({ scopes: [] })],
      ['without an audience', taskValue({ audience: [] })],
      ['1,001 scopes', taskValue({ scopes: Array(1001).fill('a') })],
      [
        'a negative version',
        sequence(integer(1), id, element(tags.integer, Buffer.of(0xff)), sequence(), list, forUs),
      ],
      [
        'a version in more bytes than it needs',
        sequence(integer(1), id, element(tags.integer, Buffer.of(0, 1)), sequence(), list, forUs),
      ],
      ['a version without bytes', sequence(integer(1), id, element(tags.integer), sequence(), list, forUs)],
      ['a version of 8 bytes', sequence(integer(1), id, integer(2n ** 60n), sequence(), list, forUs)],
      [
        'an ID of 15 bytes',
        sequence(integer(1), octetString(randomBytes(15)), integer(1), sequence(), list, forUs),
      ],
      [
        'an ID of 17 bytes',
        sequence(integer(1), octetString(randomBytes(17)), integer(1), sequence(), list, forUs),
      ],
      ['no path', sequence(integer(1), id, integer(1), list, forUs)],
      ['a path of other things', sequence(integer(1), id, integer(1), sequence(id), list, forUs)],
      [
        'more in a step of the path',
        sequence(integer(1), id, integer(1), sequence(sequence(id, integer(1), id)), list, forUs),
      ],
      [
        'scopes of another type',
        sequence(integer(1), id, integer(1), sequence(), sequence(octetString(Buffer.from('a'))), forUs),
      ],
      [
        'a scope that is no UTF-8',
        sequence(
          integer(1),
          id,
          integer(1),
          sequence(),
          sequence(element(tags.utf8String, Buffer.of(0xff))),
          forUs,
        ),
      ],
      ['more after it', sequence(integer(1), id, integer(1), sequence(), list, forUs, integer(1))],
      ['more behind it', Buffer.concat([taskValue(), Buffer.of(5, 0)])],
      ['nothing', none as Buffer],
    ])('%s', async (_, value) => {
      const instead = { [oids.hallpassTask]: extension(oids.hallpassTask, value) }
      expect(await refused({ instead })).toBe('certificate_malformed')
    })

    test('though what they are made of is taken', async () => {
      const value = sequence(integer(1), id, integer(1), sequence(), list, forUs)
      expect(
        await refused({ instead: { [oids.hallpassTask]: extension(oids.hallpassTask, value) } }),
      ).toBeNull()
    })
  })

  test.each<[string | undefined, TaskParts['scopes'], string | null]>([
    [undefined, ['a'], null],
    ['a', ['a'], null],
    ['a b', ['b', 'c', 'a'], null],
    ['a', ['A'], 'scope_insufficient'],
    ['deploy', ['deploy:prod'], 'scope_insufficient'],
    ['deploy:prod', ['deploy'], 'scope_insufficient'],
    ['a b', ['a'], 'scope_insufficient'],
  ])('for %j with %j: %s', async (scope, scopes, code) => {
    expect(await refused({ task: { scopes: scopes as string[] } }, { scope })).toBe(code)
  })

  test('that is asked for must be scopes', async () => {
    for (const scope of ['', 'a  b', 'a"'])
      await expect(
        followed.verifier.verifyCertificate(followed.broker.certificate().der, { scope }),
      ).rejects.toThrow(TypeError)
  })

  test('of a server is checked by a client that asks for it', async () => {
    const both = { purposes: [oids.clientAuth, oids.serverAuth] }
    expect(await refused({ purposes: [oids.serverAuth] }, { usage: 'serverAuth' })).toBeNull()
    expect(await refused({}, { usage: 'serverAuth' })).toBe('certificate_usage_wrong')
    expect(await refused(both, { usage: 'serverAuth' })).toBeNull()
    expect(await refused(both)).toBeNull()
  })

  describe('by whom', () => {
    test('another key under the authority’s name and identifier', async () => {
      const { privateKey } = newKeyPair()
      expect(await refused({ by: { ...authority, privateKey } })).toBe('signature_wrong')
    })

    test('an authority that is not published, or only names itself so', async () => {
      const now = followed.time.database()
      const stranger = await newAuthority({ now })
      expect(await refused({ by: stranger })).toBe('authority_unknown')
      expect(await refused({ by: { ...stranger, name: authority.name } })).toBe('authority_unknown')
      expect(await refused({ by: { ...stranger, keyId: authority.keyId } })).toBe('authority_unknown')
      expect(await refused({ by: { ...stranger, name: authority.name, keyId: authority.keyId } })).toBe(
        'signature_wrong',
      )
    })

    test('the root itself, which signs authorities alone', async () => {
      expect(await refused({ by: followed.broker.published[0] as Signer })).toBe('authority_unknown')
    })

    test('another certificate of a task', async () => {
      const leaf = followed.broker.certificate()
      expect(await refused({ by: { ...authority, privateKey: leaf.privateKey } })).toBe('signature_wrong')
    })

    test('the authority, though the certificate does not tell its key', async () => {
      expect(await refused({ instead: { [oids.authorityKeyIdentifier]: null } })).toBeNull()
    })

    test('an algorithm of the authority’s that is not the one of authorities', async () => {
      const { privateKey } = newKeyPair('RSA')
      expect(await refused({ by: { ...authority, privateKey } })).toBe('algorithm_refused')
    })

    test.each<[string, (r: Buffer, s: Buffer) => Buffer]>([
      ['nothing', () => none as Buffer],
      ['zeros', () => sequence(integer(0), integer(0))],
      ['a zero', r => sequence(element(tags.integer, r), integer(0))],
      [
        'of negative numbers',
        (r, s) => sequence(element(tags.integer, Buffer.of(0x80, ...r)), element(tags.integer, s)),
      ],
      [
        'of numbers longer than they need be',
        (r, s) => sequence(element(tags.integer, Buffer.of(0, 0, ...r)), element(tags.integer, s)),
      ],
      [
        'of three numbers',
        (r, s) => sequence(element(tags.integer, r), element(tags.integer, s), integer(1)),
      ],
      [
        'with something after it',
        (r, s) => Buffer.concat([sequence(element(tags.integer, r), element(tags.integer, s)), Buffer.of(0)]),
      ],
      ['as WebCrypto has them', (r, s) => Buffer.concat([r.subarray(-32), s.subarray(-32)])],
      ['too large', (_, s) => sequence(integer(2n ** 256n), element(tags.integer, s))],
    ])('a signature that is %s', async (_, spoilt) => {
      const { der } = followed.broker.certificate()
      const parts = partsOf(der)
      const wrong = sequence(parts.toBeSigned, parts.algorithm, bitString(spoilt(parts.r, parts.s)))
      expect(await certificateRefusal(followed.verifier, wrong)).toBe('signature_wrong')
      const right = sequence(
        parts.toBeSigned,
        ecdsaWithSha256,
        bitString(sequence(element(tags.integer, parts.r), element(tags.integer, parts.s))),
      )
      expect(await certificateRefusal(followed.verifier, right)).toBeNull()
    })
  })

  test('is a copy from the first moment: what becomes of the bytes meanwhile changes nothing', async () => {
    const { der } = followed.broker.certificate()
    const other = followed.broker.certificate({ by: { ...authority, privateKey: newKeyPair().privateKey } })
    const bytes = new Uint8Array(other.der)
    const verified = followed.verifier.verifyCertificate(bytes).catch((error: VerifierRefusal) => error.code)
    bytes.set(der.subarray(0, bytes.length))
    expect(await verified).toBe('signature_wrong')
  })
})

/** By the test's own reading. */
function partsOf(der: Buffer): { toBeSigned: Buffer; algorithm: Buffer; r: Buffer; s: Buffer } {
  const at = (bytes: Buffer, from: number): [Buffer, Buffer] => {
    const long = (bytes[from + 1] as number) & 0x80 ? (bytes[from + 1] as number) & 0x7f : 0
    const length = long ? bytes.readUIntBE(from + 2, long) : (bytes[from + 1] as number)
    const start = from + 2 + long
    return [bytes.subarray(from, start + length), bytes.subarray(start, start + length)]
  }
  const [, body] = at(der, 0)
  const [toBeSigned] = at(body, 0)
  const [algorithm] = at(body, toBeSigned.length)
  const [, signature] = at(body, toBeSigned.length + algorithm.length)
  const [, numbers] = at(signature, 1)
  const [whole, r] = at(numbers, 0)
  const [, s] = at(numbers, whole.length)
  return { toBeSigned, algorithm, r, s }
}

describe('of a certificate', () => {
  let followed: Followed
  beforeEach(async () => {
    followed = await startFollowed()
    await followed.broker.withAuthority()
  })
  afterEach(() => followed.close())

  const refused = (certificate: Uint8Array) => certificateRefusal(followed.verifier, certificate)
  const tell = (type: 'task' | 'credential' | 'key', data: object) =>
    followed.broker.send(followed.broker.event(type, { until: followed.broker.until(), ...data }))

  test('the life ends at notAfter, whatever is tolerated, and a clock that is set back gives none back', async () => {
    const { broker, time, verifier } = followed
    const notAfter = Math.floor(time.database() / 1000) * 1000 + 4_000
    const { der } = broker.certificate({ notAfter })
    time.pass(notAfter - time.clocks.wall() - 1)
    expect(await refused(der)).toBeNull()
    time.pass(1)
    expect(await refused(der)).toBe('certificate_expired')
    time.pass(60_000)
    broker.send(broker.tick())
    await until(() => verifier.state().fresh)
    time.setWall(-3_600_000)
    expect(await refused(der)).toBe('certificate_expired')
  })

  test('the beginning may be as far ahead as is tolerated', async () => {
    const { broker, time } = followed
    const now = Math.floor(time.database() / 1000) * 1000
    expect(await refused(broker.certificate({ notBefore: now + 5_000 }).der)).toBeNull()
    expect(await refused(broker.certificate({ notBefore: now + 7_000 }).der)).toBe(
      'certificate_not_yet_valid',
    )
  })

  test('the death is heard of: its task, a task above it, itself', async () => {
    const { broker, verifier } = followed
    const parent = randomUUID()
    const of = (task: TaskParts = {}) => broker.certificate({ task: { taskId: randomUUID(), ...task } })
    const taskId = randomUUID()
    const [closed, suspended, changed, child, single, alive] = [
      of({ taskId }),
      of(),
      of({ taskVer: 2 }),
      of({
        path: [
          { id: randomUUID(), ver: 1 },
          { id: parent, ver: 4 },
        ],
      }),
      of(),
      of(),
    ]
    const all = [closed, suspended, changed, child, single, alive].map(({ der }) => der)
    const auths = await Promise.all(all.map(der => verifier.verifyCertificate(der)))
    const signals = auths.map(auth => auth.signal)
    expect(verifier.state().signals).toBe(6)
    tell('task', { task_id: taskId, state: 'closed', ver: 1 })
    tell('task', { task_id: auths[1]?.taskId, state: 'suspended', ver: 1 })
    tell('task', { task_id: auths[2]?.taskId, state: 'open', ver: 3 })
    tell('task', { task_id: parent, state: 'open', ver: 5 })
    tell('credential', { jti: single.jti })
    await until(() => verifier.state().seq === 12)
    const codes = [
      'task_closed',
      'task_suspended',
      'task_changed',
      'task_changed',
      'credential_revoked',
      null,
    ]
    expect(await Promise.all(all.map(refused))).toEqual(codes)
    expect(signals.map(signal => (signal.reason as VerifierRefusal | undefined)?.code ?? null)).toEqual(codes)
    expect(verifier.state().signals).toBe(1)
    tell('task', { task_id: auths[1]?.taskId, state: 'open', ver: 1 })
    await until(() => verifier.state().seq === 13)
    expect(await refused(suspended.der)).toBeNull()
  })

  test('so it is with its authority, and the published ones are loaded again', async () => {
    const { broker, verifier, time } = followed
    const first = broker.published[1] as Signer
    const { der } = broker.certificate()
    const { signal } = await verifier.verifyCertificate(der)
    const second = await broker.withAuthority()
    const other = broker.certificate({ by: second })
    broker.published.splice(0, 2)
    time.pass(1)
    tell('key', { kid: first.kid })
    await until(() => signal.aborted)
    expect(signal.reason).toMatchObject({ code: 'key_withdrawn' })
    await until(async () => (await refused(der)) === 'authority_unknown')
    expect(await refused(other.der)).toBeNull()
  })

  test('and a withdrawn authority that is still published', async () => {
    const { broker, verifier } = followed
    const { der } = broker.certificate()
    tell('key', { kid: broker.published[1]?.kid })
    await until(() => verifier.state().seq === 8)
    expect(await refused(der)).toBe('key_withdrawn')
  })

  test('a withdrawn authority stays so when the feed tells of it no more, and the published ones cannot be had', async () => {
    const { broker, verifier, time } = followed
    const { der } = broker.certificate()
    expect(await refused(der)).toBeNull()
    broker.answers.set('/pki/ca.pem', (_, response) => response.writeHead(503).end())
    tell('key', { kid: broker.published[1]?.kid })
    await until(() => verifier.state().seq === 8)
    expect(await refused(der)).toBe('key_withdrawn')
    // What the broker signed with it has expired by then. What a thief signs has not.
    time.pass(1_800_000)
    for (const feed of broker.feeds) feed.cut()
    await until(() => verifier.state().fresh)
    expect(await refused(broker.certificate().der)).toBe('key_withdrawn')
    // Another record may be one from before that.
    broker.epoch = 'another'
    for (const feed of broker.feeds) feed.cut()
    await until(() => verifier.state().dead === 0 && verifier.state().fresh)
    expect(await refused(broker.certificate().der)).toBeNull()
  })

  test('the watching ends when it is released, or expires', async () => {
    const { broker, verifier, time } = followed
    const auth = await verifier.verifyCertificate(broker.certificate().der)
    expect(auth.isWatched).toBe(false)
    void auth.signal
    expect(auth.isWatched).toBe(true)
    auth.release()
    expect([auth.isWatched, verifier.state().signals]).toEqual([false, 0])
    const other = await verifier.verifyCertificate(broker.certificate().der)
    const { signal } = other
    time.pass(301_000)
    broker.send(broker.tick())
    await until(() => signal.aborted)
    expect(signal.reason).toMatchObject({ code: 'certificate_expired' })
  })

  test('a verifier that is closed takes none', async () => {
    const { der } = followed.broker.certificate()
    followed.verifier.close()
    expect(await refused(der)).toBe('verifier_closed')
  })

  test('nothing is asked about before the first one comes, nor for each', async () => {
    const { broker, time, verifier } = followed
    await verifier.verify(await broker.token())
    time.pass(600_000)
    await new Promise(resolve => setTimeout(resolve, 1_200))
    expect(broker.asked['/pki/ca.pem']).toBeUndefined()
    broker.send(broker.tick())
    for (let tries = 0; tries < 9; tries++) await refused(broker.certificate().der)
    expect(broker.asked['/pki/ca.pem']).toBe(1)
    expect(Object.keys(broker.asked).filter(path => path.startsWith('/pki/crl'))).toEqual([])
  })
})
