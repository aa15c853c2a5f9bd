import type { Request, Router } from 'express'
import { HallpassError } from '../errors.ts'
import { rotateKeys } from '../mint/rotate.ts'
import { withdrawKey } from '../mint/withdraw.ts'
import { readAsAdministrator } from '../observe/administer.ts'
import { searchDecisions } from '../observe/search.ts'
import { jsonOf } from './bodies.ts'
import { cursorsFor } from './cursor.ts'
import type { HttpDeps } from './deps.ts'
import { authenticated, queryOf } from './operation.ts'
import { decisionJson, keyJson } from './render.ts'

/** The decision log and the signing keys: for those who administer the broker. */
export function administrationRoutes(deps: HttpDeps, router: Router): void {
  const { contract, keyring } = deps
  const decisionsQuery = contract.query('listDecisions')
  const keysQuery = contract.query('listKeys')
  const rotateBody = contract.body('rotateKeys')
  const withdrawBody = contract.body('withdrawKey')
  const keys = () => ({
    items: [...keyring.list(), ...(deps.x509?.authorities.list() ?? [])].map(keyJson),
    next: null,
  })

  router.get(
    '/v1/decisions',
    authenticated(deps, async (asker, request) => {
      const { cursor, limit, ...filter } = decisionsQuery(queryOf(request))
      const cursors = cursorsFor(deps.masterKey, asker.principal.id, { decisions: filter })
      const page = { cursor: cursors.open(cursor), limit }
      const { items, next } = await searchDecisions(deps, asker, filter, page)
      return { body: { items: items.map(decisionJson), next: cursors.seal(next) } }
    }),
  )
  router.get(
    '/v1/keys',
    authenticated(deps, async (asker, request) => {
      keysQuery(queryOf(request))
      return { body: await readAsAdministrator(deps, asker, { keys: 'list' }, async () => keys()) }
    }),
  )
  router.post(
    '/v1/keys/rotate',
    authenticated(deps, async (asker, request) => {
      rotateBody(jsonOf(request, contract.mediaType('rotateKeys')))
      await rotateKeys(deps, asker)
      return { body: keys() }
    }),
  )
  router.post(
    '/v1/keys/:kid/withdraw',
    authenticated(deps, async (asker, request) => {
      const { reason } = withdrawBody(jsonOf(request, contract.mediaType('withdrawKey')))
      await withdrawKey(deps, asker, kidOf(request), { reason })
      return { body: keys() }
    }),
  )
}

/** The `kid` in the path: base64url of a thumbprint. What is no `kid` names nothing: `not_found`. */
function kidOf(request: Request): string {
  const { kid } = request.params
  if (typeof kid !== 'string' || !/^[A-Za-z0-9_-]{1,64}$/.test(kid))
    throw new HallpassError('not_found', 'There is no such key.')
  return kid
}
