import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { readCertificate as readByBroker } from '../../src/attest/x509/certificate.ts'
import { findPath } from '../../src/attest/x509/find-path.ts'
import { areNamesAllowed as areNamesAllowedByBroker } from '../../src/attest/x509/name-constraints.ts'
import { oids } from '../../src/der/oids.ts'
import { constructed, primitive } from '../../src/der/tags.ts'
import { element, integer, none, octetString, oid, sequence, set, utf8String } from '../../src/der/write.ts'
import { findAuthorities } from '../../src/verifier/authority-paths.ts'
import { readCertificate } from '../../src/verifier/certificate.ts'
import {
  areNamesAllowed,
  type NameConstraints,
  nameConstraints,
} from '../../src/verifier/name-constraints.ts'
import {
  nameConstraints as constraintsOf,
  directoryName,
  distinguishedName,
  dnsName,
  emailName,
  generateKeys,
  ipName,
  makeCertificate,
  subjectAltName,
  uriName,
} from '../support/x509.ts'
import { extension, nameOf, newAuthority, newKeyPair, newLeaf, type Signer } from './certificate-maker.ts'
import { certificateRefusal, type Followed, startFollowed } from './verifiers.ts'

const spiffe = uriName('spiffe://hallpass.example/task/x')
const permit = (...permitted: Buffer[]) => constraintsOf({ permitted })
const exclude = (...excluded: Buffer[]) => constraintsOf({ excluded })
const named = (...names: Buffer[]) => subjectAltName(names)
const constraints = (...content: Buffer[]) => extension(oids.nameConstraints, sequence(...content), true)
const permittedTree = (...content: Buffer[]) => constraints(element(constructed(0), sequence(...content)))

const [domain, mesh] = [uriName('hallpass.example'), dnsName('mesh.example')]
const [other, otherMesh] = [uriName('other.example'), dnsName('other.example')]
const otherForm = element(constructed(0), oid('1.2.3'), element(constructed(0), octetString()))

describe('under constraints of names', () => {
  let followed: Followed
  let now: number
  beforeEach(async () => {
    followed = await startFollowed()
    now = followed.time.database()
  })
  afterEach(() => followed.close())

  /** Publishes a root with these extensions, and below it an authority for each further list. */
  async function published(lists: Buffer[][], common: object = {}): Promise<Signer> {
    let by: Signer | undefined
    for (const more of lists) {
      by = await newAuthority({ now, more, ...common, ...(by && { by }) })
      followed.broker.published.push(by)
    }
    return by as Signer
  }

  /** How a certificate with these names fares by the last of such authorities. */
  async function fares(lists: Buffer[][], names: Buffer[] = [spiffe]): Promise<string | null> {
    const by = await published(lists)
    return certificateRefusal(followed.verifier, newLeaf({ now, by, names }).der)
  }

  test.each<[string, Buffer[][], Buffer[]?]>([
    ['its trust domain is permitted', [[], [permit(domain)]]],
    ['its trust domain is permitted by the root', [[permit(domain)], []]],
    ['its trust domain is permitted in capitals', [[], [permit(uriName('HallPass.Example'))]]],
    ['its trust domain is among those permitted', [[], [permit(other, domain)]]],
    ['what its trust domain is below is permitted', [[], [permit(uriName('.example'))]]],
    ['all URIs are permitted', [[], [permit(uriName(''))]]],
    ['all DNS names are permitted', [[], [permit(dnsName(''))]], [spiffe, mesh]],
    ['other trust domains are excluded', [[], [exclude(other)]]],
    ['other trust domains below one are excluded', [[], [exclude(uriName('.hallpass.example'))]]],
    [
      'every one above permits it',
      [[permit(uriName('.example'))], [permit(domain)], [permit(domain, other)]],
    ],
    ['its DNS names are permitted', [[], [permit(domain, mesh)]], [spiffe, dnsName('a.Mesh.example')]],
    [
      'its DNS names are below',
      [[], [permit(dnsName('.mesh.example'))]],
      [spiffe, dnsName('a.b.mesh.example')],
    ],
    ['only DNS names are constrained, and it has none', [[], [permit(mesh)]]],
    ['other DNS names are excluded', [[], [exclude(mesh)]], [spiffe, dnsName('xmesh.example')]],
    [
      'mail and IP addresses are constrained',
      [[], [permit(emailName('x.example'), ipName(...Array(8).fill(0)))]],
    ],
    [
      'a form is constrained that is not understood',
      [[], [constraintsOf({ permitted: [otherForm], excluded: [otherForm] })]],
    ],
    [
      'all IP addresses are excluded',
      [[], [exclude(ipName(...Array(8).fill(0)), ipName(...Array(32).fill(0)))]],
    ],
    ['they are not critical', [[], [constraintsOf({ permitted: [domain] }, false)]]],
    [
      'its authorities have names that are permitted',
      [[permit(domain, mesh)], [named(uriName('spiffe://hallpass.example'), mesh)], []],
    ],
    ['the root itself is outside of what it permits', [[permit(domain), named(other, otherMesh)], []]],
    [
      'an authority is outside of what it permits for those below',
      [[], [named(uriName('spiffe://other.example')), permit(domain)], []],
    ],
  ])('a certificate is taken where %s', async (_, lists, names) => {
    expect(await fares(lists, names)).toBeNull()
  })

  test.each<[string, Buffer[][], Buffer[]?]>([
    ['another trust domain is permitted', [[], [permit(other)]]],
    ['the root permits another', [[permit(other)], []]],
    ['one between permits another', [[], [permit(other)], []]],
    ['only trust domains below are permitted', [[], [permit(uriName('.hallpass.example'))]]],
    ['one that its own is below is permitted', [[], [permit(uriName('example'))]]],
    ['its trust domain is excluded', [[], [exclude(domain)]]],
    ['its trust domain is excluded in capitals', [[], [exclude(uriName('HALLPASS.EXAMPLE'))]]],
    [
      'its trust domain is permitted and excluded',
      [[], [constraintsOf({ permitted: [domain], excluded: [domain] })]],
    ],
    ['the root excludes what one below permits', [[exclude(uriName('.example'))], [permit(domain)], []]],
    ['one below the root permits more than the root', [[permit(other)], [permit(domain, other)], []]],
    ['two permit nothing in common', [[permit(domain)], [permit(other)], []]],
    ['all URIs are excluded', [[], [exclude(uriName(''))]]],
    ['a URI is permitted in place of a host', [[], [permit(uriName('spiffe://hallpass.example'))]]],
    ['a URI is excluded in place of a host', [[], [exclude(uriName('spiffe://other.example'))]]],
    [
      'one of its DNS names is not permitted',
      [[], [permit(mesh)]],
      [spiffe, dnsName('a.mesh.example'), otherMesh],
    ],
    ['its DNS name only ends so', [[], [permit(mesh)]], [spiffe, dnsName('xmesh.example')]],
    ['its DNS name is not below', [[], [permit(dnsName('.mesh.example'))]], [spiffe, mesh]],
    ['its DNS name is excluded', [[], [exclude(mesh)]], [spiffe, dnsName('a.mesh.example')]],
    [
      'its DNS name may stand for one that is excluded',
      [[], [exclude(dnsName('a.mesh.example'))]],
      [spiffe, dnsName('*.mesh.example')],
    ],
    [
      'its DNS name is none, and others are excluded',
      [[], [exclude(otherMesh)]],
      [spiffe, dnsName('a..mesh.example')],
    ],
    ['all DNS names are excluded', [[], [exclude(dnsName(''))]], [spiffe, mesh]],
    ['they are not critical, and permit another', [[], [constraintsOf({ permitted: [other] }, false)]]],
  ])('a certificate is refused where %s', async (_, lists, names) => {
    expect(await fares(lists, names)).toBe('certificate_name_refused')
  })

  test.each<[string, Buffer[][]]>([
    ['has a URI that is not permitted', [[permit(domain)], [named(uriName('spiffe://other.example'))]]],
    ['has a URI that is excluded', [[exclude(other)], [named(uriName('spiffe://other.example'))]]],
    ['has a URI without a host', [[permit(domain)], [named(uriName('urn:hallpass.example'))]]],
    ['has an address for a host', [[exclude(other)], [named(uriName('https://10.0.0.1/'))]]],
    ['has a DNS name that is not permitted', [[permit(mesh)], [named(mesh, otherMesh)]]],
    ['is under one that has', [[permit(mesh)], [named(otherMesh)], []]],
    [
      'is outside of what the root permits, though not of the one between',
      [[permit(domain)], [permit(domain, other)], [named(uriName('spiffe://other.example'))]],
    ],
    [
      'has mail where mail is constrained',
      [[permit(emailName('a.example'))], [named(emailName('me@a.example'))]],
    ],
    [
      'has an IP address where some are excluded',
      [[exclude(ipName(10, 0, 0, 0, 255, 0, 0, 0))], [named(ipName(11, 0, 0, 1))]],
    ],
    [
      'has a name of a form that is constrained and not understood',
      [[exclude(otherForm)], [named(otherForm)]],
    ],
    ['has a name of no known form', [[permit(domain)], [named(element(constructed(6), domain))]]],
    ['has names that are none', [[permit(domain)], [extension(oids.subjectAltName, none)]]],
    ['is of another directory than is permitted', [[permit(directoryName('other'))], []]],
    ['may be of a directory that is excluded', [[exclude(directoryName('other'))], []]],
    ['is of a directory, and all are excluded', [[exclude(directoryName(sequence()))], []]],
  ])('an authority is not believed that %s', async (_, lists) => {
    expect(await fares(lists)).toBe('authority_unknown')
  })

  test.each<[string, Buffer]>([
    ['are empty', constraints()],
    ['are no sequence', extension(oids.nameConstraints, none, true)],
    ['permit an empty list', constraints(element(constructed(0)))],
    ['exclude an empty list', constraints(element(constructed(1)))],
    [
      'are in the wrong order',
      constraints(element(constructed(1), sequence(domain)), element(constructed(0), sequence(domain))),
    ],
    [
      'have more than there should be',
      constraints(element(constructed(0), sequence(domain)), element(constructed(2))),
    ],
    ['have a base that is missing', permittedTree()],
    ['have a base that is no sequence', constraints(element(constructed(0), domain))],
    ['have a minimum', permittedTree(domain, element(primitive(0), Buffer.of(1)))],
    ['have a minimum that is spelt out', permittedTree(domain, element(primitive(0), Buffer.of(0)))],
    ['have a maximum', permittedTree(domain, element(primitive(1), Buffer.of(9)))],
    ['have a base of no known form', permittedTree(element(primitive(9), Buffer.from('a')))],
    ['have a base that is no ASCII', permittedTree(element(primitive(6), Buffer.from('hällpass.example')))],
    ['have an IP address without its mask', permittedTree(ipName(10, 0, 0, 0))],
    ['have a directory name that is none', permittedTree(element(constructed(4), integer(1)))],
    ['are too many', exclude(...Array(129).fill(other))],
  ])('an authority is not believed whose constraints %s, nor what is below it', async (_, more) => {
    expect(await fares([[], [more]])).toBe('authority_unknown')
    followed.broker.published = []
    followed.time.pass(11_000)
    followed.broker.send(followed.broker.tick())
    expect(await fares([[more], []])).toBe('authority_unknown')
  })

  test('with the directory that is permitted, an authority is believed', async () => {
    const root = await newAuthority({ now, more: [permit(directoryName('ours'))] })
    const by = await newAuthority({ now, by: root, name: 'ours' })
    followed.broker.published.push(root, by)
    expect(await certificateRefusal(followed.verifier, newLeaf({ now, by }).der)).toBeNull()
  })

  test('one that an authority issued to itself keeps its names, and passes the constraints on', async () => {
    const root = await newAuthority({ now, more: [permit(domain)] })
    const old = await newAuthority({ now, by: root, name: 'ours' })
    const outside = named(uriName('spiffe://other.example'))
    const by = await newAuthority({ now, by: old, name: 'ours', more: [outside] })
    followed.broker.published.push(root, old, by)
    expect(await certificateRefusal(followed.verifier, newLeaf({ now, by }).der)).toBeNull()
    const names = [uriName('spiffe://other.example/task/x')]
    expect(await certificateRefusal(followed.verifier, newLeaf({ now, by, names }).der)).toBe(
      'certificate_name_refused',
    )
  })

  test('by either of two roots, as long as by the one that lets the certificate have its names', async () => {
    const keys = newKeyPair()
    const [narrow, wide] = await Promise.all([
      newAuthority({ now, more: [permit(other)] }),
      newAuthority({ now, notAfter: now + 60_000 }),
    ])
    const by = await newAuthority({ now, by: narrow, keys, name: 'crossed' })
    const crossed = await newAuthority({ now, by: wide, keys, name: 'crossed' })
    followed.broker.published.push(narrow, by, wide, crossed)
    const { der } = newLeaf({ now, by })
    const { expiresAt } = await followed.verifier.verifyCertificate(der)
    expect(expiresAt.getTime()).toBeLessThanOrEqual(now + 60_000)
    followed.time.pass(60_000)
    followed.broker.send(followed.broker.tick())
    expect(await certificateRefusal(followed.verifier, der)).toBe('certificate_name_refused')
  })

  test('a certificate whose subject is not empty is held to those of directory names, and of mail', () => {
    const mail = sequence(set(sequence(oid(oids.emailAddress), utf8String('me@a.example'))))
    const allowed = (more: Buffer, subject: Buffer) =>
      areNamesAllowed(readCertificate(made([named(spiffe)], subject)), [constraintsIn(made([more]))])
    expect(allowed(permit(directoryName('y')), nameOf('x'))).toBe(false)
    expect(allowed(permit(directoryName('X')), nameOf('x'))).toBe(false)
    expect(allowed(permit(directoryName('x')), nameOf('x'))).toBe(true)
    expect(allowed(permit(directoryName('y')), sequence())).toBe(true)
    expect(allowed(exclude(directoryName('x')), nameOf('x'))).toBe(false)
    expect(allowed(exclude(directoryName('X')), nameOf('x'))).toBe(false)
    const longer = distinguishedName({ [oids.commonName]: 'x', [oids.organizationName]: 'y' })
    expect(allowed(permit(directoryName('x')), longer)).toBe(true)
    expect(allowed(permit(directoryName(longer)), nameOf('x'))).toBe(false)
    expect(allowed(exclude(directoryName(longer)), nameOf('x'))).toBe(true)
    expect(allowed(permit(emailName('a.example')), mail)).toBe(false)
    expect(allowed(exclude(emailName('b.example')), mail)).toBe(false)
    expect(allowed(permit(domain), mail)).toBe(true)
  })
})

describe('the broker, which reads the same for others’ certificates', () => {
  /** Both in the end: whether names are allowed under the constraints. */
  function allowedBy(lists: Buffer[], names: Buffer[], subject: string | Buffer = '') {
    const leaf = made(names.length > 0 ? [named(...names)] : [], subject)
    const above = lists.map(one => made([one]))
    return {
      verifier: areNamesAllowed(readCertificate(leaf), above.map(constraintsIn)),
      broker: areNamesAllowedByBroker(
        readByBroker(leaf),
        above.flatMap(one => readByBroker(one).extensions.nameConstraints ?? []),
      ),
    }
  }

  const label = fc.constantFrom('a', 'b', 'A', 'ab', 'a', 'b', 'a-b', '-a', 'a-', '_a', '1', '')
  const host = fc.array(label, { minLength: 1, maxLength: 4 }).map(labels => labels.join('.'))
  const base = fc.tuple(fc.constantFrom('', '', '.', '*.'), host).map(([dot, rest]) => dot + rest)
  const dnsText = fc.tuple(fc.constantFrom('', '', '*.', '.'), host, fc.constantFrom('', '', '.'))
  const uriText = fc.tuple(
    fc.constantFrom('spiffe://', 'https://', 'S://', 'spiffe:/', 'urn:', '://'),
    fc.constantFrom('', '', 'b@', 'b:c@', 'b@b@', '@'),
    host,
    fc.constantFrom('', '', ':1', ':', ':x', '.'),
    fc.constantFrom('', '/', '/a', '?a.b@a', '#a', '/a@b.a'),
  )
  const text = (parts: fc.Arbitrary<string[]>, make: (text: string) => Buffer) =>
    parts.map(list => make(list.join('')))
  const dns = text(dnsText, dnsName)
  const uri = text(uriText, uriName)
  const baseOf = fc.oneof(base.map(dnsName), base.map(uriName))

  test('agrees about hosts, whatever is above whichever name', () => {
    const list = fc
      .record({ permitted: fc.array(baseOf, { maxLength: 3 }), excluded: fc.array(baseOf, { maxLength: 2 }) })
      .filter(({ permitted, excluded }) => permitted.length + excluded.length > 0)
      .map(one => constraintsOf(one))
    const seen = { yes: 0, no: 0 }
    fc.assert(
      fc.property(
        fc.array(list, { minLength: 1, maxLength: 3 }),
        fc.array(fc.oneof(dns, uri), { maxLength: 2 }),
        (lists, names) => {
          const { verifier, broker } = allowedBy(lists, names)
          seen[verifier ? 'yes' : 'no'] += 1
          expect(verifier).toBe(broker)
        },
      ),
      { numRuns: 500 },
    )
    expect(Math.min(seen.yes, seen.no)).toBeGreaterThan(40)
  })

  test('agrees about one host and one base', () => {
    const pair = (names: fc.Arbitrary<Buffer>, bases: fc.Arbitrary<Buffer>) => fc.tuple(names, bases)
    fc.assert(
      fc.property(
        fc.oneof(pair(dns, base.map(dnsName)), pair(uri, base.map(uriName))),
        fc.boolean(),
        ([name, one], isPermitted) => {
          const { verifier, broker } = allowedBy([isPermitted ? permit(one) : exclude(one)], [name])
          expect(verifier).toBe(broker)
        },
      ),
      { numRuns: 500 },
    )
  })

  test('allows whatever the verifier allows, names of all forms among them', () => {
    const mail = fc.constantFrom('me@a', 'a', '.a', 'me@b.a').map(emailName)
    const ip = fc.constantFrom([10, 0, 0, 1], [11, 0, 0, 1])
    const subject = fc.constantFrom('', 'a', 'A', 'b')
    const nameOfAny = fc.oneof(
      dns,
      uri,
      mail,
      ip.map(bytes => ipName(...bytes)),
      subject.map(directoryName),
    )
    const masked = ip.map(bytes => ipName(...bytes, 255, 0, 0, 0))
    const any = fc.array(fc.oneof(baseOf, mail, masked, subject.map(directoryName)), { maxLength: 2 })
    const list = fc
      .record({ permitted: any, excluded: any })
      .filter(({ permitted, excluded }) => permitted.length + excluded.length > 0)
      .map(one => constraintsOf(one))
    let yes = 0
    fc.assert(
      fc.property(
        fc.array(list, { minLength: 1, maxLength: 2 }),
        fc.array(nameOfAny, { maxLength: 2 }),
        subject,
        (lists, names, own) => {
          const { verifier, broker } = allowedBy(lists, names, own)
          if (!verifier) return
          yes += 1
          expect(broker).toBe(true)
        },
      ),
      { numRuns: 500 },
    )
    expect(yes).toBeGreaterThan(40)
  })

  test('finds a path wherever the verifier does, and the other way round', async () => {
    const keys = [newKeyPair(), newKeyPair(), newKeyPair()]
    const bases = fc.constantFrom(domain, other, uriName('.example'), mesh, dnsName('example'), otherMesh)
    const list = fc
      .record({ permitted: fc.array(bases, { maxLength: 2 }), excluded: fc.array(bases, { maxLength: 1 }) })
      .filter(({ permitted, excluded }) => permitted.length + excluded.length > 0)
      .map(one => [constraintsOf(one)])
    const authorityNames = fc.constantFrom(
      [],
      [],
      [named(uriName('spiffe://hallpass.example'))],
      [named(mesh)],
    )
    const one = fc.tuple(fc.oneof(fc.constant([]), list), authorityNames).map(lists => lists.flat())
    const leafNames = fc.constantFrom<Buffer[][]>(
      [spiffe],
      [spiffe, mesh],
      [spiffe, dnsName('a.mesh.example'), otherMesh],
    )
    const seen = { yes: 0, no: 0 }
    await fc.assert(
      fc.asyncProperty(fc.tuple(one, one, one), leafNames, fc.boolean(), async (lists, names, isSelf) => {
        let by: Signer | undefined
        const chain: Signer[] = []
        for (const [at, more] of lists.entries()) {
          // The one between may have issued the last to itself.
          const name = at === 2 && isSelf ? 'authority 1' : `authority ${at}`
          by = await newAuthority({
            now: when,
            more,
            name,
            keys: keys[at] ?? newKeyPair(),
            ...(by && { by }),
          })
          chain.push(by)
        }
        const [root, ...between] = chain.map(({ certificate }) => certificate)
        const { der } = newLeaf({ now: when, by: by as Signer, names })
        const found = findPath({
          certificate: readByBroker(der),
          intermediates: between.map(readByBroker),
          anchors: [readByBroker(root as Buffer)],
          now: when,
        })
        const authorities = await findAuthorities(
          chain.map(({ certificate }) => readCertificate(certificate)),
        )
        const leaf = readCertificate(der)
        const verified = authorities.some(({ paths }) =>
          paths.some(path => areNamesAllowed(leaf, path.nameConstraints)),
        )
        seen[verified ? 'yes' : 'no'] += 1
        expect(verified).toBe(!('fault' in found))
      }),
      { numRuns: 150 },
    )
    expect(Math.min(seen.yes, seen.no)).toBeGreaterThan(15)
  })
})

describe('NIST’s paths under constraints of names', () => {
  const read = <T>(name: string): T =>
    JSON.parse(readFileSync(new URL(`../attest/x509/pkits/${name}.json`, import.meta.url), 'utf8'))
  const certificates = read<Record<string, string>>('certificates')
  const load = (name: string) => readCertificate(Buffer.from(certificates[name] ?? '', 'base64'))
  const rows = read<{ test: string; name: string; path: string[]; ours: string }[]>('table').filter(
    ({ test, ours }) => test.startsWith('4.13.') && ours !== 'unreadable',
  )

  test.each(rows)('$test $name', ({ name, path, ours }) => {
    const above: NameConstraints[] = []
    let isAllowed = true
    for (const [at, certificate] of path.map(load).entries()) {
      const isSelfIssued = Buffer.from(certificate.issuer).equals(certificate.subject)
      if (!isSelfIssued || at === path.length - 1) isAllowed &&= areNamesAllowed(certificate, above)
      const own = nameConstraints(certificate.extensions)
      if (own) above.push(own)
    }
    // Of directory names and mail not everything is worked out: then the answer is no.
    if (ours !== 'valid' || /DNS|URI/.test(name)) expect(isAllowed).toBe(ours === 'valid')
  })
})

const when = Date.now()
const keys = generateKeys()
const above = { ...keys, name: nameOf('above') }

/** A certificate with these extensions. */
const made = (moreExtensions: Buffer[], subject: string | Buffer = ''): Buffer =>
  makeCertificate({ keys, subject, moreExtensions }, above)

/** What a certificate constrains. */
function constraintsIn(der: Buffer): NameConstraints {
  const read = nameConstraints(readCertificate(der).extensions)
  if (!read) throw new Error('there are none')
  return read
}
