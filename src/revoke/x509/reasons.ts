import type { CloseReason } from '../../store/task-record.ts'

/** CRLReason (RFC 5280 §5.3.1), as far as it is used here. */
export const crlReasons = {
  unspecified: 0,
  caCompromise: 2,
  superseded: 4,
  cessationOfOperation: 5,
  certificateHold: 6,
  removeFromCrl: 8,
  privilegeWithdrawn: 9,
} as const
export type CrlReason = (typeof crlReasons)[keyof typeof crlReasons]

/** Of a task that is over, whatever it was over by; but for those that somebody put an end to because it should not have gone on. */
export const reasonOfClosed: Record<CloseReason, CrlReason> = {
  completed: crlReasons.cessationOfOperation,
  failed: crlReasons.cessationOfOperation,
  cancelled: crlReasons.cessationOfOperation,
  expired: crlReasons.cessationOfOperation,
  silent: crlReasons.cessationOfOperation,
  parent_closed: crlReasons.cessationOfOperation,
  revoked: crlReasons.privilegeWithdrawn,
  risk: crlReasons.privilegeWithdrawn,
}
