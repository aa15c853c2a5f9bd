import pino from 'pino'
import { createAttestor } from '../../src/attest/attestor.ts'
import type { Config } from '../../src/config.ts'
import { decide } from '../../src/decide/decide.ts'
import { createPolicyStore } from '../../src/decide/policy-store.ts'
import { newId } from '../../src/ids.ts'
import type { TokenDeps } from '../../src/mint/issue-token.ts'
import { keyTimes } from '../../src/mint/key-schedule.ts'
import { openKeyring } from '../../src/mint/keyring.ts'
import { statusIndexes } from '../../src/mint/status-index.ts'
import { type AuthoritiesDeps, certificateUrls, openAuthorities } from '../../src/mint/x509/authorities.ts'
import { type CertificateDeps, makers, type X509 } from '../../src/mint/x509/issue-certificate.ts'
import type { Asker } from '../../src/observe/asker.ts'
import { loadMasterKey } from '../../src/secrets/master-key.ts'
import { blockList } from '../../src/store/blocks.ts'
import { openDatabase } from '../../src/store/database.ts'
import { decisionWriter } from '../../src/store/decisions.ts'
import { opener } from '../../src/store/open.ts'
import { reserver } from '../../src/store/reserve.ts'
import { taskMemory } from '../../src/store/task-memory.ts'
import { nameReader } from '../../src/store/tasks.ts'
import type { TestBroker } from './broker.ts'

/** The story of a mint without its door, over a broker's own database, keys and policies: for watching its single steps. */
export interface MintStory {
  /** Certificates too, where `pki` is configured. */
  deps: TokenDeps & CertificateDeps
  askerOf(attestation: string): Promise<Asker>
  close(): Promise<void>
}

export async function mintStory({ config, clock }: TestBroker): Promise<MintStory> {
  const log = pino({ level: 'silent' })
  const { trust, issuer, clockSkew, credentials, tasks } = config
  const masterKey = loadMasterKey(config)
  const db = openDatabase({ url: config.database!.url, log })
  const policy = await createPolicyStore({ dir: config.policy.dir, log })
  const times = keyTimes(credentials.ttlMax)
  const algs = [credentials.signingAlg]
  const keyring = await openKeyring({ db, masterKey, clock: clock.now, log, algs, times })
  const x509 = await certificates(config, { db, masterKey, clock: clock.now, log, times })
  const findByName = nameReader(db)
  const blocks = await blockList({ db, clock: clock.now })
  const attestor = createAttestor({ trust, issuer, clockSkew, clock: clock.now })
  return {
    deps: {
      db,
      clock: clock.now,
      decide: ask => decide(policy.current(), ask),
      policyVersion: () => policy.current().version,
      writeDecision: decisionWriter(db),
      reserve: reserver(db),
      findByName,
      open: opener(db),
      runsOf: () => [],
      blocks,
      statusIndexes: statusIndexes({ db, clock: clock.now, log, ttlMax: credentials.ttlMax }),
      memory: taskMemory(db, findByName),
      keyring,
      x509,
      tasks,
      trust,
      issuer,
      credentials,
    },
    askerOf: async attestation => ({
      principal: await attestor.attest(attestation),
      token: null,
      requestId: newId(),
      address: null,
      certificate: null,
    }),
    async close() {
      attestor.stop()
      policy.stop()
      await db.close()
    },
  }
}

async function certificates(
  { pki, issuer }: Config,
  deps: Omit<AuthoritiesDeps, 'trustDomain' | 'urls'>,
): Promise<X509 | null> {
  if (!pki) return null
  const urls = certificateUrls(issuer)
  const authorities = await openAuthorities({ ...deps, trustDomain: pki.trustDomain, urls })
  return { pki, authorities, urls, makerOf: makers(urls) }
}
