import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestBrokerOptions } from '../support/broker.ts'
import { type ClientCertificate, type MtlsClient, mtlsClient } from '../support/mtls-client.ts'
import { selfSigned } from '../support/self-signed.ts'
import type { TestSvid } from '../support/x509.ts'
import { startWorld, type World } from './world.ts'

/** A world whose broker listens for mutual TLS too. */
export interface MtlsWorld extends World {
  /** A client that shows this certificate, or none. */
  with(client?: ClientCertificate): MtlsClient
  /** An X.509-SVID of `spiffe://prod.example` and this path. */
  svid(path: string): TestSvid
  /** Everything that clients have shown. */
  shown: string[]
}

export const ownDomain = 'own.example'

export async function startMtlsWorld({
  config,
  proxies = [],
  ...options
}: TestBrokerOptions & { proxies?: string[] } = {}): Promise<MtlsWorld> {
  const folder = mkdtempSync(join(tmpdir(), 'hallpass-mtls-'))
  const server = selfSigned()
  const mtls = { port: 0, cert: join(folder, 'cert.pem'), key: join(folder, 'key.pem') }
  writeFileSync(mtls.cert, server.cert)
  writeFileSync(mtls.key, server.key)
  const world = await startWorld({
    ...options,
    config: {
      listen: { host: '127.0.0.1', port: 0, metricsPort: 0, mtls, trustedProxies: proxies },
      pki: { trustDomain: ownDomain, path: '/task/{task_id}' },
      ...config,
    },
  })
  const clients: MtlsClient[] = []
  const shown: string[] = []
  return {
    ...world,
    shown,
    with(client) {
      if (client) shown.push(client.cert)
      const baseUrl = world.broker.mtlsUrl ?? ''
      const made = mtlsClient({ baseUrl, server: server.cert, client })
      clients.push(made)
      return made
    },
    svid: path => world.prod.x509.svid(path),
    async close() {
      for (const client of clients) client.close()
      await world.close()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
