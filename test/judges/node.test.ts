import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Certified, type Court, openCourt, type Presented } from './court.ts'
import { acted } from './ends.ts'
import { judgeCertificates } from './judge.ts'
import { type NodeServer, nodeClient, startNodeServer } from './node-server.ts'
import { serving } from './service.ts'

describe('Node’s https', () => {
  let court: Court
  let own: Certified
  let server: NodeServer
  beforeAll(async () => {
    court = await openCourt()
    own = await court.certified('/agent/judged', {}, serving)
    server = await startNodeServer(own)
  })
  afterAll(async () => {
    await server?.close()
    await court?.close()
  })

  /** By a handshake: what the server says of who comes. */
  async function verdict({ key, certificate, chain }: Presented) {
    server.trust({ ca: await court.roots(), crl: await court.crls() })
    const got = await nodeClient(server, { ca: await court.roots(), key, cert: certificate + chain })
    const why = server.refused.splice(0)
    if ('error' in got) return why.join() || `not refused by the server: ${got.error}`
    return got.status === 200 ? null : `${got.status} ${got.text}`
  }

  test('a client refuses the service when the task of its certificate has ended', async () => {
    const service = await court.certified('/agent/judged', {}, serving)
    const other = await startNodeServer(service)
    try {
      const me = await court.certified('/agent/a')
      const visit = async () => {
        const pki = { ca: await court.roots(), crl: await court.crls() }
        other.trust(pki)
        return nodeClient(other, { ...pki, key: me.key, cert: me.certificate + me.chain })
      }
      expect(await visit()).toEqual({ status: 200, text: 'in' })
      await acted(court, service.task, 'suspend')
      expect(await visit()).toEqual({ error: expect.stringMatching(/^CERT_REVOKED/) })
      await acted(court, service.task, 'resume')
      expect(await visit()).toEqual({ status: 200, text: 'in' })
      await acted(court, service.task, 'close')
      expect(await visit()).toEqual({ error: expect.stringMatching(/^CERT_REVOKED/) })
    } finally {
      await other.close()
    }
  })

  test('a service refuses who comes with a certificate that is for services alone', async () => {
    expect(await verdict(await court.certified('/agent/a', {}, serving))).toMatch(/INVALID_PURPOSE/)
  })

  judgeCertificates(() => court, {
    'https.createServer with its CRLs': {
      verdict,
      says: {
        ended: /^CERT_REVOKED$/,
        // OpenSSL goes on after a fault, and keeps the last: nobody has a CRL of that authority.
        forged:
          /^UNABLE_TO_GET_ISSUER_CERT(_LOCALLY)?$|^UNABLE_TO_VERIFY_LEAF_SIGNATURE$|^CERT_SIGNATURE_FAILURE$|^UNABLE_TO_GET_CRL$/,
        expired: /^CERT_HAS_EXPIRED$/,
        withoutChain: /^UNABLE_TO_VERIFY_LEAF_SIGNATURE$|^UNABLE_TO_GET_ISSUER_CERT_LOCALLY$/,
        withdrawn: /^CERT_REVOKED$/,
      },
    },
  })
})
