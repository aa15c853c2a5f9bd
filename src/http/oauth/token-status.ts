import type { RequestHandler } from 'express'
import { introspect } from '../../revoke/introspect.ts'
import { revokeToken } from '../../revoke/revoke.ts'
import { formOf } from '../bodies.ts'
import type { HttpDeps } from '../deps.ts'
import { authenticated } from '../operation.ts'
import { setRole } from './errors.ts'

/** `POST /oauth2/introspect` (RFC 7662). */
export function introspectionEndpoint(deps: HttpDeps): RequestHandler {
  const read = deps.contract.form('introspectToken')
  return bearer(
    authenticated(deps, async (asker, request) => ({
      body: await introspect(deps, asker, read(formOf(request)).token),
    })),
  )
}

/** `POST /oauth2/revoke` (RFC 7009). */
export function revocationEndpoint(deps: HttpDeps): RequestHandler {
  const read = deps.contract.form('revokeToken')
  return bearer(
    authenticated(deps, async (asker, request) => {
      await revokeToken(deps, asker, read(formOf(request)).token)
      return {}
    }),
  )
}

/** Here the attestation is the caller's own, in `Authorization`: its faults are told as RFC 6750 tells them. */
const bearer =
  (handler: RequestHandler): RequestHandler =>
  (request, response, next) => {
    setRole(response, 'bearer')
    return handler(request, response, next)
  }
