import type { Logger } from 'pino'
import { createAttestor } from './attest/attestor.ts'
import { type Clock, systemClock } from './clock.ts'
import { watchClock } from './clock-watch.ts'
import { type Config, listeningOn } from './config.ts'
import { allowsAnyCertificate } from './decide/certificates.ts'
import type { CompiledPolicies } from './decide/compile.ts'
import { decide, mustDecide } from './decide/decide.ts'
import { createPolicyStore } from './decide/policy-store.ts'
import { loadContract } from './http/contract.ts'
import type { HttpDeps } from './http/deps.ts'
import { createLimits } from './http/limits.ts'
import { type Door, listen, listenForMetrics, urlHost } from './http/listen.ts'
import { certificateInFiles, listenForMtls } from './http/listen-mtls.ts'
import { oncePerSecond } from './http/once-per-second.ts'
import { createHttp } from './http/server.ts'
import { keyTimes } from './mint/key-schedule.ts'
import { openKeyring } from './mint/keyring.ts'
import { statusIndexes } from './mint/status-index.ts'
import { type AuthoritiesDeps, certificateUrls, openAuthorities } from './mint/x509/authorities.ts'
import { makers, type X509 } from './mint/x509/issue-certificate.ts'
import { serverIdentity } from './mint/x509/server-identity.ts'
import type { Asker } from './observe/asker.ts'
import { createMetrics, type Metrics } from './observe/metrics.ts'
import { unprovenRefusals } from './observe/unproven.ts'
import { createFeed } from './revoke/feed/feed.ts'
import { ownTokens } from './revoke/own-token.ts'
import { followStatusLists } from './revoke/status-list/follow.ts'
import { statusListTokens } from './revoke/status-list/token.ts'
import { createSweeper } from './revoke/sweeper.ts'
import { crls } from './revoke/x509/crl.ts'
import { followCertificates } from './revoke/x509/follow.ts'
import { ocspResponses } from './revoke/x509/ocsp.ts'
import { loadMasterKey } from './secrets/master-key.ts'
import { blockList } from './store/blocks.ts'
import { credentialReader } from './store/credentials.ts'
import { type Database, databaseNow, openDatabase } from './store/database.ts'
import type { DecisionRow } from './store/decision-row.ts'
import { decisionWriter } from './store/decisions.ts'
import { startEmbeddedPostgres } from './store/embedded/embedded-postgres.ts'
import { openListener } from './store/listener.ts'
import { migrate } from './store/migrate.ts'
import { opener } from './store/open.ts'
import { reserver } from './store/reserve.ts'
import { recordChannel } from './store/revocations.ts'
import { taskMemory } from './store/task-memory.ts'
import { nameReader } from './store/tasks.ts'
import { consumeUses } from './store/uses.ts'
import { runsOf } from './task/runs.ts'

/** A running broker. */
export interface Broker {
  config: Config
  /** Where it listens. */
  url: string
  /** Where it listens for mutual TLS. */
  mtlsUrl: string | null
  metricsUrl: string | null
  /** One round of the sweeper, now. */
  sweep(): Promise<void>
  /** Answers what is under way, then stops everything that `startBroker` started. */
  close(): Promise<void>
}

export interface BrokerOptions {
  log: Logger
  clock?: Clock
  /** This machine's clock, as it is held against the database's. Default: the system's. */
  machineClock?: Clock
  /** Whether the sweeper runs by itself. Default: yes. */
  sweeps?: boolean
}

/** Joins the parts and opens the doors. Whatever was started is stopped again when something fails. Throws what its parts throw. */
export async function startBroker(given: Config, options: BrokerOptions): Promise<Broker> {
  const stops: (() => Promise<unknown> | unknown)[] = []
  const close = async () => {
    for (const stop of stops.splice(0).reverse()) await stop()
  }
  try {
    return { ...(await start(given, options, stops)), close }
  } catch (error) {
    await close()
    throw error
  }
}

async function start(
  given: Config,
  { log, clock = systemClock, machineClock = systemClock, sweeps = true }: BrokerOptions,
  stops: (() => Promise<unknown> | unknown)[],
): Promise<Omit<Broker, 'close'>> {
  // 1. Secrets and storage.
  const masterKey = loadMasterKey(given)
  const url = given.database?.url ?? (await embedded(given, log, stops))
  await migrate(url)
  const db = openDatabase({ url, log })
  stops.push(() => db.close())
  // A hand-over of keys leaves replicas `notice` to differ.
  const keys = keyTimes(given.credentials.ttlMax)
  const tolerance = Math.min(Math.max(given.clockSkew, 5_000), keys.notice)
  const clockWatch = watchClock({ machine: machineClock, database: () => databaseNow(db), tolerance, log })
  await clockWatch.look()

  // 2. Policy, which must be good to begin with.
  const metrics = createMetrics({ processMetrics: given.listen.metricsPort !== null })
  const policy = await createPolicyStore({
    dir: given.policy.dir,
    log,
    onChange: compiled => {
      metrics.policyFaults.set(0)
      warnOfCertificates(given, compiled, log)
    },
    onFault: faults => metrics.policyFaults.set(faults.length),
  })
  stops.push(() => policy.stop())
  warnOfCertificates(given, policy.current(), log)

  // 3. The address, which may be what the issuer is called by.
  const door = await listen(given.listen.host, given.listen.port)
  stops.push(() => door.close())
  const config = listeningOn(given, door.port)

  // 4. Keys, and those who say who asks.
  const algs = [config.credentials.signingAlg, ...Object.values(config.credentials.signingAlgFor)]
  const keyring = await openKeyring({ db, masterKey, clock, log, algs, times: keys })
  const x509 = await certificatesOf(config, { db, masterKey, clock, log, times: keys })
  if (clockWatch.isRight()) {
    await keyring.maintain()
    await x509?.authorities.maintain()
  }
  const { trust, issuer, clockSkew, credentials, tasks } = config
  const attestor = createAttestor({
    trust,
    issuer,
    ownTrustDomain: config.pki?.trustDomain,
    clockSkew,
    clock,
    log,
  })
  attestor.start()
  stops.push(() => attestor.stop())

  const mtlsDoor = await openForMtls(config, x509, { clock, log })
  stops.push(() => mtlsDoor?.close())

  // 5. The stories, and the doors to them.
  const writeDecision = counted(metrics, decisionWriter(db))
  const reserve = reserver(db)
  const findByName = nameReader(db)
  const blocks = await blockList({ db, clock })
  const feed = createFeed({
    log,
    connect: events => openListener({ url, channel: recordChannel, ...events }),
    onRead: ({ seq, at }) => {
      metrics.recordSeq.set(seq)
      metrics.recordRead.set(at.getTime() / 1000)
    },
    // Published no more, here too; should it fail, the sweeper reads the keys within seconds.
    onKey: () => {
      keyring.reload().catch(() => {})
      x509?.authorities.reload().catch(() => {})
    },
    onReader: (view, by) => metrics.feedReaders.inc({ view }, by),
    onCutOff: () => metrics.feedCutOff.inc(),
  })
  feed.start()
  stops.push(() => feed.stop())
  const deps: HttpDeps = {
    db,
    clock,
    log,
    issuer,
    trust,
    tasks,
    credentials,
    masterKey,
    keyring,
    keyTimes: keys,
    x509,
    attestor,
    metrics,
    writeDecision,
    findByName,
    open: opener(db),
    blocks,
    statusIndexes: statusIndexes({ db, clock, log, ttlMax: credentials.ttlMax }),
    memory: taskMemory(db, findByName),
    listen: config.listen,
    mtlsPort: mtlsDoor?.port ?? null,
    hooks: config.hooks,
    runsOf: runsOf(config),
    contract: loadContract(),
    limits: createLimits(config.limits),
    feed,
    feedLimits: config.feed,
    unproven: unprovenRefusals({ clock, log, metrics, writeDecision }),
    readCredential: credentialReader(db),
    openToken: ownTokens({ keyring, issuer }),
    statusList: statusListTokens({
      lists: followStatusLists({ db, clock }),
      keyring,
      alg: credentials.signingAlg,
      issuer,
    }),
    pkiLists: x509 && pkiLists(x509, { db, clock }),
    decide: ask => decide(policy.current(), ask),
    policyVersion: () => policy.current().version,
    reserve: async reservation => {
      const reserved = await reserve(reservation)
      if (reserved === 'reserved') metrics.decisions.inc({ action: 'mint', decision: 'allow', code: '' })
      return reserved
    },
    useOnce: asker => useOnce(db, asker),
    mustBeRight: clockWatch.mustBeRight,
    ready: oncePerSecond(clock, async () => {
      await clockWatch.look()
      clockWatch.mustBeRight()
      keyring.signer(credentials.signingAlg)
      mustDecide(policy.current())
    }),
  }
  const app = createHttp(deps, { jwksMaxAge: keys.cache / 1000 })

  // 6. What runs by itself.
  const sweeper = createSweeper({
    db,
    clock,
    log,
    custodies: x509 ? [keyring, x509.authorities] : [keyring],
    blocks,
    clockWatch,
    retention: tasks.retention,
    ttlMax: credentials.ttlMax,
    onSwept: closed => {
      metrics.swept.inc(closed)
      metrics.lastSweep.set(clock() / 1000)
      if (x509)
        metrics.authorityEnd.set(
          { trust_domain: x509.pki.trustDomain },
          (x509.authorities.endsAt() ?? 0) / 1000,
        )
    },
  })
  if (sweeps) sweeper.start()
  stops.push(() => sweeper.stop())
  const metricsUrl = await listenForMetrics(config, metrics, stops)

  door.serve(app)
  mtlsDoor?.serve(app)
  return {
    config,
    url: `http://${urlHost(config.listen.host)}:${door.port}`,
    mtlsUrl: mtlsDoor && `https://${urlHost(config.listen.host)}:${mtlsDoor.port}`,
    metricsUrl,
    sweep: sweeper.sweep,
  }
}

/** Policies of before there were certificates allow them all. */
function warnOfCertificates({ pki }: Config, policies: CompiledPolicies, log: Logger): void {
  if (pki && allowsAnyCertificate(policies))
    log.warn(
      'whoever may mint a token may mint a certificate too, for a server and with any DNS name: no policy looks at credential, usages or dns_names',
    )
}

/** What issues certificates; null where the broker has no trust domain of its own. */
async function certificatesOf(
  { issuer, pki }: Config,
  deps: Omit<AuthoritiesDeps, 'trustDomain' | 'urls'>,
): Promise<X509 | null> {
  if (!pki) return null
  const urls = certificateUrls(issuer)
  const authorities = await openAuthorities({ ...deps, trustDomain: pki.trustDomain, urls })
  return { pki, authorities, urls, makerOf: makers(urls) }
}

/** What tells of certificates that have ended. */
const pkiLists = (
  { authorities, urls }: X509,
  { db, clock }: { db: Database; clock: Clock },
): HttpDeps['pkiLists'] => ({
  crl: crls({ record: followCertificates({ db, clock }), authorities, urls }),
  ocsp: ocspResponses({ db, clock, authorities }),
})

/** The listener for mutual TLS; null where none is configured. It shows the certificate in its files, or one that the broker made itself. */
async function openForMtls(
  { listen: { host, mtls }, issuer }: Config,
  x509: X509 | null,
  { clock, log }: { clock: Clock; log: Logger },
): Promise<Door | null> {
  if (mtls === null) return null
  const { port, cert, key } = mtls
  if (cert !== null && key !== null)
    return listenForMtls({ host, port, certificate: certificateInFiles({ cert, key }), log })
  if (!x509) throw new Error('there is no certificate for mutual TLS, and nothing that issues one')
  const certificate = await serverIdentity({ ...x509, issuer, clock })
  return listenForMtls({ host, port, certificate, log })
}

async function embedded(
  { dataDir }: Config,
  log: Logger,
  stops: (() => Promise<unknown> | unknown)[],
): Promise<string> {
  const postgres = await startEmbeddedPostgres({ dataDir, log })
  stops.push(() => postgres.stop())
  return postgres.url
}

/** Consumes an attestation that may be used once, for this request. */
async function useOnce(db: Database, { principal, requestId, token }: Asker): Promise<boolean> {
  const { reuse, useKey: key, acceptableUntil } = principal.attestation
  if (token || reuse === 'any') return true
  const use = { key, requestId, acceptableUntil: new Date(acceptableUntil) }
  const [mine] = await db.transaction(tx => consumeUses(tx, [use]))
  return mine === true
}

function counted(
  { decisions }: Metrics,
  write: (row: DecisionRow) => Promise<void>,
): (row: DecisionRow) => Promise<void> {
  return async row => {
    await write(row)
    decisions.inc({ action: row.action, decision: row.decision, code: row.code ?? '' })
  }
}
