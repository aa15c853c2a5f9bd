import type { Ended } from '../../task/ended.ts'

/** What a delivery says, read by the reader of its kind. */
export interface Delivery {
  /** The event, in the authority's words. */
  event: string
  /** What the authority calls this delivery; null where it does not say. */
  id: string | null
  /** What is over; empty where nothing is, or nothing that could have had a task. */
  ends: Ended[]
}

/** A word of a header, as it may stand in the log: nobody has signed it. */
export const word = (text: string | undefined): string | null =>
  text !== undefined && /^[\x21-\x7e]{1,128}$/.test(text) ? text : null
