import type { Config } from '../../config.ts'
import { HallpassError } from '../../errors.ts'
import type { Asker } from '../../observe/asker.ts'
import type { NewCredential } from '../../store/reservation.ts'
import type { Task } from '../../store/task-record.ts'
import type { Wanted } from '../../task/for-mint.ts'
import type { Ask, CertificateAsk } from '../ask.ts'
import { issue, type MintDeps, type Signer } from '../issue.ts'
import type { Authorities, CertificateUrls } from './authorities.ts'
import type { Authority } from './authority.ts'
import { type CertificateMaker, certificateMaker } from './certificate.ts'
import type { Certified, KeySource } from './key-source.ts'
import { spiffeIdOf } from './spiffe-path.ts'

export interface CertificateDeps extends MintDeps {
  /** null: the broker has no trust domain, and issues none. */
  x509: X509 | null
}

/** What certificates are issued with. */
export interface X509 {
  pki: NonNullable<Config['pki']>
  authorities: Authorities
  urls: CertificateUrls
  /** Of an authority, made once. */
  makerOf(authority: Authority): CertificateMaker
}

export type IssuedCertificate = Certified & {
  jti: string
  /** Hexadecimal. */
  serial: string
  /** DER: from the authority's own up to the root, which is not among them. */
  chain: Buffer[]
  expiresAt: Date
  taskId: string
}

/** How far `notBefore` is back: the clocks of those who check it differ. Milliseconds. */
const backdated = 30_000

/** The authority that will sign, until when what it signs may be valid, and the name that it will sign. */
interface CertificateSigner extends Signer {
  authority: Authority
  uri: string
}

/**
 * Mints a certificate: a SPIFFE ID of the broker's own trust domain, for the key of a request (PKCS#10, of which nothing else is taken) or for a
 * new one. Throws the codes of contract §4's table, and `malformed` for a request that is refused.
 */
export function issueCertificate(
  deps: CertificateDeps,
  asker: Asker,
  ask: Ask & Wanted & { certificate: CertificateAsk },
  key: KeySource,
): Promise<IssuedCertificate> {
  const { usages, dnsNames } = ask.certificate
  return issue<CertificateSigner, IssuedCertificate>(deps, asker, ask, {
    type: 'x509',
    asked: { usages, dns_names: dnsNames },
    check() {
      mustIssue(deps)
      mustNotBeBroker(deps, dnsNames)
      return key.check()
    },
    signer(task) {
      const { authorities, pki } = mustIssue(deps)
      const authority = authorities.active()
      const { kid, lastDay, notAfter } = authority
      const latest = Math.min(lastDay?.getTime() ?? Number.POSITIVE_INFINITY, notAfter)
      return { kid, lastDay: new Date(latest), authority, uri: spiffeIdOf(pki, task) }
    },
    place: () => null,
    reload: () => mustIssue(deps).authorities.reload(),
    sign: (task, credential, signer) => sign(deps, { task, ask, credential, signer, key }),
  })
}

async function sign(
  deps: CertificateDeps,
  reserved: {
    task: Task
    ask: Ask & { certificate: CertificateAsk }
    credential: NewCredential
    signer: CertificateSigner
    key: KeySource
  },
): Promise<IssuedCertificate> {
  const { task, ask, credential, key } = reserved
  const { authority, uri } = reserved.signer
  const { usages, dnsNames } = ask.certificate
  const { jti, expiresAt } = credential
  const { chain } = authority
  const serial = serialOf(jti)
  const make = (spki: Buffer): Buffer =>
    mustIssue(deps).makerOf(authority)({
      serial: Buffer.from(serial, 'hex'),
      notBefore: credential.issuedAt.getTime() - backdated,
      notAfter: expiresAt.getTime(),
      spki,
      uri,
      dnsNames,
      clientAuth: usages.includes('clientAuth'),
      serverAuth: usages.includes('serverAuth'),
      task: taskFields(task, ask),
    })
  const certified = await key.certify(make, { chain, taskId: task.id })
  return { ...certified, jti, serial, chain, expiresAt, taskId: task.id }
}

function mustIssue({ x509 }: Pick<CertificateDeps, 'x509'>): X509 {
  if (!x509)
    throw new HallpassError(
      'malformed',
      'This broker issues no certificates: it has no trust domain of its own.',
    )
  return x509
}

/**
 * Whatever policy says: with such a certificate a workload would be the broker to those who know it by its authority, and would be handed their
 * attestations. Throws `refused`.
 */
function mustNotBeBroker({ issuer }: Pick<CertificateDeps, 'issuer'>, dnsNames: string[]): void {
  const isOwn = (name: string): boolean => name === new URL(issuer).hostname.replace(/\.$/, '')
  // Most ask for none, and pay for no URL to be read.
  if (dnsNames.some(isOwn)) throw new HallpassError('refused', 'The broker’s own name is for nobody else.')
}

/** An authority's constant parts are encoded once. */
export function makers(urls: CertificateUrls): X509['makerOf'] {
  const made = new WeakMap<Buffer, CertificateMaker>()
  return ({ kid, signer }) => {
    // Authorities are read again and again; their certificates stay the same objects.
    let maker = made.get(signer.certificate)
    if (!maker) {
      maker = certificateMaker(signer, { crl: urls.crl(kid), ocsp: urls.ocsp })
      made.set(signer.certificate, maker)
    }
    return maker
  }
}

/** The 16 bytes of the `jti`, in hexadecimal: positive, since the first bit of a UUIDv7 is 0 until the year 6429. */
const serialOf = (jti: string): string => jti.replaceAll('-', '')

const taskFields = (task: Task, { scopes, audiences }: Ask) => ({
  id: task.id,
  ver: task.ver,
  path: task.ancestors.map(({ id, ver }) => ({ id, ver })),
  scopes,
  audience: audiences,
})
