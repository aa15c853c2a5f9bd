import { createHash } from 'node:crypto'
import type { Origin } from '../../store/record.ts'

/** A place in one history of the record: after the row of that number. */
export interface Position {
  epoch: string
  seq: number
}

/**
 * The name of a history of the record: the same on every replica, and another one where the database was restored, whether into another
 * cluster, into another database, or by going back in time.
 */
export const epochOf = (recorded: string, { database, cluster }: Origin): string =>
  createHash('sha256')
    .update(JSON.stringify([recorded, database, cluster?.system, cluster?.timeline]))
    .digest('hex')
    .slice(0, 16)

export const idOf = ({ epoch, seq }: Position): string => `${epoch}-${seq}`

/** A `Last-Event-ID`; null for what is none of ours. */
export function positionOf(id: string | undefined): Position | null {
  const [, epoch, seq] = /^([0-9a-f]{16})-(0|[1-9][0-9]{0,14})$/.exec(id ?? '') ?? []
  return epoch === undefined ? null : { epoch, seq: Number(seq) }
}
