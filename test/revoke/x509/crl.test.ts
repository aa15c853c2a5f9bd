import { execFile, execFileSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { oids } from '../../../src/der/oids.ts'
import { writePem } from '../../../src/der/pem.ts'
import { HallpassError } from '../../../src/errors.ts'
import { newId } from '../../../src/ids.ts'
import type { CertificateSigner } from '../../../src/mint/x509/signer.ts'
import { type CrlAsked, type CrlDeps, crls } from '../../../src/revoke/x509/crl.ts'
import { type Entry, entryWriter, serialOf } from '../../../src/revoke/x509/entry.ts'
import { entryPages, type Pages } from '../../../src/revoke/x509/pages.ts'
import { type CrlReason, crlReasons } from '../../../src/revoke/x509/reasons.ts'
import { readCrl } from '../../support/crl-reader.ts'
import { leafOf, newAuthority, testUrls } from '../../support/x509-authority.ts'

const run = promisify(execFile)
const minute = 60_000
const has = (program: string, ...args: string[]): boolean => {
  try {
    execFileSync(program, args, { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

const root = newAuthority()
const authority = newAuthority(root)
const write = entryWriter()

/** A record in which the test says what there is. */
let now: number
let entries: Map<string, Entry>
let pages: Pages
let version: number
let readings: number
let withdrawnByRecord: number | null
let listed: { signer: CertificateSigner; withdrawnAt: Date | null }[]
beforeEach(() => {
  now = Date.now()
  entries = new Map()
  pages = entryPages()
  version = 1
  readings = 0
  withdrawnByRecord = null
  listed = [{ signer: authority, withdrawnAt: null }]
})

function put(
  reason: CrlReason,
  { at = now, changedAt = at, jti = newId() }: { at?: number; changedAt?: number; jti?: string } = {},
): string {
  const entry = {
    der: write(serialOf(jti), at, reason),
    reason,
    at,
    changedAt,
    expiresAt: now + 15 * minute,
  }
  entries.set(jti, entry)
  pages.put(jti, entry)
  version += 1
  return jti
}

const deps: CrlDeps = {
  record: {
    async read() {
      readings += 1
      return {
        at: BigInt(now) * 1000n + BigInt(readings),
        of: () => ({ entries, complete: pages.complete, version, withdrawnAt: withdrawnByRecord }),
      }
    },
  },
  authorities: {
    list: () =>
      listed.map(({ signer, withdrawnAt }) => ({ kid: signer.kid, signer, rootKid: root.kid, withdrawnAt })),
    active: () => listed[0]?.signer ?? raise(new HallpassError('unavailable', 'No authority can sign yet.')),
    roots: { published: () => [{ kid: root.kid, signer: root }] },
  },
  urls: testUrls,
}
function raise(error: Error): never {
  throw error
}

const complete: CrlAsked = { kid: authority.kid, kind: 'complete' }
const delta: CrlAsked = { kid: authority.kid, kind: 'delta' }
const get = async (asked: CrlAsked, from = crls(deps)) => (await from(asked))!
const serials = (der: Buffer) =>
  readCrl(der)
    .entries.map(({ serial }) => serial)
    .sort()
const serialText = (jti: string) => jti.replaceAll('-', '')

describe('a complete CRL', () => {
  test('is version 2, of its authority, with its times, its number, where its delta is, and each entry', async () => {
    const held = put(crlReasons.certificateHold, { at: now - 90_500 })
    const unspecified = put(crlReasons.unspecified)
    const { der, thisUpdate, nextUpdate } = await get(complete)
    const crl = readCrl(der)
    expect(crl.version).toBe(1)
    expect(crl.thisUpdate).toBe(Math.floor(now / 1000) * 1000)
    expect(crl.nextUpdate - crl.thisUpdate).toBe(5 * minute)
    expect([thisUpdate * 1000, nextUpdate * 1000]).toEqual([crl.thisUpdate, crl.nextUpdate])
    expect(crl.extensions.map(({ id, critical }) => [id, critical])).toEqual([
      [oids.authorityKeyIdentifier, false],
      [oids.crlNumber, false],
      [oids.freshestCrl, false],
    ])
    expect(der.includes(`https://hallpass.test/pki/crl/${authority.kid}/delta`)).toBe(true)
    const [first, second] = crl.entries
    expect([first!.serial, first!.reason, first!.extensions]).toEqual([serialText(held), 6, 1])
    expect(first!.at).toBe(Math.floor((now - 90_500) / 1000) * 1000)
    // RFC 5280 §5.3.1: it should be absent instead.
    expect([second!.serial, second!.extensions]).toEqual([serialText(unspecified), 0])
    expect(await crl.verify(authority.certificate)).toBe(true)
  })

  test('of none has no list at all, and none of those that are good again', async () => {
    put(crlReasons.removeFromCrl)
    expect(readCrl((await get(complete)).der).entries).toEqual([])
  })

  test('has a number that grows with the moment of its reading, whichever replica made it', async () => {
    const replicas = [crls(deps), crls(deps), crls(deps)]
    const numbers: bigint[] = []
    for (let n = 0; n < 12; n++) {
      put(crlReasons.superseded)
      numbers.push(readCrl((await get(complete, replicas[n % 3])).der).number(oids.crlNumber))
    }
    expect(numbers).toEqual(numbers.toSorted((a, b) => (a < b ? -1 : 1)))
    expect(new Set(numbers).size).toBe(12)
    // RFC 5280 §5.2.3.
    expect(numbers.every(number => number < 1n << 159n)).toBe(true)
  })

  test('is never given the number of another, not even of the same moment', async () => {
    const numbers = new Set<bigint>()
    for (let n = 0; n < 20; n++) {
      readings = 0
      numbers.add(readCrl((await get(complete)).der).number(oids.crlNumber))
    }
    expect(numbers.size).toBe(20)
  })

  test('is served again for a second where nothing changed, and made anew at once where something did', async () => {
    const replica = crls(deps)
    const first = await get(complete, replica)
    now += 900
    expect(await get(complete, replica)).toBe(first)
    put(crlReasons.superseded)
    const second = await get(complete, replica)
    expect(serials(second.der)).toHaveLength(1)
    expect(second.entityTag).not.toBe(first.entityTag)
    now += 1_000
    expect(await get(complete, replica)).not.toBe(second)
    now -= 60_000
    expect((await get(complete, replica)).thisUpdate).toBe(Math.floor(now / 1000))
  })

  test('is made once for all who ask at once, and read anew for those who ask later', async () => {
    const replica = crls(deps)
    const [first, ...others] = await Promise.all(Array.from({ length: 50 }, () => get(complete, replica)))
    expect(new Set(others.slice(1)).size).toBeLessThanOrEqual(1)
    expect(first).toBeDefined()
    expect(readings).toBeLessThanOrEqual(2)
  })

  test('is there for a withdrawn authority, and for nobody else', async () => {
    listed = [{ signer: authority, withdrawnAt: new Date() }]
    put(crlReasons.caCompromise)
    expect(readCrl((await get(complete)).der).entries[0]!.reason).toBe(2)
    readings = 0
    expect(await crls(deps)({ kid: 'x', kind: 'complete' })).toBeNull()
    // Whoever guesses has nothing read for it.
    expect(readings).toBe(0)
    listed = []
    await expect(get({ kid: null, kind: 'complete' })).rejects.toMatchObject({ code: 'unavailable' })
  })

  test('is none where the record cannot be read', async () => {
    const away = crls({
      ...deps,
      record: { read: () => Promise.reject(new HallpassError('unavailable', 'Away.')) },
    })
    await expect(away(complete)).rejects.toMatchObject({ code: 'unavailable' })
  })
})

describe('a delta', () => {
  const window = 5 * minute

  test('begins before any complete CRL that has not run out, and says so critically', async () => {
    const replica = crls(deps)
    for (const ago of [0, 1, 2 * minute, window - 1]) {
      const then = now
      now -= ago
      const before = readCrl((await get(complete, crls(deps))).der).number(oids.crlNumber)
      now = then
      const crl = readCrl((await get(delta, replica)).der)
      const indicator = crl.extensions.find(({ id }) => id === oids.deltaCrlIndicator)!
      expect(indicator.critical).toBe(true)
      expect(crl.number(oids.deltaCrlIndicator)).toBeLessThanOrEqual(before)
      // RFC 5280 §5.2.6.
      expect(crl.extensions.some(({ id }) => id === oids.freshestCrl)).toBe(false)
    }
  })

  test('has what changed since, what was resumed too, and nothing older', async () => {
    const from = Math.floor(now / window) * window - window
    const ended = put(crlReasons.cessationOfOperation)
    const resumed = put(crlReasons.removeFromCrl, { at: from + 1 })
    // Held long ago, and its authority withdrawn since.
    const withdrawn = put(crlReasons.caCompromise, { at: from - 60 * minute, changedAt: from })
    // By another's clock, which is behind by no more than it may.
    const skewed = put(crlReasons.certificateHold, { at: from - 3 * minute })
    put(crlReasons.privilegeWithdrawn, { at: from - 3 * minute - 1 })
    const { der } = await get(delta)
    expect(serials(der)).toEqual([ended, resumed, withdrawn, skewed].map(serialText).sort())
    expect(readCrl(der).entries.find(one => one.serial === serialText(resumed))!.reason).toBe(8)
  })

  test('has the number of the complete one of the same reading', async () => {
    const [one, other] = await Promise.all([complete, delta].map(crls(deps)))
    const numbers = [one, other].map(crl => readCrl(crl!.der).number(oids.crlNumber))
    // The first to ask is read for alone.
    expect(numbers[1]! >= numbers[0]!).toBe(true)
  })
})

describe('of a root', () => {
  const ofRoot: CrlAsked = { kid: root.kid, kind: 'complete' }
  const { serialNumber } = new X509Certificate(authority.certificate)

  test('there is one of its authorities that were withdrawn, and no delta', async () => {
    expect(serials((await get(ofRoot)).der)).toEqual([])
    listed = [
      { signer: authority, withdrawnAt: new Date(now - minute) },
      { signer: newAuthority(root), withdrawnAt: null },
    ]
    const crl = readCrl((await get(ofRoot)).der)
    expect(crl.entries).toEqual([
      {
        serial: serialNumber.toLowerCase(),
        at: Math.floor((now - minute) / 1000) * 1000,
        reason: 2,
        extensions: 1,
      },
    ])
    expect(crl.extensions.map(({ id }) => id)).toEqual([oids.authorityKeyIdentifier, oids.crlNumber])
    expect(await crl.verify(root.certificate)).toBe(true)
    expect(await crls(deps)({ kid: root.kid, kind: 'delta' })).toBeNull()
  })

  test('it is made anew as soon as the record says that another authority was withdrawn', async () => {
    const replica = crls(deps)
    expect(serials((await get(ofRoot, replica)).der)).toEqual([])
    withdrawnByRecord = now
    expect(serials((await get(ofRoot, replica)).der)).toEqual([serialNumber.toLowerCase()])
  })

  test('there is none of a root that is not the broker’s own', async () => {
    const roots = { published: () => [{ kid: root.kid, signer: null }] }
    const replica = crls({ ...deps, authorities: { ...deps.authorities, roots } })
    expect(await replica(ofRoot)).toBeNull()
  })
})

describe('judged by programs that are not ours', () => {
  let dir: string
  const at = (name: string) => join(dir, name)
  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), 'hallpass-crl-'))
    writeFileSync(at('root.pem'), writePem('CERTIFICATE', root.certificate))
    writeFileSync(at('authority.pem'), writePem('CERTIFICATE', authority.certificate))
  })
  afterAll(() => rmSync(dir, { recursive: true, force: true }))

  const leaf = (jti: string, name = 'leaf.pem') => {
    writeFileSync(at(name), writePem('CERTIFICATE', leafOf(authority, jti)))
    return at(name)
  }
  async function crlFiles(...asked: CrlAsked[]): Promise<string> {
    const ders = await Promise.all(asked.map(async one => (await get(one)).der))
    writeFileSync(at('crls.pem'), ders.map(der => writePem('X509 CRL', der)).join(''))
    return at('crls.pem')
  }
  const ofRoot: CrlAsked = { kid: root.kid, kind: 'complete' }
  const openssl = async (...args: string[]) => {
    const { stdout, stderr } = await run('openssl', args).catch(
      (error: { stdout: string; stderr: string }) => error,
    )
    return stdout + stderr
  }
  const verify = (crl: string, cert: string, ...more: string[]) =>
    openssl(
      'verify',
      '-x509_strict',
      '-CAfile',
      at('root.pem'),
      '-untrusted',
      at('authority.pem'),
      '-CRLfile',
      crl,
      ...more,
      cert,
    )

  describe.skipIf(!has('openssl', 'version'))('openssl (skipped where there is none)', () => {
    test('reads it, and finds nothing wrong with its signature', async () => {
      put(crlReasons.certificateHold)
      writeFileSync(at('one.pem'), writePem('X509 CRL', (await get(complete)).der))
      const text = await openssl(
        'crl',
        '-text',
        '-noout',
        '-in',
        at('one.pem'),
        '-CAfile',
        at('authority.pem'),
      )
      expect(text).toContain('verify OK')
      expect(text).toContain('Version 2')
      expect(text).toContain('Certificate Hold')
      expect(text).toMatch(/X509v3 CRL Number:\s+(0x[0-9A-F]+|\d{20,})/)
      expect(text).toContain(`URI:${testUrls.crl(authority.kid)}/delta`)
    })

    test('takes a certificate that is good and refuses one that ended, and one of a withdrawn authority', async () => {
      const good = newId()
      expect(await verify(await crlFiles(complete), leaf(good), '-crl_check')).toContain('OK')
      const ended = put(crlReasons.cessationOfOperation)
      expect(await verify(await crlFiles(complete), leaf(ended), '-crl_check')).toContain(
        'certificate revoked',
      )
      const crl = await crlFiles(complete, ofRoot)
      expect(await verify(crl, leaf(good), '-crl_check_all')).toContain('OK')
      listed = [{ signer: authority, withdrawnAt: new Date() }]
      expect(await verify(await crlFiles(complete, ofRoot), leaf(good), '-crl_check_all')).toContain(
        'certificate revoked',
      )
    })

    test('reads the delta with a complete one of before: what ended since is refused, what was resumed is taken again', async () => {
      const [held, ended, good] = [newId(), newId(), newId()]
      now -= 4 * minute
      put(crlReasons.certificateHold, { jti: held })
      const base = writePem('X509 CRL', (await get(complete)).der)
      now += 4 * minute
      put(crlReasons.removeFromCrl, { jti: held })
      put(crlReasons.superseded, { jti: ended })
      const changes = writePem('X509 CRL', (await get(delta)).der)
      writeFileSync(at('base.pem'), base)
      writeFileSync(at('both.pem'), base + changes)
      const deltas = ['-crl_check', '-use_deltas', '-extended_crl']
      expect(await verify(at('base.pem'), leaf(held), ...deltas)).toContain('certificate revoked')
      expect(await verify(at('base.pem'), leaf(ended), ...deltas)).toContain('OK')
      expect(await verify(at('both.pem'), leaf(held), ...deltas)).toContain('OK')
      expect(await verify(at('both.pem'), leaf(ended), ...deltas)).toContain('certificate revoked')
      expect(await verify(at('both.pem'), leaf(good), ...deltas)).toContain('OK')
    })
  })

  describe.skipIf(!has('certtool', '--version'))('GnuTLS certtool (skipped where there is none)', () => {
    test('reads it, verifies it, and refuses a certificate that is on it', async () => {
      const [good, ended] = [newId(), put(crlReasons.privilegeWithdrawn)]
      const crl = await crlFiles(complete, ofRoot)
      writeFileSync(at('one.pem'), writePem('X509 CRL', (await get(complete)).der))
      const { stdout } = await run('certtool', [
        '--verify-crl',
        '--load-ca-certificate',
        at('authority.pem'),
        '--infile',
        at('one.pem'),
      ])
      expect(stdout).toMatch(/Verified/)
      const { stdout: info } = await run('certtool', ['--crl-info', '--infile', at('one.pem')])
      expect(info).toContain(serialText(ended))
      const chain = (jti: string) => {
        const text = [leafOf(authority, jti), authority.certificate, root.certificate]
        writeFileSync(at('chain.pem'), text.map(der => writePem('CERTIFICATE', der)).join(''))
        return run('certtool', [
          '--verify',
          '--load-ca-certificate',
          at('root.pem'),
          '--load-crl',
          crl,
          '--infile',
          at('chain.pem'),
        ]).then(
          ({ stdout: out }) => out,
          (error: { stdout: string; stderr: string }) => error.stdout + error.stderr,
        )
      }
      expect(await chain(good)).toContain('Chain verification output: Verified')
      expect(await chain(ended)).toMatch(/revoked/)
    })
  })
})
