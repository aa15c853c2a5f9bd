import type { Request, Router } from 'express'
import { HallpassError } from '../errors.ts'
import { isId } from '../ids.ts'
import { issueToken } from '../mint/issue-token.ts'
import { issueCertificate } from '../mint/x509/issue-certificate.ts'
import { type KeySource, legacyKey, requestedKey } from '../mint/x509/key-source.ts'
import { listTaskCredentials, readOneCredential } from '../revoke/read.ts'
import { revoke } from '../revoke/revoke.ts'
import { jsonOf } from './bodies.ts'
import { cursorsFor } from './cursor.ts'
import type { HttpDeps } from './deps.ts'
import { scopesOf } from './oauth/grants.ts'
import type { MintRequest } from './openapi.generated.d.ts'
import { authenticated, queryOf } from './operation.ts'
import { certificateJson, credentialJson, tokenJson } from './render.ts'
import { taskId } from './tasks.ts'

/** Credentials of a task, and single ones (contract §3). */
export function credentialRoutes(deps: HttpDeps, router: Router): void {
  const { contract, clock } = deps
  const mintBody = contract.body('mintCredential')
  const revokeBody = contract.body('revokeCredential')
  const listQuery = contract.query('listCredentials')

  router.post(
    '/v1/tasks/:id/credentials',
    authenticated(deps, async (asker, request) => {
      const body = mintBody(jsonOf(request, contract.mediaType('mintCredential')))
      mustFit(body)
      const ask = {
        scopes: scopesOf(body.scope),
        audiences: [...new Set([body.audience].flat())],
        ttl: body.ttl ?? null,
        binding: body.binding ?? null,
        taskId: taskId(request),
        taskVer: body.task_ver ?? null,
      }
      if (body.type === 'jwt') {
        const issued = await issueToken(deps, asker, { ...ask, certificate: null })
        return { status: 201, body: tokenJson(issued, { exchanged: true }) }
      }
      const certificate = { usages: body.usages ?? ['clientAuth' as const], dnsNames: body.dns_names ?? [] }
      const issued = await issueCertificate(deps, asker, { ...ask, certificate }, keyOf(body))
      return { status: 201, body: certificateJson(issued) }
    }),
  )
  router.get(
    '/v1/tasks/:id/credentials',
    authenticated(deps, async (asker, request) => {
      const { cursor, limit } = listQuery(queryOf(request))
      const id = taskId(request)
      const cursors = cursorsFor(deps.masterKey, asker.principal.id, { credentials: id })
      const page = { cursor: cursors.open(cursor), limit }
      const { items, next } = await listTaskCredentials(deps, asker, id, page)
      return { body: { items: items.map(item => credentialJson(item, clock())), next: cursors.seal(next) } }
    }),
  )
  router.get(
    '/v1/credentials/:jti',
    authenticated(deps, async (asker, request) => ({
      body: credentialJson(await readOneCredential(deps, asker, jtiOf(request)), clock()),
    })),
  )
  router.post(
    '/v1/credentials/:jti/revoke',
    authenticated(deps, async (asker, request) => {
      const body = revokeBody(jsonOf(request, contract.mediaType('revokeCredential')))
      return { body: credentialJson(await revoke(deps, asker, jtiOf(request), body), clock()) }
    }),
  )
}

/** Which members go together (contract §3): a certificate is for the key of a CSR, or comes with its own. Throws `invalid`. */
function mustFit({ type, format, ...body }: MintRequest): void {
  const givesKey = type === 'x509' && format === undefined
  const needless = {
    jwt: ['csr', 'usages', 'dns_names', 'password'] as const,
    x509: format === undefined ? (['binding'] as const) : (['csr', 'binding'] as const),
  }[type].filter(name => body[name] !== undefined)
  const paths = [
    ...needless.map(name => ({ path: `/${name}`, message: `has no place with type ${type}` })),
    ...(givesKey && body.csr === undefined ? [{ path: '/csr', message: 'is required' }] : []),
  ]
  if (paths.length > 0)
    throw new HallpassError('invalid', 'The body does not have the shape that the contract gives it.', {
      paths,
    })
}

/** Which of the two it is was seen to before. */
const keyOf = ({ csr, password }: MintRequest): KeySource =>
  password === undefined ? requestedKey(csr ?? '') : legacyKey(password)

function jtiOf(request: Request): string {
  const { jti } = request.params
  if (typeof jti !== 'string' || !isId(jti))
    throw new HallpassError('not_found', 'There is no such credential.')
  return jti
}
