import type { Writable } from 'node:stream'
import type { Logger } from 'pino'
import type { RecordRow } from '../../store/record.ts'
import { dataFor, eventOf, frame, type View } from './events.ts'
import { createFollower, type FollowerDeps, unread } from './follower.ts'
import { createMatters } from './matters.ts'
import { idOf, positionOf } from './position.ts'
import { createReaders } from './readers.ts'
import { createRing, type RingSize } from './ring.ts'
import { createSnapshots } from './snapshots.ts'

/** The live feed (contract §8): what the record says, as it grows, to everybody who follows. */
export interface Feed {
  start(): void
  /** Waits until everything that was committed before this call is in the feed. Throws `unavailable` where that takes too long. */
  ready(): Promise<void>
  /**
   * Hands on everything after this `Last-Event-ID`, or a snapshot and everything after it, until `out` closes: which is what it does to
   * readers who do not keep up, to all of them when the record went back in time, and when the broker stops. To be called once it is
   * ready, before anything else happens. Throws `unavailable` where it has stopped, and then has opened nothing.
   */
  follow(open: () => Writable, reader: { view: View; lastEventId: string | undefined }): void
  /** Ends every connection, and lets nobody in any more. */
  stop(): Promise<void>
}

export interface FeedDeps {
  log: Logger
  connect: FollowerDeps['connect']
  /** Told of each whole reading of the record. */
  onRead?: (place: { seq: number; at: Date }) => void
  /** Told when a signing key was withdrawn, on whatever replica. */
  onKey?: () => void
  /** Told of each reader who comes, by 1, and who goes, by -1. */
  onReader?: (view: View, by: 1 | -1) => void
  /** Told of each reader who was cut off. */
  onCutOff?: () => void
  /** How much is kept for those who come back, and those who fall behind. */
  ringSize?: RingSize
}

/** Milliseconds. */
const tickEvery = 5_000
const cutOffEvery = 1_000
const forgetEvery = 60_000

export function createFeed(deps: FeedDeps): Feed {
  const { log, connect, onRead, ringSize = largest } = deps
  const ring = createRing(ringSize)
  const matters = createMatters()
  const snapshots = createSnapshots({ matters, ring })
  const readers = createReaders({ ring, snapshots, onReader: deps.onReader, onCutOff: deps.onCutOff })
  let epoch = ''
  /** Of the last whole reading, and its tick; null before the first one of this history. */
  let last: { at: Date; tick: Buffer } | null = null
  let tickIsDue = false
  let stopped = false

  const follower = createFollower({
    log,
    connect,
    onHistory(begins) {
      epoch = begins
      last = null
      ring.reset(0)
      matters.clear()
      snapshots.clear()
      // Their numbers are of another history: they come back, and get a snapshot.
      readers.endAll()
    },
    onRows(rows, end) {
      for (const row of rows) take(row, end)
      if (rows.some(row => 'kid' in row)) deps.onKey?.()
      if (rows.length > 0) readers.pump(null)
    },
    onWhole({ seq, at }) {
      ring.advance(seq)
      last = { at, tick: frame('tick', JSON.stringify({ seq, at })) }
      if (tickIsDue) readers.pump(last.tick)
      tickIsDue = false
      onRead?.({ seq, at })
    },
  })

  function take(row: RecordRow, end: number): void {
    const event = eventOf(row)
    matters.add(event)
    // While the record is read from its beginning nobody follows yet, and the ring would have dropped it before anybody did.
    if (!last && row.seq <= end - ringSize.frames) {
      ring.reset(row.seq)
      return
    }
    const id = idOf({ epoch, seq: row.seq })
    const anonymous = frame(event.name, event.data, id)
    const authenticated =
      event.reason === null ? anonymous : frame(event.name, dataFor(event, 'authenticated'), id)
    ring.append({ seq: row.seq, bytes: { anonymous, authenticated } })
  }

  /** The number to go on after; null where the ring does not hold what came after it. */
  function resumable(lastEventId: string | undefined): number | null {
    const position = positionOf(lastEventId)
    if (position?.epoch !== epoch || position.seq > ring.end() || !ring.holds(position.seq)) return null
    return position.seq
  }

  const timers: NodeJS.Timeout[] = []
  return {
    start() {
      follower.start()
      timers.push(
        setInterval(() => {
          tickIsDue = true
          follower.wake()
        }, tickEvery),
        setInterval(readers.cutOff, cutOffEvery),
        setInterval(() => {
          if (last) matters.forget(last.at.getTime())
        }, forgetEvery),
      )
    },
    ready: follower.fresh,
    follow(open, { view, lastEventId }) {
      if (stopped || !last) throw unread()
      const { at, tick } = last
      const from = resumable(lastEventId) ?? snapshots.take(view, { epoch, at })
      readers.add(open(), { view, from, tick })
    },
    async stop() {
      stopped = true
      for (const timer of timers) clearInterval(timer)
      readers.endAll()
      await follower.stop()
    },
  }
}

const largest: RingSize = { frames: 16_384, bytes: 8 * 1024 * 1024 }
