import type { KeyObject } from 'node:crypto'
import { readPem } from '../../der/pem.ts'
import { DerError } from '../../der/read.ts'
import { HallpassError } from '../../errors.ts'
import { administer } from '../../observe/administer.ts'
import type { Asker } from '../../observe/asker.ts'
import { allowed } from '../../observe/record.ts'
import type { MasterKey } from '../../secrets/master-key.ts'
import {
  insertRequestedKey,
  type RequestRow,
  type RootRow,
  readRequestedKeys,
  removeRequestedKeys,
} from '../../store/ca-roots.ts'
import type { Database } from '../../store/database.ts'
import { writeDecisions } from '../../store/decisions.ts'
import { type KeyRow, lockKeys } from '../../store/signing-keys.ts'
import { earliestUse, type KeyTimes } from '../key-schedule.ts'
import { kidOf } from '../signing-key.ts'
import { openAuthorityKey, openAuthorityRow, wrapAuthorityKey } from './authority.ts'
import { authorityRequest } from './authority-certificate.ts'
import { type InstalledChain, mustServe, readChain, refused } from './installed-chain.ts'
import type { CertificateDeps, X509 } from './issue-certificate.ts'
import { newPair, openRootRow, sealedRoot } from './root.ts'

export interface OrganisationDeps extends CertificateDeps {
  db: Database
  masterKey: MasterKey
  keyTimes: KeyTimes
}

/** How long a key waits for the organisation's root to sign it. Milliseconds. */
const waitsFor = 30 * 24 * 3_600_000
/** Certificates from the authority's to the root's. */
const longestChain = 6

/**
 * Makes a key for an issuing authority that the organisation's own root is to sign, and its request (PKCS#10). The authority that signs now
 * goes on until a certificate is installed. Throws `refused`.
 */
export function requestAuthority(
  deps: OrganisationDeps,
  asker: Asker,
): Promise<{ kid: string; csr: string }> {
  return administer(deps, asker, { ca: 'csr' }, async event => {
    const { pki } = mustIssue(deps.x509)
    const key = await newPair()
    const kid = await kidOf(key.publicKey)
    event.asked.kid = kid
    await deps.db.transaction(async tx => {
      const privateKey = wrapAuthorityKey(deps.masterKey, kid, key.privateKey)
      await removeRequestedKeys(tx, [], staleAt(event.at))
      await insertRequestedKey(tx, { kid, privateKey, wrappedBy: deps.masterKey.id, createdAt: event.at })
      await writeDecisions(tx, [allowed(event)])
    })
    return { kid, csr: authorityRequest({ ...key, kid, trustDomain: pki.trustDomain }) }
  })
}

/**
 * Installs the certificate that an organisation's root signed for a requested key, with the chain up to that root: PEM, in any order. The root
 * is published at once, the authority signs as soon as everybody can know it, and the broker's own root signs no more. Throws `refused`;
 * `malformed` for what is no such chain, with the reason.
 */
export function installAuthority(deps: OrganisationDeps, asker: Asker, pem: string): Promise<void> {
  return administer(deps, asker, { ca: 'install' }, async event => {
    const { authorities, pki } = mustIssue(deps.x509)
    const requests = await readRequestedKeys(deps.db)
    const chain = await readChain(certificatesIn(pem), {
      kids: requests.map(({ kid }) => kid),
      trustDomain: pki.trustDomain,
      now: deps.clock(),
    })
    Object.assign(event.asked, { kid: chain.kid, root: chain.root.kid })
    const request = requests.find(({ kid }) => kid === chain.kid)
    const privateKey = request && (await openedOrNull(deps.masterKey, request))
    // What does not decrypt is not of this broker, and is not installed.
    if (!request || !privateKey) throw refused('its key was requested from another broker')
    await mustServe(chain, privateKey, { trustDomain: pki.trustDomain, now: deps.clock() })
    await deps.db.transaction(async tx => {
      await lockKeys(tx)
      // Another may have been quicker with the same.
      if (!(await readRequestedKeys(tx)).some(({ kid }) => kid === chain.kid))
        throw refused('it was installed already')
      const [root, authority] = rowsOf(deps, chain, request)
      await mustOpen(deps.masterKey, root, authority)
      await authorities.roots.succeedBy(tx, root)
      await authorities.succeedBy(tx, authority)
      await removeRequestedKeys(tx, [chain.kid], staleAt(event.at))
      await writeDecisions(tx, [allowed(event)])
    })
    await authorities.reload()
  })
}

/** Published from now on. */
function rowsOf(
  { masterKey, clock, keyTimes }: OrganisationDeps,
  { kid, root, certificates, notAfter }: InstalledChain,
  { privateKey, wrappedBy }: RequestRow,
): [RootRow, KeyRow] {
  const now = clock()
  const publishedAt = new Date(now)
  const end = new Date(notAfter)
  return [
    {
      ...sealedRoot(masterKey, root.kid, root.certificate, null),
      publishedAt,
      activeAt: publishedAt,
      retiredAt: null,
      lastDay: null,
    },
    {
      kid,
      alg: 'ES256',
      publishedAt,
      activeAt: new Date(earliestUse(now, keyTimes)),
      // It signs to its end, unless another is installed before; what it signs ends no later.
      retiredAt: end,
      lastDay: end,
      ttlMax: keyTimes.ttlMax,
      privateKey,
      wrappedBy,
      withdrawnAt: null,
      use: 'x509',
      authority: { rootKid: root.kid, chain: certificates },
    },
  ]
}

/** What is stored must open again, here and on every replica, or there would be nothing to sign with from its first day on. */
async function mustOpen(masterKey: MasterKey, root: RootRow, authority: KeyRow): Promise<void> {
  try {
    await openAuthorityRow(masterKey, authority, [await openRootRow(masterKey, root)])
  } catch (cause) {
    throw refused('a certificate in it does not name the one above it as that names itself', cause)
  }
}

async function openedOrNull(masterKey: MasterKey, request: RequestRow): Promise<KeyObject | null> {
  try {
    return await openAuthorityKey(masterKey, request)
  } catch {
    return null
  }
}

const staleAt = (now: Date): Date => new Date(now.getTime() - waitsFor)

function certificatesIn(pem: string): Buffer[] {
  try {
    return readPem(pem, longestChain).map(({ label, der }) => {
      if (label !== 'CERTIFICATE') throw new DerError('a block is no certificate')
      return der
    })
  } catch (error) {
    if (!(error instanceof DerError)) throw error
    throw new HallpassError('malformed', `The chain cannot be read: ${error.message}.`)
  }
}

function mustIssue(x509: X509 | null): X509 {
  if (!x509) throw new HallpassError('not_found', 'This broker issues no certificates.')
  return x509
}
