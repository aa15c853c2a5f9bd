import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { isThere } from '../support/judges.ts'
import { type Court, openCourt, type Presented } from './court.ts'
import { acted } from './ends.ts'
import { judgeCertificates, type Verdict } from './judge.ts'
import { run, verdictOf } from './run.ts'

const says = {
  ended: /certificate revoked/,
  forged: /unable to get (local )?issuer certificate|signature failure/,
  expired: /certificate has expired/,
  withoutChain: /unable to get local issuer certificate/,
  withdrawn: /certificate revoked/,
}

const saysOcsp = {
  ...says,
  ended: /leaf\.pem: revoked.*Response verify OK/s,
  withdrawn: /leaf\.pem: revoked.*Response verify OK/s,
}

describe.skipIf(!isThere('openssl', 'version'))('openssl (skipped where there is none)', () => {
  let court: Court
  beforeAll(async () => {
    court = await openCourt()
  })
  afterAll(() => court?.close())

  const roots = async () => court.file('roots.pem', await court.roots())
  const verify = async ({ certificate, chain }: Presented, ...options: string[]) =>
    verdictOf(
      'openssl',
      'verify',
      '-x509_strict',
      '-purpose',
      'sslclient',
      '-no-CApath',
      '-no-CAstore',
      '-CAfile',
      await roots(),
      ...(chain ? ['-untrusted', court.file('chain.pem', chain)] : []),
      ...options,
      court.file('leaf.pem', certificate),
    )
  const crlFile = (...crls: string[]) => ['-CRLfile', court.file('crls.pem', ...crls)]

  /** By OCSP, where the certificate says; what OCSP does not say, such as whether the authority signed it, is `verify`'s. */
  async function ocsp(
    presented: Presented,
    ask: (uri: string, about: string[]) => Promise<string[]>,
  ): Promise<Verdict> {
    const verified = await verify(presented)
    if (verified !== null) return verified
    const issuer = court.file('issuer.pem', presented.chain)
    const leaf = court.file('leaf.pem', presented.certificate)
    const uri = (await run('openssl', 'x509', '-in', leaf, '-noout', '-ocsp_uri')).text.trim()
    const about = ['-issuer', issuer, '-cert', leaf]
    const trusting = ['-no-CApath', '-no-CAstore', '-CAfile', await roots(), '-verify_other', issuer]
    const { text } = await run('openssl', 'ocsp', ...about, ...trusting, ...(await ask(uri, about)))
    const isGood = /Response verify OK/.test(text) && /leaf\.pem: good/.test(text) && !/WARNING/.test(text)
    return isGood ? null : text
  }

  /** The request in the address: RFC 6960 appendix A.1. */
  async function get(uri: string, about: string[]): Promise<string[]> {
    const request = court.file('request.der')
    await run('openssl', 'ocsp', ...about, '-no_nonce', '-reqout', request)
    const response = await fetch(`${uri}/${encodeURIComponent(readFileSync(request).toString('base64'))}`)
    const answer = court.file('response.der', Buffer.from(await response.arrayBuffer()))
    return ['-respin', answer, '-no_nonce']
  }

  test('verify refuses where a CRL is missing', async () => {
    const certified = await court.certified('/agent/a')
    expect(await verify(certified, '-crl_check_all')).toMatch(/unable to get certificate CRL/)
  })

  test('verify follows a complete CRL from before and the delta of now', async () => {
    const [ended, held] = [await court.certified('/agent/judged'), await court.certified('/agent/judged')]
    const before = await court.crls()
    const verdicts = async (...options: string[]) => {
      const all = ['-crl_check', '-extended_crl', '-use_deltas', ...options]
      return Promise.all([ended, held].map(one => verify(one, ...all)))
    }
    expect(await verdicts(...crlFile(...before, ...(await court.deltas())))).toEqual([null, null])
    await acted(court, ended.task, 'close')
    await acted(court, held.task, 'suspend')
    // Of the complete one alone, nothing has happened.
    expect(await verdicts(...crlFile(...before))).toEqual([null, null])
    const revoked = expect.stringMatching(/certificate revoked/)
    expect(await verdicts(...crlFile(...before, ...(await court.deltas())))).toEqual([revoked, revoked])
    const between = await court.crls()
    await acted(court, held.task, 'resume')
    expect(await verdicts(...crlFile(...between))).toEqual([revoked, revoked])
    expect(await verdicts(...crlFile(...between, ...(await court.deltas())))).toEqual([revoked, null])
    expect(await verdicts(...crlFile(...before, ...(await court.deltas())))).toEqual([revoked, null])
  })

  judgeCertificates(() => court, {
    'verify with the CRL of the authority': {
      verdict: async presented => verify(presented, '-crl_check', ...crlFile(...(await court.crls()))),
      says,
    },
    'verify with the CRLs of the whole chain': {
      verdict: async presented => verify(presented, '-crl_check_all', ...crlFile(...(await court.crls()))),
      says,
    },
    'verify with the CRL that it fetches from where the certificate says': {
      verdict: presented => verify(presented, '-crl_check', '-crl_download'),
      says,
    },
    'ocsp by POST': { verdict: one => ocsp(one, async uri => ['-url', uri, '-nonce']), says: saysOcsp },
    'ocsp by GET': { verdict: one => ocsp(one, get), says: saysOcsp },
  })
})
