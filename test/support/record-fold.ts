import type { claimsOf } from './scene.ts'

/** A row of the revocation record, as the feed tells it. */
export interface RecordRow {
  task_id: string | null
  state: string | null
  ver: number | null
  jti: string | null
  kid: string | null
  until: Date
}

/**
 * Whether a token is live as a verifier tells it, which knows the token and the record and nothing else (contract §8): of each task the
 * latest row counts, and a row that is past its `until` has been forgotten.
 */
export function liveByRecord(
  rows: RecordRow[],
  claims: ReturnType<typeof claimsOf>,
  kid: string,
  now: number,
): boolean {
  const kept = rows.filter(({ until }) => until.getTime() > now)
  const latest = new Map(kept.map(row => [row.task_id, row]))
  const named = [
    ...((claims.task_path as string[] | undefined) ?? []),
    `${claims.task_id}:${claims.task_ver}`,
  ].map(text => text.split(':'))
  return (
    now < claims.exp * 1000 &&
    !kept.some(row => row.jti === claims.jti || row.kid === kid) &&
    named.every(([id = '', ver]) => {
      const row = latest.get(id)
      return row === undefined || (row.state === 'open' && Number(row.ver) <= Number(ver))
    })
  )
}
