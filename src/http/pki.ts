import { X509Certificate } from 'node:crypto'
import type { Router } from 'express'
import { writePem } from '../der/pem.ts'
import { HallpassError } from '../errors.ts'
import type { Authorities } from '../mint/x509/authorities.ts'
import type { HttpDeps } from './deps.ts'
import { open } from './operation.ts'

/** What certificates of tasks are checked with, for anybody (contract §3). Nothing is there where the broker issues none. */
export function pkiRoutes({ x509, keyTimes }: HttpDeps, router: Router): void {
  // Seconds that roots and authorities may be kept: no authority signs before it was published for so long.
  const maxAge = keyTimes.cache / 1000
  const mustHave = () => {
    if (!x509) throw new HallpassError('not_found', 'This broker issues no certificates.')
    return x509.authorities
  }
  const caching = () => ({
    // A replica that cannot read them may not know the next ones: what it says is not to be kept.
    'Cache-Control': `public, max-age=${x509?.authorities.isCurrent() ? maxAge : 0}`,
    'Access-Control-Allow-Origin': '*',
  })

  router.get('/pki/ca.pem', (_request, response) => {
    const text = chains(mustHave())
    response.set(caching()).type('application/pem-certificate-chain').send(text)
  })
  router.get(
    '/spiffe/bundle',
    open(() => ({ headers: caching(), body: bundle(mustHave(), maxAge) })),
  )
}

/** Every root, and every authority below them, that a certificate which has not expired can need (RFC 8555 §9.1 names the media type). */
function chains(authorities: Authorities): string {
  const needed = [
    ...authorities.roots.published().map(({ certificate }) => certificate),
    ...authorities.published().flatMap(({ chain }) => chain),
  ]
  const once = new Map(needed.map(der => [der.toString('base64'), der]))
  return [...once.values()].map(der => writePem('CERTIFICATE', der)).join('')
}

/** The bundle of the broker's own trust domain (SPIFFE Trust Domain and Bundle §4): its roots alone. */
const bundle = ({ roots }: Authorities, refreshHint: number): Record<string, unknown> => ({
  keys: roots.published().map(({ certificate }) => ({
    use: 'x509-svid',
    ...new X509Certificate(certificate).publicKey.export({ format: 'jwk' }),
    x5c: [certificate.toString('base64')],
  })),
  // A JSON number (§4.1.1): seconds since the epoch fit.
  spiffe_sequence: Number(roots.sequence()),
  spiffe_refresh_hint: refreshHint,
})
