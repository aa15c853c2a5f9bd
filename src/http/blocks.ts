import type { Router } from 'express'
import { HallpassError } from '../errors.ts'
import { isId } from '../ids.ts'
import { liftBlock, searchBlocks } from '../revoke/blocks.ts'
import { type BulkRequest, type BulkResult, revokeMany } from '../revoke/bulk.ts'
import type { Selector } from '../store/bulk.ts'
import { jsonOf } from './bodies.ts'
import { cursorsFor } from './cursor.ts'
import type { HttpDeps } from './deps.ts'
import type { BulkRevocation, BulkRevocationResult } from './openapi.generated.d.ts'
import { authenticated, queryOf } from './operation.ts'
import { blockJson } from './render.ts'

/** `POST /v1/revocations` and `/v1/blocks` (contract §3): to end many, and to keep them from coming back. */
export function blockRoutes(deps: HttpDeps, router: Router): void {
  const { contract } = deps
  const revokeBody = contract.body('revokeMany')
  const listQuery = contract.query('listBlocks')

  router.post(
    '/v1/revocations',
    authenticated(deps, async (asker, request) => {
      const body = revokeBody(jsonOf(request, contract.mediaType('revokeMany')))
      return { body: resultJson(await revokeMany(deps, asker, bulkRequest(body))) }
    }),
  )
  router.get(
    '/v1/blocks',
    authenticated(deps, async (asker, request) => {
      const { cursor, limit } = listQuery(queryOf(request))
      const cursors = cursorsFor(deps.masterKey, asker.principal.id, { blocks: 'list' })
      const { items, next } = await searchBlocks(deps, asker, { cursor: cursors.open(cursor), limit })
      return { body: { items: items.map(blockJson), next: cursors.seal(next) } }
    }),
  )
  router.delete(
    '/v1/blocks/:id',
    authenticated(deps, async (asker, request) => {
      const { id } = request.params
      if (typeof id !== 'string' || !isId(id)) throw new HallpassError('not_found', 'There is no such block.')
      await liftBlock(deps, asker, id)
      return { status: 204 }
    }),
  )
}

function bulkRequest(body: BulkRevocation): BulkRequest {
  const { reason = null, until, dry_run: dryRun = false } = body
  return { selector: selectorOf(body), reason, until: until === undefined ? null : new Date(until), dryRun }
}

/** Throws `invalid` where it is not exactly one. */
function selectorOf({ principal, trust, everything }: BulkRevocation): Selector {
  const given: Selector[] = [
    ...(principal === undefined ? [] : [{ principal }]),
    ...(trust === undefined ? [] : [{ trust }]),
    ...(everything === undefined ? [] : [{ everything }]),
  ]
  const [selector, ...more] = given
  if (selector && more.length === 0) return selector
  const names = selector ? given.flatMap(Object.keys) : ['principal', 'trust', 'everything']
  throw new HallpassError('invalid', 'Exactly one of principal, trust and everything is needed.', {
    paths: names.map(name => ({
      path: `/${name}`,
      message: selector ? 'is one of several' : 'is one that may be given',
    })),
  })
}

const resultJson = ({ dryRun, tasks, credentials, block }: BulkResult): BulkRevocationResult => ({
  dry_run: dryRun,
  tasks,
  credentials,
  block: block && blockJson(block),
})
