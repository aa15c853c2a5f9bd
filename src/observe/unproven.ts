import { createHash } from 'node:crypto'
import type { Logger } from 'pino'
import type { Clock } from '../clock.ts'
import { type ErrorCode, type HallpassError, publicCode } from '../errors.ts'
import { newId } from '../ids.ts'
import type { DecisionRow } from '../store/decision-row.ts'
import type { Metrics } from './metrics.ts'

/** What is known of a caller who proved nothing. */
export interface Stranger {
  requestId: string
  address: string | null
  /** What it presented, if anything: a token, or a certificate's DER. Only its digest is kept. */
  proof: string | Buffer | null
}

export type Unproven = (error: HallpassError, stranger: Stranger) => void

/** Rows a second for each reason: a flood of nonsense is counted, writes no more than this, and cannot crowd out another reason. */
const rowsPerSecond = 1

/** Said of every scanner that passes by: counted alone. */
const countedAlone: ReadonlySet<ErrorCode> = new Set(['not_found', 'attestation_missing', 'rate_limited'])

/**
 * Refusals of callers who proved nothing are counted and sampled (invariant 4): whoever can reach the broker must not be able to fill
 * its log. Does not hold up the answer.
 */
export function unprovenRefusals({
  clock,
  log,
  metrics,
  writeDecision,
}: {
  clock: Clock
  log: Logger
  metrics: Metrics
  writeDecision: (row: DecisionRow) => Promise<void>
}): Unproven {
  let second = 0
  let written = new Map<string, number>()

  function mayWrite(label: string, now: number): boolean {
    if (Math.floor(now / 1000) !== second) {
      second = Math.floor(now / 1000)
      written = new Map()
    }
    const before = written.get(label) ?? 0
    written.set(label, before + 1)
    return before < rowsPerSecond
  }

  return (error, stranger) => {
    const reason = reasonOf(error)
    const label = reason ?? publicCode(error.code)
    metrics.unproven.inc({ reason: label })
    const now = clock()
    if (countedAlone.has(error.code) || !mayWrite(label, now)) return
    const row = rowOf(error, reason ?? error.message, stranger, new Date(now))
    log.info(
      { request_id: row.requestId, address: row.address, reason: row.reason, attestation: row.attestation },
      'refused',
    )
    writeDecision(row).catch(failure => {
      log.warn({ err: String(failure) }, 'a sampled refusal was not written')
    })
  }
}

/** Why an attestation was refused, in one word of ours; whatever else a cause says stays out of labels and rows. */
function reasonOf({ code, cause }: HallpassError): string | null {
  if (code !== 'attestation_invalid' && code !== 'unavailable') return null
  return cause instanceof Error && /^[a-z_]{1,40}$/.test(cause.message) ? cause.message : null
}

function rowOf(
  error: HallpassError,
  reason: string,
  { requestId, address, proof }: Stranger,
  at: Date,
): DecisionRow {
  return {
    id: newId(),
    at,
    requestId,
    action: 'attest',
    decision: 'deny',
    code: publicCode(error.code),
    reason,
    principal: null,
    trust: null,
    taskId: null,
    taskVer: null,
    jti: null,
    policyVersion: null,
    policies: [],
    asked: {},
    workload: null,
    context: null,
    attestation: proof === null ? null : createHash('sha256').update(proof).digest('hex'),
    address,
  }
}
