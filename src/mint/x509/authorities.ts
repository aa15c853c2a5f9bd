import { X509Certificate } from 'node:crypto'
import { HallpassError } from '../../errors.ts'
import type { MasterKey } from '../../secrets/master-key.ts'
import { readBundle } from '../../store/ca-roots.ts'
import type { KeyRow } from '../../store/signing-keys.ts'
import { type Custody, type CustodyDeps, createCustody } from '../custody.ts'
import type { KeyTimes } from '../key-schedule.ts'
import { kidOf } from '../signing-key.ts'
import { type Authority, openAuthorityRow, wrapAuthorityKey } from './authority.ts'
import { authorityCertificate } from './authority-certificate.ts'
import { endWarnings } from './end-warnings.ts'
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
  /** Whether they were read lately enough to be cached by others. */
  isCurrent(): boolean
  /** When the last of those ends that sign, or will; null where there is none. Milliseconds since the epoch. */
  endsAt(): number | null
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
    open,
    make,
    makes: () => roots.signing() !== null,
    refresh: tx => roots.reload(tx),
    // Whoever has its key can make certificates as long as its own is valid: until then it is on its root's CRL.
    endOf: ({ authority }) => endOf(authority?.chain[0]),
  })
  const warnOfEnd = endWarnings(deps.log, clock)

  async function open(row: KeyRow): Promise<Authority> {
    // Its root may have come after the roots were read.
    if (!roots.published().some(({ kid }) => kid === row.authority?.rootKid)) await roots.reload()
    return openAuthorityRow(masterKey, row, roots.published())
  }

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

  const endsAt = (): number | null => {
    const ends = custody
      .list()
      .filter(({ state }) => state === 'active' || state === 'prepared')
      .map(({ notAfter }) => notAfter)
    return ends.length === 0 ? null : Math.max(...ends)
  }

  await refuseForeignRoots(deps)
  await reload()
  refuseAnotherDomain(custody.published(), trustDomain)
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
      if (roots.isTaken()) warnOfEnd(endsAt())
    },
    isCurrent: () => clock() - custody.readAt() <= times.notice,
    endsAt,
    active() {
      const authority = custody.active('ES256')
      if (authority) return authority
      throw new HallpassError(
        'unavailable',
        roots.isTaken() && endsAt() === null
          ? 'The authority that the organisation’s root signed has ended or was withdrawn: another must be installed.'
          : 'No authority can sign certificates yet.',
        { retryAfter: 10 },
      )
    },
  }
}

/** Null for what is no certificate. */
function endOf(certificate: Buffer | undefined): Date | null {
  try {
    return new Date(new X509Certificate(certificate ?? '').validTo)
  } catch {
    return null
  }
}

/** What was signed for one trust domain is not another's, whatever the configuration says now. Throws, so that this broker does not start. */
function refuseAnotherDomain(authorities: Authority[], trustDomain: string): void {
  for (const { signer } of authorities) {
    const named = /URI:spiffe:\/\/([^,\s]+)/.exec(
      new X509Certificate(signer.certificate).subjectAltName ?? '',
    )?.[1]
    if (named !== undefined && named !== trustDomain)
      throw new Error(
        `the database's authorities are of the trust domain ${named}, and this broker's is ${trustDomain}: set pki.trust_domain: ${named}`,
      )
  }
}

/** Under another master key there would be two trust domains under one name. Throws, so that this broker does not start. */
async function refuseForeignRoots({ db, masterKey }: AuthoritiesDeps): Promise<void> {
  const foreign = (await readBundle(db)).rows.find(row => row.wrappedBy !== masterKey.id)
  if (foreign)
    throw new Error(
      `the database's roots are wrapped by master key ${foreign.wrappedBy}, this broker has ${masterKey.id}`,
    )
}
