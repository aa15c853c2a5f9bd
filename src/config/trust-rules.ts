import type { Report } from './fault.ts'
import { at, textAt } from './raw.ts'
import { nearForm } from './url.ts'

/** Issuers that everybody shares: what they sign is only ours if a claim says so. */
const sharedIssuers = [
  'https://token.actions.githubusercontent.com',
  'https://gitlab.com',
  'https://agent.buildkite.com',
  'https://accounts.google.com',
]

/** Issuers that sign for CI jobs, which choose their own audience; CircleCI has one for each organisation. */
const signsForJobs = (issuer: string): boolean =>
  sharedIssuers.slice(0, 3).includes(issuer) || issuer.startsWith('https://oidc.circleci.com/')

/** What trust sources must not be to each other, and to the broker, whose own issuer is null where its port is not known yet. */
export const checkTrust = (raw: unknown, ownIssuer: string | null, report: Report): void => {
  const list = at(raw, 'trust')
  const sources = Array.isArray(list) ? list : []
  for (const [index, source] of sources.entries()) {
    const here = `trust[${index}]`
    const issuer = textAt(source, 'issuer')
    if (issuer !== null) checkIssuer(source, { issuer, here, report })
    if (issuer !== null && ownIssuer !== null && nearForm(issuer) === nearForm(ownIssuer)) {
      report(`${here}.issuer`, 'is the issuer of this broker: its own tokens are never attestations')
    }
    if (at(source, 'operators') !== undefined && at(source, 'task') !== undefined) {
      report(`${here}.task`, 'cannot be where operators are: a source is for people or for jobs')
    }
    for (const [key, same] of [
      ['name', (value: string) => value],
      ['issuer', nearForm],
      ['trust_domain', (value: string) => value.toLowerCase()],
    ] as const) {
      const value = textAt(source, key)
      const earlier = sources.slice(0, index).findIndex(other => {
        const theirs = textAt(other, key)
        return value !== null && theirs !== null && same(theirs) === same(value)
      })
      if (earlier === -1) continue
      const exactly = textAt(sources[earlier], key) === value
      report(
        `${here}.${key}`,
        `is ${exactly ? '' : 'all but '}that of trust[${earlier}]${key === 'name' ? '' : ': one issuer, one trust source'}`,
      )
    }
  }
  checkPki(raw, sources, report)
}

const checkIssuer = (
  source: unknown,
  { issuer, here, report }: { issuer: string; here: string; report: Report },
) => {
  const known = nearForm(issuer)
  const require = at(source, 'require')
  if (sharedIssuers.includes(known) && Object.keys(require ?? {}).length === 0) {
    report(
      `${here}.require`,
      'is missing: everybody shares this issuer, so name a claim that only yours have',
    )
  }
  // Whoever can write a job could pick the operators' audience for it, and so come in as an operator.
  if (signsForJobs(known) && at(source, 'operators') !== undefined) {
    report(`${here}.operators`, 'cannot come from an issuer that signs for CI jobs')
  }
}

const checkPki = (raw: unknown, sources: unknown[], report: Report): void => {
  const domain = textAt(raw, 'pki', 'trust_domain')
  const theirs = sources.findIndex(source => domain !== null && textAt(source, 'trust_domain') === domain)
  if (theirs !== -1) report('pki.trust_domain', `is that of trust[${theirs}]`)
}
