import type { DeadRecord } from './dead.ts'
import type { Attempt, Freshness } from './freshness.ts'
import { readCredential, readKey, readSnapshot, readTask, readTick } from './messages.ts'
import type { ServerEvent } from './sse.ts'

/** What changed, for whoever watches tokens. */
export interface Changes {
  task(id: string): void
  credential(jti: string): void
  key(kid: string): void
  /** Anything may have. */
  everything(): void
}

/** A connection to the feed, as far as its events go. */
export interface Listening {
  attempt: Attempt
  /** From the first tick on every number follows the one before; until then some may be left out, which can kill nothing any more. */
  isSettled: boolean
}

/**
 * Why a connection is worth nothing. `malformed`: an event that we know is not of its shape. `out_of_order`: a number that was had, or one that is
 * missing. `other_epoch`: the record is another one, as after a restore. `clocks`: times contradict each other.
 */
export type FeedFault = 'malformed' | 'out_of_order' | 'other_epoch' | 'clocks'

/** Where one is in the record: `<epoch>-<seq>` as an event's id. */
export interface FeedRecord {
  /** To go on with; undefined where only a snapshot will do. */
  lastEventId(): string | undefined
  /** The last number that was applied; null before the first snapshot. */
  seq(): number | null
  /** The database's time of the last reading, in milliseconds since the epoch. */
  at(): number | null
  /** Applies an event, or says why it cannot be: then what is known counts as stale until there is a new snapshot. */
  hear(event: ServerEvent, listening: Listening): FeedFault | null
  /** The next connection begins with a snapshot. */
  startOver(): void
}

interface Position {
  epoch: string
  seq: number
}

/** Applies the feed's events in their order (contract §8): each once, none left out, and never a jump back. */
export function createFeedRecord({
  dead,
  freshness,
  changes,
}: {
  dead: DeadRecord
  freshness: Freshness
  changes: Changes
}): FeedRecord {
  /** Null: only a snapshot is believed. */
  let position: Position | null = null
  /** How far it was ever known, in its epoch. */
  let furthest: Position | null = null
  let lastSeq: number | null = null
  let lastReading: number | null = null

  function hear(event: ServerEvent, listening: Listening): FeedFault | null {
    const fault = apply(event, listening)
    if (fault !== null) {
      position = null
      freshness.distrust()
    }
    return fault
  }

  function apply(event: ServerEvent, listening: Listening): FeedFault | null {
    if (event.type === 'snapshot') return snapshot(event)
    if (event.type === 'tick') return tick(event, listening)
    // Nothing is applied to what has no beginning.
    if (position === null) return 'out_of_order'
    const isKnown = event.type === 'task' || event.type === 'credential' || event.type === 'key'
    const next = readPosition(event.id)
    // A kind of event that this version does not know may be of the record, and then has its number.
    if (next === null) return isKnown ? 'malformed' : null
    if (next.epoch !== position.epoch) return 'other_epoch'
    const follows = listening.isSettled ? next.seq === position.seq + 1 : next.seq > position.seq
    if (!follows) return 'out_of_order'
    if (isKnown && !applied(event)) return 'malformed'
    advance(next)
    return null
  }

  function applied({ type, data }: ServerEvent): boolean {
    if (type === 'task') {
      const message = readTask(data)
      if (message === null) return false
      dead.task(message)
      changes.task(message.taskId)
    } else if (type === 'credential') {
      const message = readCredential(data)
      if (message === null) return false
      dead.credential(message)
      changes.credential(message.jti)
    } else {
      const kid = readKey(data)
      if (kid === null) return false
      dead.key(kid)
      changes.key(kid)
    }
    return true
  }

  function snapshot({ data, id }: ServerEvent): FeedFault | null {
    const message = readSnapshot(data)
    const next = readPosition(id)
    if (message === null || next === null || next.seq !== message.seq) return 'malformed'
    // The broker hands a snapshot out to many, and tells after it what has happened since: that may be known already.
    const isSameRecord = furthest?.epoch === next.epoch
    if (isSameRecord && furthest !== null && next.seq < furthest.seq) dead.merge(message)
    else dead.replace(message, isSameRecord)
    if (!isSameRecord) furthest = null
    advance(next)
    changes.everything()
    return null
  }

  function tick({ data }: ServerEvent, listening: Listening): FeedFault | null {
    const message = readTick(data)
    if (message === null) return 'malformed'
    if (position === null || message.seq < position.seq) return 'out_of_order'
    if (message.seq > position.seq) {
      // Otherwise something was lost on the way.
      if (listening.isSettled) return 'out_of_order'
      advance({ ...position, seq: message.seq })
    }
    listening.isSettled = true
    return reading(message.at, listening)
  }

  function reading(at: number, { attempt }: Listening): FeedFault | null {
    const found = freshness.heard(at, attempt)
    if (found === 'contradiction') return 'clocks'
    if (found === 'proof') {
      lastReading = at
      dead.forget(at)
    }
    return null
  }

  function advance(next: Position): void {
    position = next
    lastSeq = next.seq
    if (furthest === null || next.seq > furthest.seq) furthest = next
  }

  return {
    lastEventId: () => (position === null ? undefined : `${position.epoch}-${position.seq}`),
    seq: () => lastSeq,
    at: () => lastReading,
    hear,
    startOver() {
      position = null
    },
  }
}

const idSyntax = /^([!-~]{1,128})-(0|[1-9]\d{0,15})$/

function readPosition(id: string | undefined): Position | null {
  const parts = id === undefined ? null : idSyntax.exec(id)
  const seq = Number(parts?.[2])
  return parts && Number.isSafeInteger(seq) ? { epoch: parts[1] as string, seq } : null
}
