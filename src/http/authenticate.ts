import { createHash } from 'node:crypto'
import type { Request, Response } from 'express'
import { bootstrapOperator, looksLikeOperatorToken, verifyOperatorToken } from '../attest/operator-token.ts'
import type { Principal } from '../attest/principal.ts'
import { HallpassError } from '../errors.ts'
import type { Asker } from '../observe/asker.ts'
import { newEvent, refusalsLogged } from '../observe/record.ts'
import { isLive } from '../revoke/live.ts'
import { looksLikeOwnToken } from '../revoke/own-token.ts'
import { mintedFor } from '../store/credentials.ts'
import { addressOf } from './address.ts'
import { type Connection, connectionOf } from './connection.ts'
import type { HttpDeps } from './deps.ts'
import { present } from './presented.ts'
import { requestIdOf } from './request-id.ts'

/** RFC 6750 §2.1: the scheme in any case, one space, a token68. */
const bearer = /^bearer +([A-Za-z0-9._~+/-]+=*)$/i

/**
 * Who asks (contract §3): by `Authorization: Bearer`, with an attestation, a Hallpass token for the broker itself, or the bootstrap operator
 * token; without it by the X.509-SVID that the connection's client showed. Where both are there, the certificate proves nobody: a token can
 * be bound to it, and that is all. Throws `attestation_missing`, `attestation_invalid`, `attestation_reused`, `blocked`, `rate_limited` or `unavailable`.
 */
export async function authenticate(deps: HttpDeps, request: Request, response: Response): Promise<Asker> {
  const header = request.get('Authorization')
  const token = header === undefined ? null : (bearer.exec(header)?.[1] ?? '')
  const connection = connectionOf(request)
  present(response, token ?? connection?.certificate ?? null)
  const common = commonOf(request, response)
  if (token === null && connection) mustBeNoPage(request)
  const asker = { ...common, ...(await whoAsks(deps, token, connection)) }
  await deps.limits.principal(asker.principal.id)
  await mustNotBeBlocked(deps, asker)
  if (await deps.useOnce(asker)) return asker

  const reused = new HallpassError('attestation_reused', 'The attestation was used before.')
  return refusalsLogged(newEvent(asker, 'attest', deps.clock(), {}), deps.writeDecision, () =>
    Promise.reject(reused),
  )
}

/**
 * A blocked operator does nothing here, and so cannot lift the block; the bootstrap operator cannot be blocked. A blocked workload has no
 * open task left, gets none, and may go on to read. What other replicas blocked just now counts: operators are few enough to read it.
 */
async function mustNotBeBlocked({ blocks, clock, writeDecision }: HttpDeps, asker: Asker): Promise<void> {
  const { id, kind, trust } = asker.principal
  if (kind !== 'operator' || id === bootstrapOperator) return
  await blocks.reload()
  const block = blocks.findNamed({ principal: id, trust })
  if (!block) return
  const blocked = new HallpassError('blocked', 'This operator is blocked.', {
    cause: new Error(`by block ${block.id}`),
  })
  await refusalsLogged(newEvent(asker, 'attest', clock(), {}), writeDecision, () => Promise.reject(blocked))
}

/** What is known of whoever asks before they have proved who they are. */
export const commonOf = (request: Request, response: Response): Omit<Asker, 'principal' | 'token'> => ({
  requestId: requestIdOf(response),
  address: addressOf(request),
  certificate: connectionOf(request)?.thumbprint ?? null,
})

/** Whether the caller says who they are, which is then to be proven. */
export const saysWho = (request: Request): boolean =>
  request.get('Authorization') !== undefined || connectionOf(request) !== null

/**
 * A browser shows its user's certificate for whatever page asks it to (RFC 6454 §7.1 has it say which): a certificate alone is no proof that
 * who has it meant this request.
 */
export function mustBeNoPage(request: Request): void {
  if (request.get('Origin') !== undefined || request.get('Sec-Fetch-Site') !== undefined)
    throw new HallpassError(
      'attestation_missing',
      'A page needs Authorization: Bearer, whatever certificate the browser has.',
    )
}

async function whoAsks(
  deps: HttpDeps,
  token: string | null,
  connection: Connection | null,
): Promise<Pick<Asker, 'principal' | 'token'>> {
  if (token === null && connection)
    return { principal: await deps.attestor.attestCertificate(connection.chain), token: null }
  if (token === null) throw new HallpassError('attestation_missing', 'This needs Authorization: Bearer.')
  if (token === '') throw invalid()
  if (looksLikeOperatorToken(token)) return { principal: await bootstrap(deps, token), token: null }
  if (looksLikeOwnToken(token)) return taskToken(deps, token, connection)
  return { principal: await deps.attestor.attest(token), token: null }
}

async function bootstrap(deps: HttpDeps, token: string): Promise<Principal> {
  const { expiresAt } = await verifyOperatorToken(deps, token)
  return {
    id: bootstrapOperator,
    kind: 'operator',
    trust: 'hallpass',
    tags: {},
    groups: [],
    attestation: presented(token, expiresAt),
    template: null,
  }
}

/** A live token of ours that is for the broker alone. One that is bound to a certificate is its holder's alone (RFC 8705 §3). */
async function taskToken(
  deps: HttpDeps,
  token: string,
  connection: Connection | null,
): Promise<Pick<Asker, 'principal' | 'token'>> {
  const claims = deps.openToken(token)
  const found = claims && claims.aud === deps.issuer ? await deps.readCredential(claims.jti) : null
  // Policy judges it by the claims that it was minted for.
  const workload =
    found && isLive(found, deps.clock()) ? await mintedFor(deps.db, found.credential.jti) : null
  if (!claims || !found || !workload) throw invalid()
  if (claims.cnf && (connection === null || claims.cnf['x5t#S256'] !== connection.thumbprint))
    throw invalid('certificate_mismatch')
  const { task } = found
  return {
    principal: {
      id: task.principal,
      kind: 'workload',
      trust: task.trust,
      ...workload,
      attestation: presented(token, claims.exp * 1000),
      template: null,
    },
    token: { taskId: task.id, jti: claims.jti },
  }
}

const presented = (token: string, acceptableUntil: number): Principal['attestation'] => {
  const sha256 = createHash('sha256').update(token).digest('hex')
  return { sha256, useKey: sha256, acceptableUntil, reuse: 'any' }
}

const invalid = (reason?: string): HallpassError =>
  new HallpassError(
    'attestation_invalid',
    'The bearer token is not valid.',
    reason === undefined ? {} : { cause: new Error(reason) },
  )
