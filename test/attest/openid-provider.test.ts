import { expect, it } from 'vitest'
import { startOpenIdProvider } from '../support/openid-provider.ts'
import { attestorFor, broker, oidcSource, outcome } from './sources.ts'

it('accepts what a real OpenID provider issued, with the claims of a CI job', async () => {
  const provider = await startOpenIdProvider({ audience: broker })
  try {
    const template = { kind: 'ci-job', ref: '{run_id}', bind: ['sha'] }
    const { attest } = attestorFor([
      oidcSource({ issuer: provider.issuer, require: { repository_owner_id: '4711' }, task: template }),
    ])
    const job = { sub: 'repo:acme/api:environment:production', repository_owner_id: '4711', run_id: '7' }
    const [first, other] = await Promise.all([
      provider.idToken({ ...job, sha: 'c0ffee', 'kubernetes.io': { namespace: 'ci' } }),
      provider.idToken({ ...job, repository_owner_id: '4712' }),
    ])
    const principal = await attest(first)
    expect(principal).toMatchObject({ id: `ci:${job.sub}`, kind: 'workload', template })
    expect(principal.tags).toMatchObject({
      ...job,
      aud: broker,
      sha: 'c0ffee',
      'kubernetes.io.namespace': 'ci',
    })
    expect(await outcome(attest(other))).toBe('required_claim')
  } finally {
    await provider.close()
  }
})

it('refuses what a real OpenID provider issued to another client', async () => {
  const provider = await startOpenIdProvider({ audience: 'another' })
  try {
    const { attest } = attestorFor([oidcSource({ issuer: provider.issuer })])
    expect(await outcome(attest(await provider.idToken({ sub: 'x' })))).toBe('audience')
  } finally {
    await provider.close()
  }
})
