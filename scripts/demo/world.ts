import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type OpenIdProvider, startOpenIdProvider } from '../../test/support/openid-provider.ts'
import { createTrustDomain, type TestTrustDomain } from '../../test/support/spiffe.ts'
import { type BrokerProcess, startBrokerProcess } from './broker.ts'
import { startService } from './service.ts'
import { names, writeSettings } from './settings.ts'

/** Everybody in the story. */
export interface World {
  broker: BrokerProcess
  /** Real OpenID providers: the CI's, which signs for jobs, and the company's, where people sign in. */
  ci: OpenIdProvider
  staff: OpenIdProvider
  /** The trust domain of the agents. */
  prod: TestTrustDomain
  /** Where the protected service is; and over mutual TLS, by this certificate of its own. */
  service: string
  mtlsService: string
  serviceCertificate: string
  signal: AbortSignal
}

/** Starts everything on loopback and in a folder of its own. What ends it again goes into `stops`, in the order of starting. */
export async function startWorld(signal: AbortSignal, stops: (() => Promise<void>)[]): Promise<World> {
  const folder = await mkdtemp(join(tmpdir(), 'hallpass-demo-'))
  stops.push(() => rm(folder, { recursive: true, force: true }))

  const ci = await startOpenIdProvider({ audience: names.ciAudience })
  stops.push(ci.close)
  const staff = await startOpenIdProvider({ audience: names.staffAudience })
  stops.push(staff.close)
  const prod = createTrustDomain(names.trustDomain)
  await prod.writeBundle(join(folder, 'bundle.json'))

  const config = await writeSettings(folder, { ciIssuer: ci.issuer, staffIssuer: staff.issuer })
  const broker = await startBrokerProcess({ config, signal, stops })

  const service = await startService({ broker: broker.url, audience: names.serviceAudience, stops })
  const { url, mtlsUrl, certificate } = service
  return {
    broker,
    ci,
    staff,
    prod,
    service: url,
    mtlsService: mtlsUrl,
    serviceCertificate: certificate,
    signal,
  }
}
