import type { Clock } from '../../clock.ts'
import { DerError } from '../../der/read.ts'
import { HallpassError } from '../../errors.ts'
import { batched } from '../../store/batch.ts'
import { readCertificates, readTaskFacts } from '../../store/certificates.ts'
import type { Database } from '../../store/database.ts'
import { isUnavailable } from '../../store/failure.ts'
import type { Authorities } from './authorities.ts'
import { jtiOf } from './entry.ts'
import { issuerMatcher } from './ocsp-issuer.ts'
import { type CertId, type OcspRequest, readOcspRequest } from './ocsp-request.ts'
import { type OcspStatus, ocspRefusals, signedOcspResponse } from './ocsp-response.ts'
import { crlReasons } from './reasons.ts'
import { responders } from './responder.ts'
import { type CertificateStatus, statusOf } from './status.ts'

export interface OcspDeps {
  db: Pick<Database, 'query'>
  clock: Clock
  authorities: Authorities
}

/** A response, ready to be sent. */
export interface OcspResponse {
  der: Buffer
  /** null where it says only why there is none, or answers this one request: it is not to be kept. Milliseconds since the epoch. */
  keep: { thisUpdate: number; nextUpdate: number } | null
}

/** How long a response may be relied upon. Milliseconds. */
const life = 60_000

/**
 * Answers an OCSP request (RFC 6960), as the rows and the revocation record are now. `good` and `revoked` are for certificates that this
 * broker issued, and has not forgotten; `unknown` for whatever else is asked of one of its authorities. Of requests about nothing that is
 * theirs there is no answer to trust: `unauthorized` (RFC 5019 §2.2.3).
 *
 * Throws `malformed` and `unavailable`: the caller is told so by `ocspRefusals`.
 */
export function ocspResponses({
  db,
  clock,
  authorities,
}: OcspDeps): (bytes: Uint8Array) => Promise<OcspResponse> {
  const isIssuer = issuerMatcher()
  const responderOf = responders(clock)
  const find = batched<string, Found | null>(jtis => findAll(db, jtis), {
    most: 500,
    isShared: isUnavailable,
  })

  return async bytes => {
    const { certIds, nonce } = requestOf(bytes)
    const now = clock()
    // One signs for all, and only for its own authority (RFC 6960 §4.2.2.2): the first that is asked about.
    const authority = authorities
      .list()
      .find(({ signer }) => certIds.some(certId => isIssuer(certId, signer)))
    if (!authority) return { der: ocspRefusals.unauthorized, keep: null }
    const { signer, kid } = authority
    const answer = async (certId: CertId): Promise<OcspStatus> => {
      const jti = isIssuer(certId, signer) ? jtiOf(certId.serial) : null
      const found = jti === null ? null : await find(jti)
      return found?.kid === kid ? ocspStatus(found.status) : { is: 'unknown' }
    }
    const [responder, ...statuses] = await Promise.all([responderOf(signer), ...certIds.map(answer)])
    const times = { thisUpdate: now, nextUpdate: now + life }
    const answers = statuses.map((status, n) => ({ certId: (certIds[n] as CertId).bytes, status }))
    return {
      der: signedOcspResponse(responder, { answers, ...times, nonce }),
      keep: nonce ? null : times,
    }
  }
}

function requestOf(bytes: Uint8Array): OcspRequest {
  try {
    return readOcspRequest(bytes)
  } catch (error) {
    if (!(error instanceof DerError)) throw error
    throw new HallpassError('malformed', 'The OCSP request cannot be read.', { cause: error })
  }
}

interface Found {
  kid: string
  status: CertificateStatus
}

async function findAll(db: Pick<Database, 'query'>, jtis: string[]): Promise<(Found | null)[]> {
  const certificates = await readCertificates(db, [...new Set(jtis)])
  const tasks = [...new Set(certificates.map(({ taskId }) => taskId))]
  const facts = tasks.length > 0 ? await readTaskFacts(db, tasks) : new Map()
  const found = new Map(certificates.map(one => [one.jti, { kid: one.kid, status: statusOf(one, facts) }]))
  return jtis.map(jti => found.get(jti) ?? null)
}

function ocspStatus(status: CertificateStatus): OcspStatus {
  if (status.is === 'good') return { is: 'good' }
  return status.is === 'held'
    ? { is: 'revoked', at: status.at, reason: crlReasons.certificateHold }
    : { is: 'revoked', at: status.at, reason: status.reason }
}
