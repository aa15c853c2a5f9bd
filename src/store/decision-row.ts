/** One row of the decision log: what was asked, by whom, in which context, and what came out. */
export interface DecisionRow {
  id: string
  at: Date
  requestId: string
  action: string
  decision: 'allow' | 'deny'
  /** The error code that the caller saw. */
  code: string | null
  /** Why, for the reader of the log; the caller may not have seen it. */
  reason: string | null
  principal: string | null
  trust: string | null
  taskId: string | null
  taskVer: number | null
  jti: string | null
  policyVersion: string | null
  /** `@id`s of the policies that decided. */
  policies: string[]
  asked: Record<string, unknown>
  workload: { tags: Record<string, string>; groups: string[] } | null
  /** The task's context as it was. */
  context: Record<string, string> | null
  /** SHA-256 of the attestation, hex. */
  attestation: string | null
  address: string | null
}
