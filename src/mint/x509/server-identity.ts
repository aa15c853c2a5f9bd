import { isIP } from 'node:net'
import type { Clock } from '../../clock.ts'
import { writePem } from '../../der/pem.ts'
import type { Authorities, CertificateUrls } from './authorities.ts'
import { serverCertificate } from './authority-certificate.ts'
import { newPair } from './root.ts'

/** What the broker's own listener for mutual TLS shows: a certificate with those above it, and its key. PEM. */
export interface ServerIdentity {
  cert: string
  key: string
}

/** Milliseconds. It is made anew at half time, and when another authority signs. */
const valid = 24 * 3_600_000
const backdated = 3_600_000

/**
 * A certificate for the host of the issuer, under a key that this process alone has and never writes down. What it answers is the same as long
 * as that is good. Throws `unavailable` while no authority signs.
 */
export async function serverIdentity(deps: {
  authorities: Pick<Authorities, 'active'>
  urls: CertificateUrls
  issuer: string
  clock: Clock
}): Promise<() => ServerIdentity> {
  const { authorities, urls, issuer, clock } = deps
  const { privateKey, publicKey } = await newPair()
  const key = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
  let made: { identity: ServerIdentity; kid: string; until: number } | null = null
  return () => {
    const { kid, signer, chain, notAfter: latest } = authorities.active()
    const now = clock()
    if (made && made.kid === kid && now < made.until && now >= made.until - valid / 2) return made.identity
    const notAfter = Math.min(now + valid, latest)
    const certificate = serverCertificate({
      issuer: signer,
      publicKey,
      names: namesOf(issuer),
      notBefore: now - backdated,
      notAfter,
      urls: { crl: urls.crl(kid) },
    })
    const cert = [certificate, ...chain].map(der => writePem('CERTIFICATE', der)).join('')
    made = { identity: { cert, key }, kid, until: now + (notAfter - now) / 2 }
    return made.identity
  }
}

function namesOf(issuer: string): { dns: string[]; ip: string[] } {
  const host = new URL(issuer).hostname.replace(/^\[|\]$/g, '')
  return isIP(host) ? { dns: [], ip: [host] } : { dns: [host], ip: [] }
}
