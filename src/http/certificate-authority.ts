import type { Router } from 'express'
import { writePem } from '../der/pem.ts'
import { HallpassError } from '../errors.ts'
import { installAuthority, requestAuthority } from '../mint/x509/organisation.ts'
import type { Root } from '../mint/x509/root.ts'
import { readAsAdministrator } from '../observe/administer.ts'
import { jsonOf } from './bodies.ts'
import type { HttpDeps } from './deps.ts'
import type * as wire from './openapi.generated.d.ts'
import { authenticated, queryOf } from './operation.ts'
import { keyJson } from './render.ts'

/** The broker's certificate authority, for those who administer it. */
export function certificateAuthorityRoutes(deps: HttpDeps, router: Router): void {
  const { contract } = deps
  const query = contract.query('getCertificateAuthority')
  const requestBody = contract.body('requestAuthority')
  const installBody = contract.body('installAuthority')

  router.get(
    '/v1/ca',
    authenticated(deps, async (asker, request) => {
      query(queryOf(request))
      return { body: await readAsAdministrator(deps, asker, { ca: 'read' }, async () => view(deps)) }
    }),
  )
  router.post(
    '/v1/ca/csr',
    authenticated(deps, async (asker, request) => {
      requestBody(jsonOf(request, contract.mediaType('requestAuthority')))
      return { status: 201, body: await requestAuthority(deps, asker) }
    }),
  )
  router.post(
    '/v1/ca/install',
    authenticated(deps, async (asker, request) => {
      const { chain } = installBody(jsonOf(request, contract.mediaType('installAuthority')))
      await installAuthority(deps, asker, chain)
      return { body: view(deps) }
    }),
  )
}

function view({ x509 }: HttpDeps): wire.CertificateAuthority {
  if (!x509) throw new HallpassError('not_found', 'This broker issues no certificates.')
  const { authorities, pki } = x509
  return {
    trust_domain: pki.trustDomain,
    spiffe_sequence: Number(authorities.roots.sequence()),
    roots: authorities.roots.published().map(rootJson),
    authorities: authorities.list().map(authority => ({
      ...keyJson(authority),
      root: authority.rootKid,
      not_after: new Date(authority.notAfter).toISOString(),
      certificate: writePem('CERTIFICATE', authority.signer.certificate),
    })),
  }
}

const rootJson = ({
  kid,
  subject: _,
  signer,
  certificate,
  notAfter,
  ...dates
}: Root): wire.CertificateRoot => ({
  kid,
  own: signer !== null,
  published_at: dates.publishedAt.toISOString(),
  active_at: dates.activeAt.toISOString(),
  retired_at: dates.retiredAt?.toISOString() ?? null,
  last_day: dates.lastDay?.toISOString() ?? null,
  not_after: new Date(notAfter).toISOString(),
  certificate: writePem('CERTIFICATE', certificate),
})
