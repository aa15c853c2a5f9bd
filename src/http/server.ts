import express, { type Express } from 'express'
import { HallpassError } from '../errors.ts'
import { addressOf } from './address.ts'
import { administrationRoutes } from './administration.ts'
import { blockRoutes } from './blocks.ts'
import { bodyMost, readBody } from './bodies.ts'
import { certificateAuthorityRoutes } from './certificate-authority.ts'
import { credentialRoutes } from './credentials.ts'
import type { HttpDeps } from './deps.ts'
import { type Caching, discoveryRoutes, literal } from './discovery.ts'
import { feedRoutes } from './feed.ts'
import { hookRoutes } from './hooks.ts'
import { measure } from './measure.ts'
import { tokenEndpoint } from './oauth/token.ts'
import { introspectionEndpoint, revocationEndpoint } from './oauth/token-status.ts'
import { open } from './operation.ts'
import { pkiRoutes } from './pki.ts'
import { pkiListRoutes } from './pki-lists.ts'
import { errorHandler } from './problems.ts'
import { nameRequest } from './request-id.ts'
import { statusListRoutes } from './status-lists.ts'
import { taskRoutes } from './tasks.ts'

/** All doors. An issuer with a path serves them below it too, whether or not the proxy in front takes the path away. */
export function createHttp(deps: HttpDeps, caching: Caching): Express {
  const app = express()
  app.disable('x-powered-by')
  app.set('etag', false)
  app.set('query parser', false)
  app.enable('case sensitive routing')
  app.enable('strict routing')
  app.set('trust proxy', deps.listen.trustedProxies)

  app.use(nameRequest, measure(deps.metrics))
  const path = new URL(deps.issuer).pathname.replace(/\/$/, '')
  const doors = routes(deps, caching)
  app.use(doors)
  if (path !== '') app.use(literal(path), doors)
  app.use(() => {
    throw new HallpassError('not_found', 'There is nothing here.')
  })
  app.use(errorHandler(deps))
  return app
}

function routes(deps: HttpDeps, caching: Caching): express.Router {
  const router = express.Router({ caseSensitive: true, strict: true })
  router.get(
    '/healthz',
    open(() => ({ body: { status: 'ok' } })),
  )
  router.get(
    '/readyz',
    open(async () => {
      await deps.ready()
      return { body: { status: 'ok' } }
    }),
  )
  router.get('/openapi.yaml', (_request, response) => {
    response.type('application/yaml').send(deps.contract.text)
  })

  router.use(async (request, _response, next) => {
    await deps.limits.address(addressOf(request))
    deps.mustBeRight()
    next()
  })
  discoveryRoutes(deps, router, caching)
  statusListRoutes(deps, router)
  pkiRoutes(deps, router)
  if (deps.pkiLists) pkiListRoutes({ ...deps, ...deps.pkiLists }, router)

  router.use('/oauth2', readBody(bodyMost.oauth))
  router.post('/oauth2/token', tokenEndpoint(deps))
  router.post('/oauth2/introspect', introspectionEndpoint(deps))
  router.post('/oauth2/revoke', revocationEndpoint(deps))

  router.use('/v1', readBody(bodyMost.other))
  taskRoutes(deps, router)
  credentialRoutes(deps, router)
  blockRoutes(deps, router)
  feedRoutes(deps, router)
  administrationRoutes(deps, router)
  certificateAuthorityRoutes(deps, router)
  hookRoutes(deps, router)
  return router
}
