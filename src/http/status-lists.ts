import type { Request, Response, Router } from 'express'
import { HallpassError } from '../errors.ts'
import { isId } from '../ids.ts'
import { type StatusListToken, statusListTtl } from '../revoke/status-list/token.ts'
import type { HttpDeps } from './deps.ts'
import { isListed } from './entity-tag.ts'
import { queryOf } from './operation.ts'

/** Token Status Lists, for anybody (contract §3; Token Status List, Verification and Processing). */
export function statusListRoutes({ contract, clock, statusList }: HttpDeps, router: Router): void {
  const query = contract.query('getStatusList')

  router.get('/status-lists/:id', async (request, response) => {
    // Refusals too: a browser would tell its page nothing of them.
    response.setHeader('Access-Control-Allow-Origin', '*')
    const { time } = query(queryOf(request))
    const { id } = request.params
    const token = isId(id) ? await statusList(id) : null
    if (!token || !holdsAt(token, time)) throw new HallpassError('not_found', 'There is no such status list.')
    send(request, response, token, Math.floor(clock() / 1000))
  })
}

/** What was at other times is not kept (Token Status List, Historical Resolution). */
const holdsAt = ({ iat, exp }: StatusListToken, time: string | undefined): boolean =>
  time === undefined || (iat <= Number(time) && Number(time) < exp)

/** There is one form, whatever `Accept` says (RFC 9110 §12.5.1), plain or in gzip. `now` is in seconds since the epoch. */
function send(request: Request, response: Response, token: StatusListToken, now: number): void {
  const isZipped = request.acceptsEncodings('gzip', 'identity') === 'gzip'
  const body = isZipped ? token.gzipped : token.jwt
  // Each coding's bytes have a tag of their own (RFC 9110 §8.8.3.3).
  const entityTag = `"${token.entityTag}${isZipped ? '-gzip' : ''}"`
  // However old it is already, a cache must not make it older than its ttl.
  const maxAge = Math.max(token.iat + statusListTtl - now, 0)
  response.setHeader('Cache-Control', `public, max-age=${maxAge}`)
  response.setHeader('ETag', entityTag)
  response.setHeader('Vary', 'Accept-Encoding')
  if (isListed(entityTag, request.get('If-None-Match'))) {
    response.statusCode = 304
    response.end()
    return
  }
  if (isZipped) response.setHeader('Content-Encoding', 'gzip')
  response.setHeader('Content-Type', 'application/statuslist+jwt')
  response.setHeader('Content-Length', body.length)
  response.end(body)
}
