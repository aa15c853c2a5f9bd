import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { type Certificate, readCertificate } from '../../../src/attest/x509/certificate.ts'
import { findPath } from '../../../src/attest/x509/find-path.ts'
import { validatePath } from '../../../src/attest/x509/path.ts'
import { DerError } from '../../../src/der/read.ts'

interface Row {
  test: string
  name: string
  path: string[]
  settings?: {
    policies?: number[]
    explicitPolicy?: boolean
    inhibitPolicyMapping?: boolean
    inhibitAnyPolicy?: boolean
  }
  nist: 'valid' | 'invalid'
  ours: string
  because?: string
  policies?: (number | 'any')[]
}

const read = <T>(name: string): T =>
  JSON.parse(readFileSync(new URL(`pkits/${name}.json`, import.meta.url), 'utf8'))
const certificates = read<Record<string, string>>('certificates')
const table = read<Row[]>('table')

/** Within the validity of all but those that are meant to be outside of it. */
const now = Date.UTC(2026, 0, 1)
const root = load('TrustAnchorRootCertificate')
const isAboutRevocation = ({ test }: Row) => /^4\.(4|5|7|14|15)\./.test(test)

function load(name: string): Certificate {
  return readCertificate(Buffer.from(certificates[name] ?? '', 'base64'))
}

/** NIST's test policies, by number. */
const policyOid = (policy: number | 'any') =>
  policy === 'any' ? '2.5.29.32.0' : `2.16.840.1.101.3.2.1.48.${policy}`

const inputsOf = ({ settings = {} }: Row) => ({
  now,
  policies: {
    policies: settings.policies ? new Set(settings.policies.map(policyOid)) : null,
    explicitPolicy: settings.explicitPolicy ?? false,
    inhibitPolicyMapping: settings.inhibitPolicyMapping ?? false,
    inhibitAnyPolicy: settings.inhibitAnyPolicy ?? false,
  },
})

describe('the PKITS', () => {
  it.each(table)('$test $name: $nist to NIST, $ours to us', row => {
    const { nist, ours, because, policies = [] } = row
    if (ours === 'unreadable') {
      expect(() => row.path.map(load)).toThrow(DerError)
    } else {
      const path = row.path.map(load)
      const verdict = validatePath({ ...inputsOf(row), path, anchor: root })
      expect(verdict.fault ?? 'valid').toBe(ours)
      if (verdict.fault === null && nist === 'valid')
        expect(verdict.policies).toEqual(new Set(policies.map(policyOid)))
    }
    expect(because === undefined).toBe((ours === 'valid') === (nist === 'valid'))
  })

  it.each(table.filter(({ ours }) => ours !== 'unreadable'))(
    '$test $name: the path is found among others',
    row => {
      const path = row.path.map(load)
      const others = ['GoodCACert', 'NameOrderingCACert', 'BasicSelfIssuedNewKeyCACert'].map(load)
      const certificate = path.at(-1)
      if (!certificate) throw new Error('the path is empty')
      const intermediates = [...others, ...path.slice(0, -1).reverse(), root]
      const found = findPath({ ...inputsOf(row), certificate, intermediates, anchors: [root] })
      // A path whose links do not hold is no path.
      const fault = ['signature', 'name_chaining'].includes(row.ours) ? 'none' : row.ours
      if ('fault' in found) expect(found.fault).toBe(fault)
      else expect(found.path.map(({ der }) => der)).toEqual(path.map(({ der }) => der))
      expect('fault' in found).toBe(row.ours !== 'valid')
    },
  )

  it('disagrees with us where revocation or DSA decides, and nowhere else', () => {
    const disagreed = table.filter(({ because }) => because !== undefined)
    expect(disagreed.filter(row => row.nist === 'valid').map(({ test }) => test)).toEqual(['4.1.4', '4.1.5'])
    expect(disagreed.filter(row => row.nist === 'invalid' && !isAboutRevocation(row))).toEqual([])
  })

  it('is here in full', () => {
    expect(table).toHaveLength(249)
    expect(new Set(table.map(({ test }) => test.split(' ')[0])).size).toBe(224)
  })
})
