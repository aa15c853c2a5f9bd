import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { isThere } from '../support/judges.ts'
import { type Court, openCourt, type Presented } from './court.ts'
import { acted } from './ends.ts'
import { forged } from './forgeries.ts'
import { type JavaJudge, startJavaJudge } from './java.ts'
import { judgeCertificates } from './judge.ts'
import { startNodeServer } from './node-server.ts'
import { host, serving } from './service.ts'

const says = {
  ended: /revoked, reason: (CESSATION_OF_OPERATION|PRIVILEGE_WITHDRAWN|SUPERSEDED|CERTIFICATE_HOLD)/,
  forged: /signature check failed|does not chain|SignatureException/i,
  expired: /CertificateExpiredException|timestamp check failed/,
  withoutChain: /does not chain|signature check failed|subject\/issuer name chaining check failed/i,
  withdrawn: /revoked, reason: CA_COMPROMISE/,
}

/** Java takes its time to start. Milliseconds. */
const timeout = 120_000

describe.skipIf(!isThere('java'))('Java (skipped where there is none)', () => {
  let court: Court
  let java: JavaJudge
  beforeAll(async () => {
    court = await openCourt()
    java = startJavaJudge('-Djdk.security.certpath.ocspNonce=true')
  })
  afterAll(async () => {
    await java?.close()
    await court?.close()
  })

  const files = async ({ certificate, chain }: Presented) => [
    court.file('roots.pem', await court.roots()),
    court.file('chain.pem', certificate, chain),
  ]

  test('CertPath fetches the CRL from where the certificate says', { timeout }, async () => {
    const [live, ended] = [await court.certified('/agent/a'), await court.certified('/agent/judged')]
    await acted(court, ended.task, 'close')
    // Of its own: Java keeps what it fetched for half a minute.
    const fetching = startJavaJudge('-Dcom.sun.security.enableCRLDP=true')
    try {
      expect(await fetching.ask('fetched-crl', ...(await files(ended)))).toMatch(says.ended)
      expect(await fetching.ask('fetched-crl', ...(await files(live)))).toBeNull()
      const forgery = await forged(court, live)
      expect(await fetching.ask('fetched-crl', ...(await files(forgery)))).toMatch(says.forged)
    } finally {
      await fetching.close()
    }
  })

  test('a handshake with the key of a PKCS #12 file succeeds until the task ends', { timeout }, async () => {
    const server = await court.certified('/agent/server', {}, serving)
    const task = await court.open('/agent/judged', { ref: 'legacy' })
    const pkcs12 = await court.pkcs12('/agent/judged', task, 'changeit')
    const node = await startNodeServer(server)
    try {
      const connect = async () => {
        node.trust({ ca: await court.roots(), crl: await court.crls() })
        const file = court.file('client.p12', pkcs12)
        const roots = court.file('roots.pem', await court.roots())
        return java.ask('tls', roots, file, 'changeit', host, String(node.port))
      }
      expect(await connect()).toBeNull()
      await acted(court, task, 'close')
      expect(await connect()).toMatch(/SSLHandshakeException|SSLException|SocketException|refused: $/)
      expect(node.refused).toEqual(['CERT_REVOKED'])
    } finally {
      await node.close()
    }
  })

  judgeCertificates(() => court, {
    'CertPath with the CRLs of the whole chain': {
      verdict: async presented =>
        java.ask('crl', ...(await files(presented)), court.file('crls.pem', ...(await court.crls()))),
      says,
    },
    'CertPath by OCSP': {
      verdict: async presented => java.ask('ocsp', ...(await files(presented))),
      says,
    },
  })
})
