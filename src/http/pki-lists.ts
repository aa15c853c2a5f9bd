import { createHash } from 'node:crypto'
import type { Request, Response, Router } from 'express'
import type { Logger } from 'pino'
import type { Clock } from '../clock.ts'
import { HallpassError } from '../errors.ts'
import type { Unproven } from '../observe/unproven.ts'
import { type Crl, type CrlAsked, crlMaxAge } from '../revoke/x509/crl.ts'
import type { OcspResponse } from '../revoke/x509/ocsp.ts'
import { requestMost } from '../revoke/x509/ocsp-request.ts'
import { ocspRefusals } from '../revoke/x509/ocsp-response.ts'
import { addressOf } from './address.ts'
import { bytesOf, readBody } from './bodies.ts'
import type { Contract } from './contract.ts'
import { isListed } from './entity-tag.ts'
import { queryOf } from './operation.ts'
import { requestIdOf } from './request-id.ts'

export interface PkiListDeps {
  contract: Pick<Contract, 'query'>
  clock: Clock
  log: Logger
  unproven: Unproven
  /** null where there is no such CRL, or no longer. */
  crl: (asked: CrlAsked) => Promise<Crl | null>
  ocsp: (request: Uint8Array) => Promise<OcspResponse>
}

const requestType = 'application/ocsp-request'
/** Seconds that a cache may keep a response for: no longer than a CRL. */
const ocspMaxAge = crlMaxAge

/** What became of certificates, for anybody: CRLs (RFC 5280, RFC 2585 §3) and OCSP over HTTP (RFC 6960 appendix A, RFC 5019). */
export function pkiListRoutes(deps: PkiListDeps, router: Router): void {
  const { contract } = deps
  const noQuery = {
    getCrl: contract.query('getCrl'),
    getCrlOf: contract.query('getCrlOf'),
    getDeltaCrlOf: contract.query('getDeltaCrlOf'),
  }

  const crlOf =
    (operation: keyof typeof noQuery, kind: CrlAsked['kind']) =>
    async (request: Request<{ kid?: string }>, response: Response): Promise<void> => {
      // Refusals too: a browser would tell its page nothing of them.
      response.setHeader('Access-Control-Allow-Origin', '*')
      noQuery[operation](queryOf(request))
      const crl = await deps.crl({ kid: request.params.kid ?? null, kind })
      if (!crl) throw new HallpassError('not_found', 'There is no such CRL.')
      sendCrl(request, response, crl, Math.floor(deps.clock() / 1000))
    }
  router.get('/pki/crl', crlOf('getCrl', 'complete'))
  router.get('/pki/crl/:kid', crlOf('getCrlOf', 'complete'))
  router.get('/pki/crl/:kid/delta', crlOf('getDeltaCrlOf', 'delta'))

  router.post('/pki/ocsp', readBody(requestMost), async (request, response) => {
    if (mediaTypeOf(request) !== requestType)
      throw new HallpassError('unsupported_media_type', `The body must be ${requestType}.`)
    await answerOcsp(deps, request, response, bytesOf(request))
  })
  // What follows is base64, whose own slashes may be there as they are.
  router.get('/pki/ocsp/*request', async (request, response) => {
    await answerOcsp(deps, request, response, requestIn(request))
  })
}

function sendCrl(request: Request, response: Response, crl: Crl, now: number): void {
  const entityTag = `"${crl.entityTag}"`
  // However old it is already, a cache must not make it older than that.
  const maxAge = Math.min(Math.max(crl.thisUpdate + crlMaxAge - now, 0), crlMaxAge)
  response.setHeader('Cache-Control', `public, max-age=${maxAge}`)
  response.setHeader('ETag', entityTag)
  if (isListed(entityTag, request.get('If-None-Match'))) {
    response.statusCode = 304
    response.end()
    return
  }
  response.setHeader('Content-Type', 'application/pkix-crl')
  response.setHeader('Content-Length', crl.der.length)
  response.end(crl.der)
}

/**
 * Whatever becomes of a request, the answer is OCSP's own, with 200: clients read no other (RFC 6960 §2.3). What cannot be read is told to
 * the log as every refusal is.
 */
async function answerOcsp(
  deps: PkiListDeps,
  request: Request,
  response: Response,
  bytes: Uint8Array | null,
): Promise<void> {
  response.setHeader('Access-Control-Allow-Origin', '*')
  response.setHeader('Content-Type', 'application/ocsp-response')
  const { der, keep } = await ocspAnswer(deps, request, response, bytes)
  response.setHeader('Cache-Control', 'no-store')
  if (keep && request.method !== 'POST') setCaching(response, der, keep)
  response.setHeader('Content-Length', der.length)
  response.end(der)
}

async function ocspAnswer(
  { ocsp, log, unproven }: PkiListDeps,
  request: Request,
  response: Response,
  bytes: Uint8Array | null,
): Promise<OcspResponse> {
  try {
    if (!bytes) throw new HallpassError('malformed', 'The OCSP request is not base64.')
    return await ocsp(bytes)
  } catch (error) {
    if (!(error instanceof HallpassError) || (error.code !== 'malformed' && error.code !== 'unavailable'))
      throw error
    const requestId = requestIdOf(response)
    unproven(error, { requestId, address: addressOf(request), proof: null })
    if (error.code === 'malformed') return { der: ocspRefusals.malformedRequest, keep: null }
    const cause = error.cause instanceof Error ? error.cause.message : 'unknown'
    log.warn({ cause, request_id: requestId }, 'something that is needed is away')
    response.setHeader('Retry-After', String(error.retryAfter ?? 1))
    return { der: ocspRefusals.tryLater, keep: null }
  }
}

/** RFC 5019 §6.2; but for less long than the response holds, so that an end is known as soon as by a CRL. */
function setCaching(
  response: Response,
  der: Buffer,
  { thisUpdate }: NonNullable<OcspResponse['keep']>,
): void {
  response.setHeader('Cache-Control', `max-age=${ocspMaxAge}, public, no-transform, must-revalidate`)
  response.setHeader('Last-Modified', new Date(thisUpdate).toUTCString())
  response.setHeader('Expires', new Date(thisUpdate + ocspMaxAge * 1000).toUTCString())
  response.setHeader('ETag', `"${createHash('sha256').update(der).digest('hex')}"`)
}

const mediaTypeOf = (request: Request): string =>
  (request.get('Content-Type') ?? '').split(';')[0]?.trim().toLowerCase() ?? ''

/** The request in the path, base64 and then encoded for it (RFC 6960 appendix A.1); null where it is not. */
function requestIn({ path }: Request): Uint8Array | null {
  // As it was sent: what was decoded already does not tell a slash of base64 from one that was there.
  const [, encoded = ''] = /\/pki\/ocsp\/(.*)$/s.exec(path) ?? []
  try {
    const text = decodeURIComponent(encoded)
    const bytes = Buffer.from(text, 'base64')
    return bytes.length > 0 && bytes.toString('base64') === text ? bytes : null
  } catch {
    return null
  }
}
