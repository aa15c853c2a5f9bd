import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { isThere } from '../support/judges.ts'
import { type Court, openCourt, type Presented } from './court.ts'
import { judgeCertificates, type Verdict } from './judge.ts'
import { run, verdictOf } from './run.ts'

const says = {
  ended: /NOT trusted.*revoked/,
  forged: /NOT trusted.*issuer is unknown/,
  expired: /NOT trusted.*expired/,
  withoutChain: /NOT trusted.*issuer is unknown/,
  withdrawn: /NOT trusted.*revoked/,
}

const saysRevoked = /Certificate Status: revoked.*Verifying OCSP Response: Success/s

describe.skipIf(!isThere('certtool') || !isThere('ocsptool'))('GnuTLS (skipped where there is none)', () => {
  let court: Court
  beforeAll(async () => {
    court = await openCourt()
  })
  afterAll(() => court?.close())

  const roots = async () => court.file('roots.pem', await court.roots())
  const verify = async ({ certificate, chain }: Presented, ...options: string[]) =>
    verdictOf(
      'certtool',
      '--verify',
      '--verify-purpose',
      '1.3.6.1.5.5.7.3.2',
      '--load-ca-certificate',
      await roots(),
      ...options,
      '--infile',
      court.file('chain.pem', certificate, chain),
    )

  async function ocsp(presented: Presented): Promise<Verdict> {
    const verified = await verify(presented)
    if (verified !== null) return verified
    const { status, text } = await run(
      'ocsptool',
      '--ask',
      '--nonce',
      '--load-cert',
      court.file('leaf.pem', presented.certificate),
      '--load-issuer',
      court.file('issuer.pem', presented.chain),
      '--load-trust',
      court.file('trust.pem', presented.chain, await court.roots()),
      '--outfile',
      court.file('response.der'),
    )
    return status === 0 && /Verifying OCSP Response: Success/.test(text) && /good/i.test(text) ? null : text
  }

  test('takes a CRL as signed by whom it is of, and by nobody else', async () => {
    const { authorities, roots } = await court.authority()
    const signers = [...authorities, ...roots]
    for (const { kid } of signers) {
      const crl = court.file('crl.pem', await court.crl(kid))
      for (const signer of signers) {
        const ca = court.file('ca.pem', signer.certificate)
        const said = await verdictOf('certtool', '--verify-crl', '--load-ca-certificate', ca, '--infile', crl)
        if (signer.kid === kid) expect(said).toBeNull()
        else expect(said).toMatch(/not verified/i)
      }
    }
  })

  judgeCertificates(() => court, {
    'certtool --verify with the CRLs of the whole chain': {
      verdict: async presented =>
        verify(presented, '--load-crl', court.file('crls.pem', ...(await court.crls()))),
      says,
    },
    'ocsptool --ask': {
      verdict: ocsp,
      says: { ...says, ended: saysRevoked, withdrawn: saysRevoked },
    },
  })
})
