import { z } from 'zod'
import { pathText, type Report } from './fault.ts'
import { hook } from './hooks-shape.ts'
import { nearest } from './near.ts'
import { pkiPathFault } from './pki-path.ts'
import { section } from './section.ts'
import { trustSource } from './trust-shape.ts'
import { ownIssuerFault } from './url.ts'
import {
  databaseUrlFault,
  duration,
  hostFault,
  networkFault,
  port,
  rate,
  readers,
  signingAlg,
  text,
  trustDomainFault,
} from './values.ts'

/** hallpass.yaml, value by value. What several values make together is in rules.ts. */
const file = section({
  issuer: text(ownIssuerFault).optional(),
  listen: section({
    host: text(hostFault).default('127.0.0.1'),
    port: port().default(8420),
    trusted_proxies: z.array(text(networkFault)).default([]),
    metrics_port: port().optional(),
    mtls: section({ port: port(), cert: text().optional(), key: text().optional() }).optional(),
  }).prefault({}),
  data_dir: text().default('.hallpass'),
  database: section({ url: text(databaseUrlFault) }).optional(),
  clock_skew: duration({ zero: true }).prefault('30s'),
  trust: z.array(trustSource).default([]),
  policy: section({ dir: text().optional() }).prefault({}),
  credentials: section({
    ttl_default: duration().optional(),
    ttl_max: duration().prefault('15m'),
    signing_alg: signingAlg().default('ES256'),
    signing_alg_for: z.record(text(), signingAlg()).default({}),
  }).prefault({}),
  tasks: section({
    deadline_default: duration().optional(),
    deadline_max: duration().prefault('24h'),
    depth_max: z.int().min(0).max(64).default(3),
    retention: duration().prefault('90d'),
  }).prefault({}),
  limits: section({
    principal: rate().optional(),
    address: rate().optional(),
    feed_readers: readers().default(5_000),
    feed_readers_anonymous: readers().optional(),
    feed_readers_per_address: readers().optional(),
    feed_readers_per_principal: readers().optional(),
  }).prefault({}),
  pki: section({
    trust_domain: text(trustDomainFault).optional(),
    path: text(pkiPathFault).default('/task/{task_id}'),
  }).prefault({}),
  hooks: z.array(hook).default([]),
})

export type File = z.output<typeof file>

/** The file's values with defaults in place; undefined where something was wrong, all of it reported. */
export const parseShape = (raw: unknown, report: Report): File | undefined => {
  const result = file.safeParse(raw, { error: describe })
  for (const issue of result.error?.issues ?? []) {
    if (issue.code !== 'unrecognized_keys') {
      report(pathText(issue.path) || 'the file', issue.message)
      continue
    }
    for (const key of issue.keys) {
      const meant = nearest(key, issue.message.split(' '))
      report(
        pathText([...issue.path, key]),
        meant === null
          ? 'is not a key that is known here'
          : `is not a key that is known here; did you mean ${meant}?`,
      )
    }
  }
  return result.data
}

const expected: Record<string, string> = {
  object: 'a mapping of keys to values',
  record: 'a mapping of keys to values',
  array: 'a list',
  string: 'a text (in quotes, if it looks like a number)',
  number: 'a number',
  int: 'a whole number',
}

/** Zod's issues in our words, without the value: it may be a secret in the wrong place. */
const describe = (issue: z.core.$ZodRawIssue): string => {
  if (issue.input === undefined) return 'is missing'
  if (issue.input === null) return 'has no value: give one, or leave the key out'
  switch (issue.code) {
    case 'invalid_type':
      return `must be ${expected[issue.expected] ?? issue.expected}`
    case 'invalid_value':
      return `must be ${issue.values.join(', ')}`.replace(/, ([^,]*)$/, ' or $1')
    case 'invalid_union':
      return 'must be oidc or spiffe'
    case 'invalid_key':
      return 'has a key that must be one line of text, and not empty'
    case 'too_small':
      return `must be ${issue.inclusive ? 'at least' : 'more than'} ${issue.minimum}`
    case 'too_big':
      return `must be at most ${issue.maximum}`
    default:
      return 'is not valid'
  }
}
