import { z } from 'zod'
import { section } from './section.ts'
import { isClaimName, refFault } from './task-template.ts'
import { issuerFault, urlFault } from './url.ts'
import { duration, taskKindFault, text, trustDomainFault, trustNameFault } from './values.ts'

const claimName = () => text(value => (isClaimName(value) ? null : 'must be the name of a claim'))

/** An attestation of this source stands for one job (contract §4). */
const task = section({
  kind: text(taskKindFault),
  ref: text(refFault),
  bind: z
    .array(claimName())
    .refine(names => new Set(names).size === names.length, 'names a claim twice')
    .default([]),
})

const oidc = section({
  name: text(trustNameFault),
  kind: z.literal('oidc'),
  issuer: text(issuerFault),
  audience: text().optional(),
  jwks_uri: text(urlFault).optional(),
  require: z.record(claimName(), z.string()).default({}),
  task: task.optional(),
  reuse: z.enum(['any', 'once']).default('any'),
  operators: section({
    groups_claim: claimName().default('groups'),
    max_age: duration().prefault('8h'),
  }).optional(),
})

const bundle = section({
  url: text(urlFault).optional(),
  profile: z
    .literal('https_web', { error: 'must be https_web: this version has no other profile' })
    .optional(),
  file: text().optional(),
}).refine(
  ({ url, file, profile }) =>
    (url === undefined) !== (file === undefined) && !(profile !== undefined && url === undefined),
  'must be { url, profile: https_web } or { file }',
)

const spiffe = section({
  name: text(trustNameFault),
  kind: z.literal('spiffe'),
  trust_domain: text(trustDomainFault),
  audience: text().optional(),
  bundle,
  reuse: z.enum(['any', 'once']).default('any'),
})

export const trustSource = z.discriminatedUnion('kind', [oidc, spiffe])
