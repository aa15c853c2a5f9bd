import type { Logger } from 'pino'
import type { Clock } from '../../clock.ts'

const day = 24 * 3_600_000
/** How long before its end it is said. Milliseconds. */
const inGoodTime = 30 * day

/**
 * Says once a day that an organisation's authority is about to end, or has: nothing follows it by itself. Told of the end in milliseconds since
 * the epoch, null where nothing signs or will.
 */
export function endWarnings(log: Logger, clock: Clock): (endsAt: number | null) => void {
  let said = { at: Number.NEGATIVE_INFINITY, isOver: false }
  return endsAt => {
    const now = clock()
    const isOver = endsAt === null
    if ((endsAt ?? now) - now > inGoodTime) return
    if (now - said.at < day && isOver === said.isOver) return
    said = { at: now, isOver }
    if (isOver) log.error('no authority signs certificates: the organisation must install another')
    else
      log.warn(
        { ends_at: new Date(endsAt).toISOString() },
        'the authority that the organisation’s root signed ends soon, and none is installed to follow it',
      )
  }
}
