import { resolve } from 'node:path'
import type { Config, LoadedConfig, OidcSource, TrustSource } from '../config.ts'
import type { Environment } from './environment.ts'
import { isFolder } from './rules.ts'
import { hookWarnings, settleHooks } from './settle-hooks.ts'
import type { File } from './shape.ts'
import { defaultTrustDomain } from './trust-domain.ts'
import { defaultIssuer } from './url.ts'

const minutes = 60_000

/** A sound file and environment as the configuration that the rest of the broker sees. */
export const settle = (
  file: File,
  { base, environment }: { base: string; environment: Environment },
): LoadedConfig => {
  const port = environment.port.value ?? file.listen.port
  const issuer = file.issuer ?? defaultIssuer(port)
  const databaseUrl = environment.databaseUrl.value ?? file.database?.url
  const { credentials, tasks } = file
  const trust = file.trust.map(source => settleSource(source, { base, issuer }))
  const hooks = settleHooks(file, base, trust)
  const pki = settlePki(file, issuer)
  return {
    issuer,
    listen: {
      host: file.listen.host,
      port,
      metricsPort: file.listen.metrics_port ?? null,
      mtls: settleMtls(file.listen.mtls, base),
      trustedProxies: file.listen.trusted_proxies,
    },
    dataDir: resolve(base, file.data_dir),
    database: databaseUrl === undefined ? null : { url: databaseUrl },
    masterKey: environment.masterKey.value,
    clockSkew: file.clock_skew,
    trust,
    policy: { dir: policyDir(file, base) },
    credentials: {
      ttlDefault: credentials.ttl_default ?? Math.min(5 * minutes, credentials.ttl_max),
      ttlMax: credentials.ttl_max,
      signingAlg: credentials.signing_alg,
      // Without a prototype: an audience called `constructor` must not find one.
      signingAlgFor: Object.assign(Object.create(null), credentials.signing_alg_for),
    },
    tasks: {
      deadlineDefault: tasks.deadline_default ?? Math.min(60 * minutes, tasks.deadline_max),
      deadlineMax: tasks.deadline_max,
      depthMax: tasks.depth_max,
      retention: tasks.retention,
    },
    limits: { principal: file.limits.principal ?? null, address: file.limits.address ?? null },
    feed: settleFeed(file.limits),
    pki,
    hooks,
    warnings: [...(pki === null ? [noTrustDomain] : []), ...hookWarnings(hooks)],
  }
}

const settleMtls = (mtls: File['listen']['mtls'], base: string): Config['listen']['mtls'] => {
  if (mtls === undefined) return null
  const path = (file: string | undefined) => (file === undefined ? null : resolve(base, file))
  return { port: mtls.port, cert: path(mtls.cert), key: path(mtls.key) }
}

const settlePki = ({ pki, trust }: File, issuer: string): Config['pki'] => {
  const theirs = trust.flatMap(source => (source.kind === 'spiffe' ? [source.trust_domain] : []))
  const trustDomain = pki.trust_domain ?? defaultTrustDomain(issuer, theirs)
  return trustDomain === null ? null : { trustDomain, path: pki.path }
}

const noTrustDomain =
  'no X.509 certificates are issued: the issuer’s host is no trust domain of the broker’s own; give pki.trust_domain'

const settleFeed = ({
  feed_readers: readers,
  feed_readers_anonymous: anonymous = Math.min(3_000, readers),
  feed_readers_per_address: perAddress = Math.min(2_000, anonymous),
  feed_readers_per_principal: perPrincipal = Math.min(500, readers),
}: File['limits']): Config['feed'] => ({ readers, anonymous, perAddress, perPrincipal })

const settleSource = (
  source: File['trust'][number],
  { base, issuer }: { base: string; issuer: string },
): TrustSource => {
  const shared = { name: source.name, audience: source.audience ?? issuer, reuse: source.reuse }
  if (source.kind === 'spiffe') {
    const { url, file } = source.bundle
    return {
      ...shared,
      kind: 'spiffe',
      trustDomain: source.trust_domain,
      bundle: url !== undefined ? { url } : { file: resolve(base, file ?? '') },
    }
  }
  return {
    ...shared,
    kind: 'oidc',
    issuer: source.issuer,
    jwksUri: source.jwks_uri ?? null,
    require: source.require,
    task: source.task ?? null,
    operators: settleOperators(source.operators),
  }
}

const settleOperators = (
  operators: { groups_claim: string; max_age: number } | undefined,
): OidcSource['operators'] =>
  operators === undefined ? null : { groupsClaim: operators.groups_claim, maxAge: operators.max_age }

const policyDir = (file: File, base: string): string | null => {
  if (file.policy.dir !== undefined) return resolve(base, file.policy.dir)
  const beside = resolve(base, 'policies')
  return isFolder(beside) ? beside : null
}

/**
 * The configuration once the operating system has chosen the port (`listen.port: 0`): the issuer and the audiences that
 * follow from the port follow it. Port 0 in an issuer is refused in the file, so only the default can have it.
 */
export const listeningOn = <C extends Config>(config: C, port: number): C => {
  const placeholder = defaultIssuer(0)
  const settled = (value: string) => (value === placeholder ? defaultIssuer(port) : value)
  return {
    ...config,
    issuer: settled(config.issuer),
    listen: { ...config.listen, port },
    trust: config.trust.map(source => ({ ...source, audience: settled(source.audience) })),
  }
}
