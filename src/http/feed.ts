import type { Socket } from 'node:net'
import type { Request, Response, Router } from 'express'
import { HallpassError } from '../errors.ts'
import { admitFollower } from '../revoke/feed/admit.ts'
import { addressOf } from './address.ts'
import { authenticate, saysWho } from './authenticate.ts'
import type { HttpDeps } from './deps.ts'
import { createFeedPlaces } from './feed-places.ts'
import { queryOf } from './operation.ts'

const headers = {
  'Content-Type': 'text/event-stream',
  'Cache-Control': 'no-store',
  // nginx holds answers back unless it is told not to.
  'X-Accel-Buffering': 'no',
}

/** The live feed (contract §8): public, and with reasons for those who say who they are. */
export function feedRoutes(deps: HttpDeps, router: Router): void {
  const { contract, feed } = deps
  const query = contract.query('followRevocations')
  const places = createFeedPlaces(deps.feedLimits)

  router.get('/v1/revocations', async (request, response) => {
    query(queryOf(request))
    // Behind another request on the same connection, whose answer has not ended.
    if (response.socket !== request.socket)
      throw new HallpassError('malformed', 'The feed needs a connection of its own.')
    // 1. Who reads, if they say so.
    const asker = saysWho(request) ? await authenticate(deps, request, response) : null
    if (asker) await admitFollower(deps, asker)
    if (request.method === 'HEAD') return void response.writeHead(200, headers).end()
    // 2. A place, for as long as the connection lasts.
    const view = asker ? 'authenticated' : 'anonymous'
    const leave = places.take(asker ? { principal: asker.principal.id } : { address: addressOf(request) })
    if (request.socket.destroyed) return leave()
    response.once('close', leave)
    if (asker) endWith(asker.principal.attestation.acceptableUntil - deps.clock(), response)
    // 3. Nothing that ended before this call may be missing.
    await feed.ready()
    // 4. The stream.
    feed.follow(() => begin(request, response), { view, lastEventId: request.get('Last-Event-ID') })
  })
}

/** Who proved who they are for an hour reads as such for an hour, and then comes back with a new proof, where it was. */
function endWith(milliseconds: number, response: Response): void {
  const over = setTimeout(() => response.destroy(), Math.min(milliseconds, longestTimeout))
  response.once('close', () => clearTimeout(over))
}

/** What a timer of Node.js can hold; more would be none at all. Milliseconds. */
const longestTimeout = 2 ** 31 - 1

/**
 * Writes the head, and answers the socket, for the rest of the connection: past the response, whose every write costs as much again,
 * and without chunks, which would double it: the end of the connection is the end of the stream (RFC 9112 §6.3).
 */
function begin({ socket }: Request, response: Response): Socket {
  response.useChunkedEncodingByDefault = false
  response.writeHead(200, headers)
  response.flushHeaders()
  // Milliseconds before a reader comes back: not all of them at the same moment.
  socket.write(`retry: ${500 + Math.floor(Math.random() * 1_000)}\n\n`)
  return socket
}
