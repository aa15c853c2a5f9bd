import { describe, expect, it } from 'vitest'
import { type Certificate, readCertificate } from '../../../src/attest/x509/certificate.ts'
import { findPath } from '../../../src/attest/x509/find-path.ts'
import { validatePath } from '../../../src/attest/x509/path.ts'
import { oids } from '../../../src/der/oids.ts'
import { tags } from '../../../src/der/tags.ts'
import { element, oid, sequence } from '../../../src/der/write.ts'
import {
  basicConstraints,
  type CertificateOptions,
  extension,
  generateKeys,
  type KeyKind,
  makeAuthority,
  makeCertificate,
  type Signing,
  signings,
  type TestAuthority,
} from '../../support/x509.ts'

const now = Date.now()
const root = makeAuthority({ subject: 'root' })
const read = ({ certificate }: { certificate: Certificate | Buffer }): Certificate =>
  Buffer.isBuffer(certificate) ? readCertificate(certificate) : certificate
const leafOf = (signer: TestAuthority, options: CertificateOptions = {}) =>
  readCertificate(makeCertificate({ subject: 'leaf', notBefore: now - 60_000, ...options }, signer))
const below = (signer: TestAuthority, options: CertificateOptions = {}) => makeAuthority(options, now, signer)

function find(certificate: Certificate, intermediates: TestAuthority[], anchors: TestAuthority[] = [root]) {
  const found = findPath({
    certificate,
    intermediates: intermediates.map(read),
    anchors: anchors.map(read),
    now,
  })
  return 'fault' in found ? found.fault : found.path.length
}

describe('a path', () => {
  it('goes by signatures, not by names or key identifiers', () => {
    const impostor = makeAuthority({ subject: 'root' })
    expect(find(leafOf(root), [], [impostor, root])).toBe(1)
    expect(find(leafOf(impostor), [], [root])).toBe('none')
    const misled = { extensions: { [oids.authorityKeyIdentifier]: null } }
    expect(find(leafOf(root, misled), [], [impostor, root])).toBe(1)
  })

  it('is found where the same authority has several certificates, one of them good', () => {
    const keys = generateKeys()
    const expired = below(root, { keys, subject: 'ca', notAfter: now - 1_000 })
    const odd = below(root, { keys, subject: 'ca', extensions: { [oids.basicConstraints]: null } })
    const good = below(root, { keys, subject: 'ca' })
    for (const bag of [
      [expired, odd, good],
      [good, odd, expired],
      [odd, expired, good, good],
    ])
      expect(find(leafOf(good), bag)).toBe(2)
    expect(find(leafOf(good), [expired, odd])).toBe('expired')
  })

  it('may cross from one hierarchy to another', () => {
    const other = makeAuthority({ subject: 'other root' })
    const keys = generateKeys()
    const cross = below(other, { keys, subject: 'ca' })
    const straight = below(root, { keys, subject: 'ca' })
    expect(find(leafOf(straight), [cross, straight])).toBe(2)
    expect(find(leafOf(straight), [straight], [other])).toBe('none')
    expect(find(leafOf(straight), [straight, cross], [other])).toBe(2)
  })

  it('does not go around in circles', () => {
    const [a, b] = [generateKeys(), generateKeys()]
    const one = makeAuthority({ keys: a, subject: 'one' }, now, makeAuthority({ keys: b, subject: 'two' }))
    const two = makeAuthority({ keys: b, subject: 'two' }, now, one)
    const self = makeAuthority({ keys: a, subject: 'one' })
    expect(find(leafOf(one), [one, two, self])).toBe('none')
    expect(find(read(one), [one, two, self])).toBe('none')
    expect(find(read(root), [root])).toBe(1)
  })

  it('takes no more work where everybody signed everybody', () => {
    const all = Array.from({ length: 8 }, (_, n) => makeAuthority({ subject: `ca ${n}` }))
    const mesh = all.flatMap(authority =>
      all
        .filter(other => other !== authority)
        .map(other => makeAuthority({ keys: authority, subject: authority.name }, now, other)),
    )
    const strangers = Array.from({ length: 100 }, () => makeAuthority({ subject: 'ca 0' }))
    const before = performance.now()
    expect(find(leafOf(all[3]!), mesh)).toBe('none')
    expect(find(leafOf(all[3]!), mesh, strangers)).toBe('none')
    expect(performance.now() - before).toBeLessThan(5_000)
    const signed = below(root, { keys: all[0]!, subject: all[0]!.name })
    expect(find(leafOf(all[0]!), [...mesh.slice(0, 15), signed])).toBe(2)
  })

  it('is given up after so many steps', () => {
    // From 'ca 0' on, each has three certificates, all signed by the next; a fourth of 'ca 0' is the root's.
    const layers = Array.from({ length: 6 }, (_, n) => makeAuthority({ subject: `ca ${n}` }))
    const maze = layers.slice(0, 5).flatMap((authority, n) => {
      const next = layers[n + 1]!
      return [1, 2, 3].map(() => makeAuthority({ keys: authority, subject: authority.name }, now, next))
    })
    const out = below(root, { keys: layers[0]!, subject: layers[0]!.name })
    expect(find(leafOf(out), [out, ...maze])).toBe(2)
    expect(find(leafOf(out), [...maze, out])).toBe('none')
  })

  it('is given up after so many signatures', () => {
    const impostors = Array.from({ length: 32 }, () => makeAuthority({ subject: 'root' }))
    const unnamed = { extensions: { [oids.authorityKeyIdentifier]: null } }
    expect(find(leafOf(root), [], [...impostors, root])).toBe(1)
    expect(find(leafOf(root, unnamed), [], [...impostors.slice(1), root])).toBe(1)
    expect(find(leafOf(root, unnamed), [], [...impostors, root])).toBe('none')
  })

  it('is given up after some that are complete and not valid', () => {
    const keys = generateKeys()
    const expired = makeAuthority({ keys, subject: 'root', notAfter: now - 1_000 })
    const good = makeAuthority({ keys, subject: 'root' })
    expect(find(leafOf(good), [], [...Array(15).fill(expired), good])).toBe(1)
    expect(find(leafOf(good), [], [...Array(16).fill(expired), good])).toBe('expired')
  })

  it('is as long as its anchor says, authorities that renew themselves aside', () => {
    const keys = generateKeys()
    const short = makeAuthority({
      subject: 'short',
      keys,
      extensions: { [oids.basicConstraints]: basicConstraints(true, 0) },
    })
    const renewed = below(short, { subject: 'short' })
    const other = below(short, { subject: 'other' })
    expect(find(leafOf(renewed), [renewed], [short])).toBe(2)
    expect(find(leafOf(other), [other], [short])).toBe('path_length')
  })
})

describe('the policies of a path', () => {
  it('take no more work however they are mapped', () => {
    // Each certificate maps each of its policies to all of them: a tree would have 10 ** 7 nodes at the end.
    const policies = Array.from({ length: 10 }, (_, n) => `1.2.3.${n + 1}`)
    const mapped = {
      [oids.certificatePolicies]: extension(
        oids.certificatePolicies,
        true,
        sequence(...policies.map(id => sequence(oid(id)))),
      ),
      [oids.policyMappings]: extension(
        oids.policyMappings,
        true,
        sequence(...policies.flatMap(from => policies.map(to => sequence(oid(from), oid(to))))),
      ),
    }
    const path: TestAuthority[] = []
    for (let n = 0; n < 7; n++)
      path.push(below(path.at(-1) ?? root, { subject: `ca ${n}`, extensions: mapped }))
    const { [oids.policyMappings]: _, ...unmapped } = mapped
    const leaf = leafOf(path.at(-1)!, { extensions: unmapped })
    const before = performance.now()
    const asked = {
      policies: new Set(['1.2.3.4']),
      explicitPolicy: true,
      inhibitPolicyMapping: false,
      inhibitAnyPolicy: false,
    }
    const verdict = validatePath({
      path: [...path.map(read), leaf],
      anchor: read(root),
      now,
      policies: asked,
    })
    expect(verdict).toEqual({ fault: null, policies: new Set(['1.2.3.4']) })
    expect(performance.now() - before).toBeLessThan(5_000)
  })

  it('are as an anchor asks for them', () => {
    const asks = (skip: number) => ({
      [oids.policyConstraints]: extension(
        oids.policyConstraints,
        true,
        sequence(element(0x80, Buffer.of(skip))),
      ),
    })
    const strict = makeAuthority({ subject: 'strict', extensions: asks(5) })
    const policy = {
      [oids.certificatePolicies]: extension(
        oids.certificatePolicies,
        false,
        sequence(sequence(oid('1.2.3'))),
      ),
    }
    expect(find(leafOf(strict), [], [strict])).toBe('policies')
    expect(find(leafOf(strict, { extensions: policy }), [], [strict])).toBe(1)
    expect(find(leafOf(root, { extensions: asks(0) }), [])).toBe('policies')
    expect(find(leafOf(root, { extensions: asks(1) }), [])).toBe(1)
    const middle = below(root, { subject: 'middle', extensions: asks(0) })
    expect(find(leafOf(middle), [middle])).toBe('policies')
  })
})

describe('a signature', () => {
  const authorities = new Map(
    (['P-256', 'P-384', 'P-521', 'Ed25519', 'RSA', 'RSA-1024'] satisfies KeyKind[]).map(
      keyKind => [keyKind as string, makeAuthority({ subject: keyKind, keyKind })] as const,
    ),
  )
  const verdict = (kind: string, signing: Signing) => {
    const signer = authorities.get(kind)!
    return find(leafOf(signer, { signing }), [], [signer])
  }

  it.each<[string, keyof typeof signings]>([
    ['P-256', 'ecdsaSha256'],
    ['P-256', 'ecdsaSha512'],
    ['P-384', 'ecdsaSha384'],
    ['P-521', 'ecdsaSha512'],
    ['Ed25519', 'ed25519'],
    ['RSA', 'rsaSha256'],
    ['RSA', 'rsaSha384'],
    ['RSA', 'rsaSha512'],
    ['RSA', 'pssSha256'],
    ['RSA', 'pssSha384'],
    ['RSA', 'pssSha512'],
  ])('by %s with %s is accepted', (kind, name) => {
    expect(verdict(kind, signings[name])).toBe(1)
  })

  it.each<[string, string, Signing]>([
    ['P-256', 'SHA-1', signings.ecdsaSha1],
    ['RSA', 'SHA-1', signings.rsaSha1],
    ['RSA-1024', 'a short key', signings.rsaSha256],
    ['RSA', 'another padding than it says', { ...signings.pssSha256, isPss: false }],
    ['RSA', 'PSS that it does not say', { ...signings.rsaSha256, isPss: true }],
    ['RSA', 'another hash than it says', { ...signings.rsaSha256, hash: 'sha512' }],
    ['P-256', 'the algorithm of RSA', { ...signings.ecdsaSha256, algorithm: signings.rsaSha256.algorithm }],
    [
      'P-256',
      'parameters that do not belong',
      { ...signings.ecdsaSha256, algorithm: sequence(oid(oids.ecdsaWithSha256), element(tags.null)) },
    ],
    [
      'P-256',
      'an algorithm of no known name',
      { ...signings.ecdsaSha256, algorithm: sequence(oid('1.2.3')) },
    ],
  ])('by %s with %s is refused', (kind, _, signing) => {
    expect(verdict(kind, signing)).toBe('none')
  })
})
