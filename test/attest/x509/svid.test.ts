import { createHash } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { oids } from '../../../src/der/oids.ts'
import { octetString } from '../../../src/der/write.ts'
import { type BundleEndpoint, createTrustDomain, type TestTrustDomain } from '../../support/spiffe.ts'
import {
  basicConstraints,
  type CertificateOptions,
  dnsName,
  emailName,
  extension,
  extKeyUsage,
  generateKeys,
  ipName,
  type KeyKind,
  keyUsage,
  makeAuthority,
  nameConstraints,
  type SvidSigners,
  signings,
  subjectAltName,
  uriName,
} from '../../support/x509.ts'
import { attestorFor, broker, clockSkew, outcome, spiffeSource } from '../sources.ts'

const second = 1_000
const minute = 60 * second
const hour = 60 * minute
/** The time of all that follows, however long it takes. */
const now = Math.floor(Date.now() / second) * second
const own = 'hallpass.example'
const id = 'spiffe://prod.example/ci/deployer'

let folder: string
let prod: TestTrustDomain
let file: string
let lab: TestTrustDomain
let endpoint: BundleEndpoint

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hallpass-x509-'))
})
afterAll(() => rm(folder, { recursive: true }))

/** Two trust domains at once: prod by a bundle file, lab by a bundle endpoint; a third one, of the broker's own, by mistake. */
async function setUp() {
  prod = createTrustDomain('prod.example', { now })
  lab = createTrustDomain('lab.example', { now })
  file = join(folder, `${crypto.randomUUID()}.json`)
  await prod.writeBundle(file)
  endpoint = await lab.serveBundle()
  const attestor = attestorFor(
    [
      spiffeSource({ trustDomain: 'prod.example', bundle: { file }, reuse: 'once' }),
      spiffeSource({ trustDomain: 'lab.example', name: 'lab', bundle: { url: endpoint.url } }),
      spiffeSource({ trustDomain: own, name: 'own', bundle: { file } }),
    ],
    { ownTrustDomain: own },
  )
  attestor.time.now = now
  const { attestCertificate } = attestor
  const attempt = (chain: Buffer[]) => outcome(attestCertificate(chain))
  /** Makes an SVID of prod and attests it. */
  const attemptSvid = (options: CertificateOptions & SvidSigners = {}) =>
    attempt(prod.x509.svid('/ci/deployer', options).chain)
  return { ...attestor, attempt, attemptSvid }
}
afterEach(() => endpoint?.close())

/** Extensions in the place of a good SVID's. */
const withExtension = (name: keyof typeof oids, value: Buffer | null): CertificateOptions => ({
  extensions: { [oids[name]]: value },
})
const withNames = (...names: Buffer[]) => withExtension('subjectAltName', subjectAltName(names))

describe('an X.509-SVID', () => {
  it('proves its SPIFFE ID, whichever of two trust domains it is of', async () => {
    const { attestCertificate, time } = await setUp()
    const { chain, certificate } = prod.x509.svid('/ci/deployer', { notAfter: time.now + 5 * minute })
    const principal = await attestCertificate(chain)
    const sha256 = createHash('sha256').update(certificate)
    const x5tS256 = sha256.copy().digest('base64url')
    expect(principal).toEqual({
      id,
      kind: 'workload',
      trust: 'prod',
      tags: { sub: id },
      groups: [],
      template: null,
      attestation: {
        sha256: sha256.digest('hex'),
        useKey: expect.stringMatching(/^[0-9a-f]{64}$/),
        acceptableUntil: time.now + 5 * minute,
        reuse: 'any',
        x5tS256,
      },
    })
    expect((await attestCertificate(lab.x509.svid('/ci/deployer').chain)).id).toBe(
      'spiffe://lab.example/ci/deployer',
    )
  })

  it('is the same attestation with whatever chain, and another one than its digest alone', async () => {
    const { attestCertificate } = await setUp()
    const { chain, certificate } = prod.x509.svid('/ci/deployer')
    const { attestation } = await attestCertificate(chain)
    const root = prod.x509.roots[0]?.certificate ?? Buffer.of()
    expect((await attestCertificate([certificate, root])).attestation).toEqual(attestation)
    expect(attestation.useKey).not.toBe(attestation.sha256)
  })

  it('is acceptable until the first certificate of its path ends', async () => {
    const { attestCertificate, time } = await setUp()
    const notAfter = time.now + 2 * minute
    const signer = prod.x509.intermediate({ notAfter })
    expect(
      (await attestCertificate(prod.x509.svid('/x', { signer }).chain)).attestation.acceptableUntil,
    ).toBe(notAfter)
  })

  it.each<[string, CertificateOptions & SvidSigners]>([
    [
      'with other names beside its URI',
      withNames(dnsName('a.example'), uriName(id), emailName('a@b.example'), ipName(1, 2, 3, 4)),
    ],
    ['without extended key usage', withExtension('extKeyUsage', null)],
    ['for clients of TLS alone', withExtension('extKeyUsage', extKeyUsage([oids.clientAuth], true))],
    ['whose key also agrees on keys', withExtension('keyUsage', keyUsage([0, 2, 4]))],
    ['without subject, its names critical', { subject: '' }],
    [
      'with an extension that is not known and not critical',
      { moreExtensions: [extension('1.2.3.4', false, octetString())] },
    ],
    ['that starts within the clock skew', { notBefore: now + clockSkew - 5 * second }],
    [
      'without key identifiers',
      { extensions: { [oids.authorityKeyIdentifier]: null, [oids.subjectKeyIdentifier]: null } },
    ],
  ])('is accepted %s', async (_, options) => {
    const { attemptSvid } = await setUp()
    expect(await attemptSvid(options)).toBe('accepted')
  })

  it.each<KeyKind>(['P-256', 'P-384', 'P-521', 'Ed25519', 'RSA'])(
    'may have a key of the kind %s',
    async keyKind => {
      const { attemptSvid } = await setUp()
      expect(await attemptSvid({ keyKind })).toBe('accepted')
    },
  )

  it.each<[string, string, CertificateOptions & SvidSigners]>([
    ['with no URI', 'uri', withNames(dnsName('prod.example'))],
    ['with no names', 'uri', withExtension('subjectAltName', null)],
    ['with two URIs', 'uri', withNames(uriName(id), uriName('spiffe://prod.example/admin'))],
    ['with its URI twice', 'uri', withNames(uriName(id), uriName(id))],
    [
      'with a second URI that is no SPIFFE ID',
      'uri',
      withNames(uriName(id), uriName('https://prod.example/')),
    ],
    ['with a URI of another scheme', 'subject', withNames(uriName('https://prod.example/ci'))],
    ['named after a trust domain', 'subject', withNames(uriName('spiffe://prod.example'))],
    ['with a trailing slash', 'subject', withNames(uriName('spiffe://prod.example/ci/'))],
    ['with capitals in its trust domain', 'subject', withNames(uriName('spiffe://PROD.example/ci'))],
    ['with percent-encoding', 'subject', withNames(uriName('spiffe://prod.example/%63i'))],
    ['with a query', 'subject', withNames(uriName(`${id}?a=b`))],
    ['with a NUL in its URI', 'certificate', withNames(uriName(`${id}\0`))],
    ['of another trust domain', 'path', withNames(uriName('spiffe://lab.example/ci/deployer'))],
    [
      'of a trust domain that is not configured',
      'issuer_unknown',
      withNames(uriName('spiffe://evil.example/ci')),
    ],
    [
      'of a trust domain below the configured one',
      'issuer_unknown',
      withNames(uriName('spiffe://x.prod.example/ci')),
    ],
    ['of the broker’s own trust domain', 'own_certificate', withNames(uriName(`spiffe://${own}/task/1`))],
    ['without subject, its names not critical', 'names', { subject: '', ...withNames(uriName(id)) }],
    ['that is an authority’s', 'authority', withExtension('basicConstraints', basicConstraints(true))],
    ['with a path length', 'authority', withExtension('basicConstraints', basicConstraints(false, 0))],
    ['without basic constraints', 'authority', withExtension('basicConstraints', null)],
    ['without key usage', 'key_usage', withExtension('keyUsage', null)],
    ['with a key usage that is not critical', 'key_usage', withExtension('keyUsage', keyUsage([0], false))],
    ['whose key is not for signing', 'key_usage', withExtension('keyUsage', keyUsage([2]))],
    ['whose key signs certificates', 'key_usage', withExtension('keyUsage', keyUsage([0, 5]))],
    ['whose key signs CRLs', 'key_usage', withExtension('keyUsage', keyUsage([0, 6]))],
    ['for servers alone', 'ext_key_usage', withExtension('extKeyUsage', extKeyUsage([oids.serverAuth]))],
    [
      'with a critical extension that is not known',
      'critical_extension',
      { moreExtensions: [extension('1.2.3.4', true, octetString())] },
    ],
    ['that has expired', 'expired', { notAfter: now - second }],
    ['that is not valid yet', 'not_yet_valid', { notBefore: now + clockSkew + 5 * second }],
    ['with a key of 1,024 bits', 'weak_key', { keyKind: 'RSA-1024' }],
    ['with the exponent 1', 'weak_key', { keyKind: 'RSA-e1' }],
    ['signed over SHA-1', 'weak_key', { signing: signings.ecdsaSha1 }],
    [
      'whose algorithm is another than the one inside',
      'certificate',
      { innerAlgorithm: signings.ecdsaSha384.algorithm },
    ],
    ['with an extension twice', 'certificate', { moreExtensions: [keyUsage([0])] }],
    [
      'with 10,000 extensions',
      'chain_size',
      {
        moreExtensions: Array.from({ length: 10_000 }, (_, n) =>
          extension(`1.2.3.${n}`, false, octetString()),
        ),
      },
    ],
    [
      'with 100 extensions',
      'certificate',
      {
        moreExtensions: Array.from({ length: 100 }, (_, n) => extension(`1.2.3.${n}`, false, octetString())),
      },
    ],
    ['signed by its own key', 'path', { signer: makeAuthority({ subject: 'prod.example root' }) }],
  ])('is refused %s', async (_, reason, options) => {
    const { attemptSvid } = await setUp()
    expect(await attemptSvid(options)).toBe(reason)
  })

  it('is refused with anything before, after or in the place of it', async () => {
    const { attempt } = await setUp()
    const { certificate } = prod.x509.svid('/ci/deployer')
    expect(await attempt([])).toBe('certificate')
    expect(await attempt([Buffer.concat([certificate, Buffer.of(0)])])).toBe('certificate')
    expect(await attempt([certificate.subarray(0, -1)])).toBe('certificate')
    expect(await attempt([Buffer.alloc(0)])).toBe('certificate')
    expect(await attempt([certificate, Buffer.from('nonsense')])).toBe('certificate')
    expect(await attempt([Buffer.alloc(65 * 1024, certificate)])).toBe('chain_size')
    expect(await attempt(Array.from({ length: 17 }, () => certificate))).toBe('chain_size')
    expect(await attempt(Array.from({ length: 16 }, () => certificate))).toBe('accepted')
  })

  it('is refused when its signature is of another key under the same name', async () => {
    const { attemptSvid } = await setUp()
    const root = prod.x509.roots[0]
    if (!root) throw new Error('there is no root')
    expect(await attemptSvid({ signer: { ...root, ...generateKeys() } })).toBe('path')
  })
})

describe('the signers between an X.509-SVID and its trust domain’s authority', () => {
  /** Attests an SVID by a new authority under the root. */
  async function attemptBelow(options: CertificateOptions & { pathLength?: number | null }) {
    const { attemptSvid } = await setUp()
    return attemptSvid({ signer: prod.x509.intermediate(options) })
  }

  it('may be several, in any order, the root among them, and twice', async () => {
    const { attempt } = await setUp()
    const { x509 } = prod
    const first = x509.intermediate()
    const second = x509.intermediate({ signer: first })
    const third = x509.intermediate({ signer: second })
    const others = [x509.roots[0], second, lab.x509.intermediate(), third, second, first]
    const intermediates = others.filter(one => one !== undefined)
    expect(await attempt(x509.svid('/a', { signer: third, intermediates }).chain)).toBe('accepted')
    expect(await attempt(x509.svid('/a', { signer: third, intermediates: [third, first] }).chain)).toBe(
      'path',
    )
  })

  it('may have a root among them whose own signature nobody would accept', async () => {
    const { attempt } = await setUp()
    const old = makeAuthority({ subject: 'prod.example root', signing: signings.ecdsaSha1 })
    expect(await attempt([...prod.x509.svid('/a').chain, old.certificate])).toBe('accepted')
    expect(await attempt(prod.x509.svid('/a', { signer: old }).chain)).toBe('path')
  })

  it('are eight at most, the SVID among them', async () => {
    const { attempt } = await setUp()
    const signers = [prod.x509.intermediate()]
    while (signers.length < 8) signers.push(prod.x509.intermediate({ signer: signers.at(-1)! }))
    const chainOf = (length: number) =>
      prod.x509.svid('/a', { signer: signers[length - 1]!, intermediates: signers.slice(0, length) }).chain
    expect(await attempt(chainOf(7))).toBe('accepted')
    expect(await attempt(chainOf(8))).toBe('path')
  })

  it.each<[string, string, CertificateOptions & { pathLength?: number | null }]>([
    ['lack basic constraints', 'signer', withExtension('basicConstraints', null)],
    ['are no authorities', 'signer', withExtension('basicConstraints', basicConstraints(false))],
    ['may not sign certificates', 'signer', withExtension('keyUsage', keyUsage([6]))],
    ['do not say what their key is for', 'signer', withExtension('keyUsage', null)],
    ['have expired', 'expired', { notAfter: now - second }],
    ['are not valid yet', 'not_yet_valid', { notBefore: now + hour }],
    ['have a weak key', 'weak_key', { keyKind: 'RSA-1024' }],
    ['are signed over SHA-1', 'weak_key', { signing: signings.ecdsaSha1 }],
    [
      'have a critical extension that is not known',
      'critical_extension',
      { moreExtensions: [extension('1.2.3.4', true, octetString())] },
    ],
    ['are of another trust domain', 'signer_domain', withNames(uriName('spiffe://lab.example'))],
    [
      'are of a trust domain twice',
      'signer_domain',
      withNames(uriName('spiffe://prod.example'), uriName('spiffe://prod.example')),
    ],
    ['are named like a workload', 'signer_domain', withNames(uriName('spiffe://prod.example/ca'))],
    [
      'are of two trust domains',
      'signer_domain',
      withNames(uriName('spiffe://prod.example'), uriName('spiffe://lab.example')),
    ],
    ['are for servers alone', 'ext_key_usage', withExtension('extKeyUsage', extKeyUsage([oids.serverAuth]))],
    [
      'permit another trust domain alone',
      'name_constraints',
      withExtension('nameConstraints', nameConstraints({ permitted: [uriName('lab.example')] })),
    ],
    [
      'permit domains below alone',
      'name_constraints',
      withExtension('nameConstraints', nameConstraints({ permitted: [uriName('.prod.example')] })),
    ],
    [
      'exclude the trust domain',
      'name_constraints',
      withExtension('nameConstraints', nameConstraints({ excluded: [uriName('prod.example')] })),
    ],
    [
      'exclude all above',
      'name_constraints',
      withExtension('nameConstraints', nameConstraints({ excluded: [uriName('.example')] })),
    ],
    [
      'constrain names so that nobody can tell',
      'name_constraints',
      withExtension('nameConstraints', nameConstraints({ excluded: [uriName('https://lab.example/')] })),
    ],
  ])('are refused when they %s', async (_, reason, options) => {
    expect(await attemptBelow(options)).toBe(reason)
  })

  it.each<[string, CertificateOptions & { pathLength?: number | null }]>([
    [
      'permit the trust domain',
      withExtension('nameConstraints', nameConstraints({ permitted: [uriName('prod.example')] })),
    ],
    [
      'permit it among others, and exclude another',
      withExtension(
        'nameConstraints',
        nameConstraints({
          permitted: [uriName('lab.example'), uriName('.example')],
          excluded: [uriName('lab.example')],
        }),
      ),
    ],
    [
      'constrain names of other forms',
      withExtension('nameConstraints', nameConstraints({ permitted: [dnsName('a.example')] })),
    ],
    ['are named after no trust domain', withExtension('subjectAltName', null)],
    ['allow no further authority', { pathLength: 0 }],
    [
      'are for clients among others',
      withExtension('extKeyUsage', extKeyUsage([oids.serverAuth, oids.clientAuth])),
    ],
  ])('are accepted when they %s', async (_, options) => {
    expect(await attemptBelow(options)).toBe('accepted')
  })

  it('are refused where one above allows no more of them', async () => {
    const { attempt } = await setUp()
    const above = prod.x509.intermediate({ pathLength: 0 })
    const signer = prod.x509.intermediate({ signer: above })
    const chain = prod.x509.svid('/a', { signer, intermediates: [signer, above] }).chain
    expect(await attempt(chain)).toBe('path_length')
  })

  it('are refused when a workload is among them', async () => {
    const { attempt } = await setUp()
    const keys = generateKeys()
    const workload = prod.x509.svid('/a', { keys, subject: 'workload' })
    const signer = {
      ...keys,
      ...makeAuthority({ keys, subject: 'workload' }),
      certificate: workload.certificate,
    }
    expect(await attempt(prod.x509.svid('/admin', { signer }).chain)).toBe('signer')
  })

  it('are refused when they sign one another and nobody signs them', async () => {
    const { attempt } = await setUp()
    const [a, b] = [generateKeys(), generateKeys()]
    const one = makeAuthority({ keys: a, subject: 'one' }, now, makeAuthority({ keys: b, subject: 'two' }))
    const two = makeAuthority({ keys: b, subject: 'two' }, now, one)
    const chain = prod.x509.svid('/a', { signer: one, intermediates: [one, two, one] }).chain
    expect(await attempt(chain)).toBe('path')
  })

  it('are refused when they come from another trust domain’s authority', async () => {
    const { attempt } = await setUp()
    const signer = prod.x509.intermediate({ signer: lab.x509.roots[0]! })
    const chain = prod.x509.svid('/a', { signer, intermediates: [signer, lab.x509.roots[0]!] }).chain
    expect(await attempt(chain)).toBe('path')
  })
})

describe('the X.509 authorities of a bundle', () => {
  it('prove nothing of another trust domain, though both are trusted', async () => {
    const { attempt } = await setUp()
    const options = {
      extensions: { [oids.subjectAltName]: subjectAltName([uriName('spiffe://lab.example/x')]) },
    }
    expect(await attempt(prod.x509.svid('/x', options).chain)).toBe('path')
    expect(await attempt(lab.x509.svid('/x').chain)).toBe('accepted')
  })

  it('are no workloads, whatever they say', async () => {
    const { attempt } = await setUp()
    const keys = generateKeys()
    const names = { [oids.subjectAltName]: subjectAltName([uriName(id)]) }
    const asAuthority = makeAuthority({ keys, subject: 'prod.example odd', extensions: names })
    const asWorkload = makeAuthority({
      keys,
      subject: 'prod.example odd',
      extensions: {
        ...names,
        [oids.basicConstraints]: basicConstraints(false),
        [oids.keyUsage]: keyUsage([0]),
      },
    })
    prod.x509.roots.push(asAuthority, asWorkload)
    await prod.writeBundle(file)
    expect(await attempt([asAuthority.certificate])).toBe('authority')
    // Not an authority's, so that the bundle is read without it.
    prod.x509.roots = [asWorkload]
    await prod.writeBundle(file)
    const { attempt: attemptAfresh } = await setUpAgain()
    expect(await attemptAfresh([asWorkload.certificate])).toBe('path')
  })

  /** Another attestor for the bundle file as it is now. */
  async function setUpAgain() {
    const attestor = attestorFor([spiffeSource({ trustDomain: 'prod.example', bundle: { file } })])
    attestor.time.now = now
    return { ...attestor, attempt: (chain: Buffer[]) => outcome(attestor.attestCertificate(chain)) }
  }

  it.each<[string, string, CertificateOptions]>([
    ['that has expired', 'expired', { notAfter: now - second }],
    ['that is not valid yet', 'not_yet_valid', { notBefore: now + hour }],
    ['that has a weak key', 'path', { keyKind: 'RSA-1024' }],
    ['that is no authority', 'path', withExtension('basicConstraints', null)],
    ['that may not sign certificates', 'path', withExtension('keyUsage', keyUsage([6]))],
    [
      'that excludes the trust domain',
      'name_constraints',
      withExtension('nameConstraints', nameConstraints({ excluded: [uriName('prod.example')] })),
    ],
    [
      'that has a critical extension that is not known',
      'critical_extension',
      { moreExtensions: [extension('1.2.3.4', true, octetString())] },
    ],
  ])('prove nothing by one %s', async (_, reason, options) => {
    await setUp()
    prod.x509.roots = [makeAuthority({ subject: 'prod.example root', ...options })]
    await prod.writeBundle(file)
    const { attempt } = await setUpAgain()
    expect(await attempt(prod.x509.svid('/a').chain)).toBe(reason)
  })

  it('may limit the length of paths', async () => {
    await setUp()
    const root = makeAuthority(withExtension('basicConstraints', basicConstraints(true, 0)))
    prod.x509.roots = [root]
    await prod.writeBundle(file)
    const { attempt } = await setUpAgain()
    expect(await attempt(prod.x509.svid('/a').chain)).toBe('accepted')
    const signer = prod.x509.intermediate({ signer: root })
    expect(await attempt(prod.x509.svid('/a', { signer }).chain)).toBe('path_length')
  })

  it('prove nothing for longer than they last themselves', async () => {
    await setUp()
    prod.x509.roots = [makeAuthority({ subject: 'root', notAfter: now + 2 * minute }, now)]
    await prod.writeBundle(file)
    const { attestCertificate } = await setUpAgain()
    const { attestation } = await attestCertificate(prod.x509.svid('/a').chain)
    expect(attestation.acceptableUntil).toBe(now + 2 * minute)
  })

  it('when none are left, prove nothing, and neither does what was remembered', async () => {
    const { attempt, time } = await setUp()
    const { chain } = prod.x509.svid('/a')
    expect(await attempt(chain)).toBe('accepted')
    const [root] = prod.x509.roots
    prod.x509.roots = []
    await prod.writeBundle(file)
    time.now += 5 * second
    expect(await attempt(chain)).toBe('path')
    expect(await attempt(prod.x509.svid('/b', { signer: root! }).chain)).toBe('path')
  })

  it('when replaced, no longer prove what was remembered', async () => {
    const { attempt, time } = await setUp()
    const { chain } = lab.x509.svid('/a')
    expect(await attempt(chain)).toBe('accepted')
    expect(await attempt(chain)).toBe('accepted')
    expect(endpoint.requests).toBe(1)
    lab.x509.rotate()
    time.now += minute
    expect(await attempt(chain)).toBe('path')
    expect(await attempt(lab.x509.svid('/a').chain)).toBe('accepted')
  })

  it('are asked for again when a chain leads to none of them, and not again for half a minute', async () => {
    const { attempt, time } = await setUp()
    expect(await attempt(lab.x509.svid('/a').chain)).toBe('accepted')
    lab.x509.rotate()
    const { chain } = lab.x509.svid('/a')
    expect(await attempt(chain)).toBe('path')
    expect(endpoint.requests).toBe(1)
    time.now += 30 * second
    expect(await attempt(chain)).toBe('accepted')
    expect(endpoint.requests).toBe(2)
    lab.x509.rotate()
    for (let n = 0; n < 5; n++) expect(await attempt(lab.x509.svid('/b').chain)).toBe('path')
    expect(endpoint.requests).toBe(2)
  })

  it('that are away are told from ones that do not know the chain', async () => {
    const { attempt } = await setUp()
    endpoint.fault = 'error'
    expect(await attempt(lab.x509.svid('/a').chain)).toBe('unavailable: keys_unreachable')
    expect(await attempt(prod.x509.svid('/a').chain)).toBe('accepted')
  })

  it('come beside the JWT-SVID keys, in one load', async () => {
    const { attempt, attest } = await setUp()
    expect(await attempt(lab.x509.svid('/a').chain)).toBe('accepted')
    expect(await outcome(attest(lab.svid('/a', { audience: broker, now })))).toBe('accepted')
    expect(endpoint.requests).toBe(1)
  })
})

describe('a chain that was accepted before', () => {
  it('is refused once its time is over', async () => {
    const { attempt, time } = await setUp()
    const { chain } = lab.x509.svid('/a', { notAfter: time.now + 20 * second })
    expect(await attempt(chain)).toBe('accepted')
    time.now += 20 * second
    expect(await attempt(chain)).toBe('accepted')
    time.now += 1
    expect(await attempt(chain)).toBe('expired')
    expect(endpoint.requests).toBe(1)
  })

  it('is refused by a clock that was set back before its time', async () => {
    const { attempt, time } = await setUp()
    const { chain } = prod.x509.svid('/a', { notBefore: time.now })
    expect(await attempt(chain)).toBe('accepted')
    time.now -= 10 * minute
    expect(await attempt(chain)).toBe('not_yet_valid')
  })

  it('says nothing for the same SVID with another chain', async () => {
    const { attempt } = await setUp()
    const signer = prod.x509.intermediate()
    const { chain, certificate } = prod.x509.svid('/a', { signer })
    expect(await attempt(chain)).toBe('accepted')
    expect(await attempt([certificate])).toBe('path')
  })

  it('is found again as the same principal', async () => {
    const { attestCertificate } = await setUp()
    const { chain } = prod.x509.svid('/a')
    expect(await attestCertificate(chain)).toBe(await attestCertificate(chain.map(der => Buffer.from(der))))
  })
})
