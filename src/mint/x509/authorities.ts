import { X509Certificate } from 'node:crypto'
import { HallpassError } from '../../errors.ts'
import type { MasterKey } from '../../secrets/master-key.ts'
import type { KeyRow } from '../../store/signing-keys.ts'
import { type Custody, type CustodyDeps, createCustody } from '../custody.ts'
import type { KeyTimes } from '../key-schedule.ts'
import { kidOf } from '../signing-key.ts'
import { type Authority, openAuthorityRow, wrapAuthorityKey } from './authority.ts'
import { authorityCertificate } from './authority-certificate.ts'
import { newPair } from './root.ts'
import { createRoots, type Roots } from './roots.ts'

/** The issuing authorities, kept as signing keys are, and the roots above them. */
export interface Authorities
  extends Pick<
    Custody<Authority>,
    'list' | 'published' | 'reload' | 'maintain' | 'rotate' | 'withdraw' | 'succeedBy'
  > {
  /** The one that signs now. Throws `unavailable` while there is none. */
  active(): Authority
  roots: Pick<Roots, 'published' | 'sequence' | 'succeedBy' | 'signing'>
}

export interface AuthoritiesDeps extends CustodyDeps {
  masterKey: MasterKey
  /** The broker's own. */
  trustDomain: string
  urls: CertificateUrls
}

/** Where to ask about certificates (contract §3). */
export interface CertificateUrls {
  /** Of an authority or a root. */
  crl(kid: string): string
  ocsp: string
}

export const certificateUrls = (issuer: string): CertificateUrls => {
  const base = `${issuer.replace(/\/$/, '')}/pki`
  return { crl: kid => `${base}/crl/${kid}`, ocsp: `${base}/ocsp` }
}

/** Before its first day clocks that are behind must take it already. Milliseconds. */
const ahead = 3_600_000

/** How long an authority's certificate is valid from its first day on: it signs for `active`, and what it signed must end before it. */
const validFrom = ({ active, notice, ttlMax }: KeyTimes): number => 2 * active + notice + ttlMax + ahead

export async function openAuthorities(deps: AuthoritiesDeps): Promise<Authorities> {
  const { masterKey, clock, times, trustDomain, urls } = deps
  const roots = createRoots(deps)
  const custody = createCustody<Authority>(deps, {
    use: 'x509',
    algs: ['ES256'],
    open: row => openAuthorityRow(masterKey, row, roots.published()),
    make,
    makes: () => roots.signing() !== null,
    // Whoever has its key can make certificates as long as its own is valid: until then it is on its root's CRL.
    rememberedUntil: ({ authority }) => new Date(new X509Certificate(authority?.chain[0] ?? '').validTo),
  })

  /** Null where the organisation's own root signs: it is asked by hand (`hallpass ca csr`). */
  async function make(
    alg: Authority['alg'],
    dates: Pick<KeyRow, 'publishedAt' | 'activeAt' | 'ttlMax'>,
  ): Promise<KeyRow | null> {
    const root = roots.signing()
    if (!root?.signer) return null
    const { privateKey, publicKey } = await newPair()
    const kid = await kidOf(publicKey)
    const certificate = authorityCertificate({
      issuer: root.signer,
      publicKey,
      kid,
      trustDomain,
      notBefore: clock() - ahead,
      notAfter: Math.min(dates.activeAt.getTime() + validFrom(times), root.notAfter),
      urls: { crl: urls.crl(root.kid) },
    })
    return {
      kid,
      alg,
      ...dates,
      retiredAt: null,
      lastDay: null,
      privateKey: wrapAuthorityKey(masterKey, kid, privateKey),
      wrappedBy: masterKey.id,
      withdrawnAt: null,
      use: 'x509',
      authority: { rootKid: root.kid, chain: [certificate] },
    }
  }

  async function reload(): Promise<void> {
    await roots.reload()
    await custody.reload()
  }

  await reload()
  const { list, published, rotate, withdraw, succeedBy } = custody
  return {
    list,
    published,
    rotate,
    withdraw,
    succeedBy,
    roots,
    reload,
    async maintain() {
      await roots.maintain()
      await custody.maintain()
    },
    active() {
      const authority = custody.active('ES256')
      if (!authority || authority.signer.notAfter <= clock())
        throw new HallpassError('unavailable', 'No authority can sign certificates yet.', { retryAfter: 10 })
      return authority
    },
  }
}
