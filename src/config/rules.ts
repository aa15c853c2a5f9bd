import { statSync } from 'node:fs'
import { resolve } from 'node:path'
import { parseDuration } from '../duration.ts'
import type { Environment } from './environment.ts'
import type { Report } from './fault.ts'
import { checkMtls } from './mtls-rules.ts'
import { at, textAt } from './raw.ts'
import { defaultTrustDomain } from './trust-domain.ts'
import { defaultIssuer } from './url.ts'

/**
 * What no single value can break. Reads the raw file, so that these faults are reported together with those of shape, and
 * passes over what has the wrong shape: that is reported already.
 */
export const checkRules = (
  raw: unknown,
  {
    base,
    environment,
    port,
    report,
  }: { base: string; environment: Environment; port: unknown; report: Report },
): void => {
  notLonger(raw, ['credentials', 'ttl_default'], { path: ['credentials', 'ttl_max'], unless: '15m' }, report)
  notLonger(raw, ['tasks', 'deadline_default'], { path: ['tasks', 'deadline_max'], unless: '24h' }, report)

  notMore(raw, 'feed_readers_anonymous', { key: 'feed_readers', unless: 5_000 }, report)
  notMore(raw, 'feed_readers_per_address', { key: 'feed_readers_anonymous', unless: 3_000 }, report)
  notMore(raw, 'feed_readers_per_principal', { key: 'feed_readers', unless: 5_000 }, report)

  if (port !== 0 && at(raw, 'listen', 'metrics_port') === port) {
    report('listen.metrics_port', 'is the port of the broker itself')
  }

  checkMtls(raw, { base, port, hasCa: trustDomainOf(raw, port) !== null, report })

  // Replicas share the database, and with it the keys that a master key wraps: one generated here would be nobody else's.
  const shared = environment.databaseUrl.given || at(raw, 'database') !== undefined
  if (shared && !environment.masterKey.given) {
    report('$HALLPASS_MASTER_KEY', 'must be given where a database is: 32 bytes in base64')
  }

  const dir = textAt(raw, 'policy', 'dir')
  if (dir !== null && !isFolder(resolve(base, dir))) report('policy.dir', 'is not a folder that is there')
}

/** The broker's own trust domain, as `settle` will find it. */
const trustDomainOf = (raw: unknown, port: unknown): string | null => {
  const trust = at(raw, 'trust')
  const theirs = Array.isArray(trust) ? trust.map(source => textAt(source, 'trust_domain') ?? '') : []
  const issuer = textAt(raw, 'issuer') ?? defaultIssuer(Number(port))
  return textAt(raw, 'pki', 'trust_domain') ?? defaultTrustDomain(issuer, theirs)
}

const notLonger = (
  raw: unknown,
  path: string[],
  most: { path: string[]; unless: string },
  report: Report,
): void => {
  const value = parseDuration(textAt(raw, ...path) ?? '')
  const bound = parseDuration(textAt(raw, ...most.path) ?? most.unless)
  if (value !== null && bound !== null && value > bound) {
    report(path.join('.'), `is longer than ${most.path.join('.')}`)
  }
}

/** Of `limits`. */
const notMore = (raw: unknown, key: string, most: { key: string; unless: number }, report: Report): void => {
  const value = at(raw, 'limits', key)
  const bound = at(raw, 'limits', most.key) ?? most.unless
  if (typeof value === 'number' && typeof bound === 'number' && value > bound) {
    report(`limits.${key}`, `is more than limits.${most.key}`)
  }
}

export const isFolder = (path: string): boolean => {
  try {
    return statSync(path).isDirectory()
  } catch {
    return false
  }
}
