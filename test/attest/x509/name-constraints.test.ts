import { describe, expect, it } from 'vitest'
import { readCertificate } from '../../../src/attest/x509/certificate.ts'
import { areNamesAllowed } from '../../../src/attest/x509/name-constraints.ts'
import { oids } from '../../../src/der/oids.ts'
import { constructed, primitive, tags } from '../../../src/der/tags.ts'
import { element, octetString, oid, sequence, set } from '../../../src/der/write.ts'
import {
  directoryName,
  distinguishedName,
  dnsName,
  emailName,
  generateKeys,
  ipName,
  makeCertificate,
  nameConstraints,
  subjectAltName,
  uriName,
} from '../../support/x509.ts'

const keys = generateKeys()
const signer = { ...keys, name: distinguishedName({ [oids.commonName]: 'authority' }) }
type Constraints = Parameters<typeof nameConstraints>[0]

/** Whether a certificate with that name may be below ones with these constraints. */
function allows(
  constraints: Constraints | Constraints[],
  name: Buffer | null,
  subject: string | Buffer = '',
): boolean {
  const extensions = name ? { [oids.subjectAltName]: subjectAltName([name], true) } : {}
  const certificate = readCertificate(makeCertificate({ keys, subject, extensions }, signer))
  const state = [constraints].flat().map(one => {
    const above = makeCertificate(
      { keys, extensions: { [oids.nameConstraints]: nameConstraints(one) } },
      signer,
    )
    const read = readCertificate(above).extensions.nameConstraints
    if (!read) throw new Error('there are no constraints')
    return read
  })
  return areNamesAllowed(certificate, state)
}
const permits = (base: Buffer, name: Buffer) => allows({ permitted: [base] }, name)
const excludes = (base: Buffer, name: Buffer) => !allows({ excluded: [base] }, name)

/** Base, name, and whether the name is within the base: null where nobody can tell. */
const places: [Buffer, Buffer, boolean | null][] = [
  [uriName('prod.example'), uriName('spiffe://prod.example/a'), true],
  [uriName('PROD.example'), uriName('spiffe://prod.example/a'), true],
  [uriName('prod.example'), uriName('https://user@prod.example:8443/a?b#c'), true],
  [uriName('prod.example'), uriName('spiffe://x.prod.example/a'), false],
  [uriName('prod.example'), uriName('spiffe://xprod.example/a'), false],
  [uriName('prod.example'), uriName('spiffe://lab.example/prod.example'), false],
  [uriName('prod.example'), uriName('https://prod.example@lab.example/'), false],
  [uriName('prod.example'), uriName('https://lab.example?@prod.example/'), false],
  [uriName('prod.example'), uriName('https://lab.example#@prod.example/'), false],
  [uriName('.example'), uriName('spiffe://prod.example/a'), true],
  [uriName('.prod.example'), uriName('spiffe://prod.example/a'), false],
  [uriName(''), uriName('spiffe://prod.example/a'), true],
  [uriName('prod.example'), uriName('urn:prod.example'), null],
  [uriName('prod.example'), uriName('spiffe:///a'), null],
  [uriName('prod.example'), uriName('https://1.2.3.4/'), null],
  [uriName('prod.example'), uriName('https://[::1]/'), null],
  [uriName('prod.example'), uriName('https://prod.example./'), null],
  [uriName('prod.example'), uriName('https://prod%2eexample/'), null],
  [uriName('spiffe://prod.example'), uriName('spiffe://prod.example/a'), null],
  [dnsName('a.example'), dnsName('a.example'), true],
  [dnsName('a.example'), dnsName('B.A.Example'), true],
  [dnsName('a.example'), dnsName('ba.example'), false],
  [dnsName('a.example'), dnsName('example'), false],
  [dnsName('.a.example'), dnsName('b.a.example'), true],
  [dnsName('.a.example'), dnsName('a.example'), false],
  [dnsName(''), dnsName('a.example'), true],
  [dnsName('a.example'), dnsName('*.a.example'), true],
  [dnsName('b.a.example'), dnsName('*.a.example'), null],
  [dnsName('b.a.example'), dnsName('*.c.example'), false],
  [dnsName('a.example'), dnsName('a.example.'), null],
  [dnsName('a.example'), dnsName('a..example'), null],
  [dnsName('a.example'), dnsName('a b'), null],
  [dnsName('a..example'), dnsName('a.example'), null],
  [emailName('a.example'), emailName('me@a.example'), true],
  [emailName('a.example'), emailName('me@A.Example'), true],
  [emailName('a.example'), emailName('me@b.a.example'), false],
  [emailName('.a.example'), emailName('me@b.a.example'), true],
  [emailName('.a.example'), emailName('me@a.example'), false],
  [emailName('me@a.example'), emailName('me@a.example'), true],
  [emailName('me@a.example'), emailName('you@a.example'), false],
  [emailName('me@a.example'), emailName('me@b.example'), false],
  [emailName('me@a.example'), emailName('ME@a.example'), null],
  [emailName('a.example'), emailName('a.example'), null],
  [emailName('a.example'), emailName('"x@b.example"@a.example'), null],
  [ipName(10, 0, 0, 0, 255, 0, 0, 0), ipName(10, 1, 2, 3), true],
  [ipName(10, 0, 0, 0, 255, 0, 0, 0), ipName(11, 1, 2, 3), false],
  [ipName(10, 0, 0, 0, 255, 0, 255, 0), ipName(10, 1, 0, 3), null],
  [ipName(...Array(32).fill(0)), ipName(...Array(16).fill(1)), true],
  [ipName(...Array(32).fill(0)), ipName(1, 1, 1, 1), false],
  [directoryName(''), directoryName('a'), true],
  [directoryName('A'), directoryName('a'), true],
  [directoryName('a'), directoryName('b'), false],
  [
    directoryName('a'),
    directoryName(distinguishedName({ [oids.commonName]: 'a', [oids.organizationName]: 'b' })),
    true,
  ],
  [
    directoryName(distinguishedName({ [oids.commonName]: 'a', [oids.organizationName]: 'b' })),
    directoryName('a'),
    false,
  ],
]

describe('a constraint on names', () => {
  it.each(
    places.map(([base, name, isWithin]) => ({
      base: base.toString('latin1', 2),
      name: name.toString('latin1', 2),
      isWithin,
      case: [base, name] as const,
    })),
  )('$base holds $name: $isWithin', ({ isWithin, case: [base, name] }) => {
    expect(permits(base, name)).toBe(isWithin === true)
    expect(excludes(base, name)).toBe(isWithin !== false)
  })

  it('says nothing of names of other forms', () => {
    const bases = [
      uriName('a.example'),
      dnsName('b.example'),
      emailName('c.example'),
      ipName(1, 2, 3, 4, 255, 255, 255, 255),
    ]
    const names = [
      uriName('https://x.example/'),
      dnsName('x.example'),
      emailName('x@x.example'),
      ipName(9, 9, 9, 9),
    ]
    for (const [place, base] of bases.entries())
      for (const [other, name] of names.entries()) {
        expect(permits(base, name)).toBe(place !== other)
        expect(excludes(base, name)).toBe(false)
      }
  })

  it.each([
    ['otherName', element(constructed(0), oid('1.2.3'), element(constructed(0), octetString()))],
    ['registeredID', element(primitive(8), Buffer.of(0x2a, 3))],
  ])('of a form that is not understood refuses every name of it: %s', (_, name) => {
    expect(permits(name, name)).toBe(false)
    expect(excludes(name, name)).toBe(true)
    expect(permits(name, uriName('spiffe://prod.example/a'))).toBe(true)
  })

  it('of several permits what is in one, and no more than every certificate above permits', () => {
    const [a, b] = [uriName('a.example'), uriName('b.example')]
    const name = uriName('spiffe://a.example/x')
    expect(allows({ permitted: [b, a] }, name)).toBe(true)
    expect(allows([{ permitted: [a, b] }, { permitted: [a] }], name)).toBe(true)
    expect(allows([{ permitted: [a, b] }, { permitted: [b] }], name)).toBe(false)
    expect(allows([{ permitted: [a] }, { excluded: [a] }], name)).toBe(false)
    expect(allows([{ excluded: [a] }, { permitted: [a] }], name)).toBe(false)
  })

  it('holds for the subject, and for the mail in it where no other name says one', () => {
    const attribute = (type: string, text: string) =>
      set(sequence(oid(type), element(tags.ia5String, Buffer.from(text))))
    const subject = sequence(attribute(oids.emailAddress, 'me@b.example'))
    expect(allows({ permitted: [directoryName('x')] }, null, 'y')).toBe(false)
    expect(allows({ permitted: [directoryName('x')] }, null, 'x')).toBe(true)
    expect(allows({ permitted: [directoryName('x')] }, uriName('a:b'), '')).toBe(true)
    expect(allows({ permitted: [emailName('a.example')] }, null, subject)).toBe(false)
    expect(allows({ permitted: [emailName('a.example')] }, emailName('me@a.example'), subject)).toBe(true)
    expect(allows({ excluded: [emailName('b.example')] }, null, subject)).toBe(false)
  })
})
