import type { Logger } from 'pino'
import { HallpassError } from '../../errors.ts'
import type { Listener } from '../../store/listener.ts'
import {
  type Origin,
  pageSize,
  type Reading,
  type RecordRow,
  readOrigin,
  readRecord,
  renewEpoch,
} from '../../store/record.ts'
import { type Pause, pause } from './pause.ts'
import { epochOf } from './position.ts'

/** Follows the record: each row once, in order, as soon as it is there. One of them on each replica. */
export interface Follower {
  start(): void
  /** Reads at once rather than when the timer says. */
  wake(): void
  /** Waits for a whole reading that begins after this call. Throws `unavailable` where there is none in good time. */
  fresh(): Promise<void>
  stop(): Promise<void>
}

export interface FollowerDeps {
  log: Logger
  /** A connection of the follower's own, which tells when the record has grown. */
  connect: (events: { onNotification: () => void }) => Promise<Listener>
  /** Another history begins, from its first row that is kept: nothing of before holds. */
  onHistory: (epoch: string) => void
  /** Rows that follow on those before; the record goes on to this number at least. */
  onRows: (rows: RecordRow[], end: number) => void
  /** Everything up to this number was handed on, and everything that was committed before this moment of the database's clock. */
  onWhole: (place: { seq: number; at: Date }) => void
}

/** Milliseconds between readings, whatever notifications say: they are a hint, and may be lost. */
const interval = 500
/** Milliseconds of handing on, for thousands of readers, after which others get as much time before the next reading. */
const longTurn = 5
/** Milliseconds that the origin is taken to be what it was: behind a pooler the server can change under a connection. */
const originHolds = 10_000
/** Milliseconds before the first and the later tries to connect again. */
const firstWait = 50
const longestWait = 1_000
/** Milliseconds that somebody waits for a reading. */
const freshMost = 3_000

/** How far the record was handed on. */
interface Place {
  epoch: string
  seq: number
  /** What the row of that number says, to be recognised by; null where it is not known. */
  mark: string | null
}

/** Somebody who waits for a whole reading that begins after the one of this number. */
interface Waiting {
  after: number
  resolve: () => void
  reject: (error: HallpassError) => void
}

export function createFollower(deps: FollowerDeps): Follower {
  const { log, connect } = deps
  let place: Place | null = null
  let origin: { is: Origin; until: number } | null = null
  let begun = 0
  let turn = 0
  let woken = false
  let stopped = false
  let failing = false
  let connection: Listener | null = null
  let resting: Pause | null = null
  let backingOff: Pause | null = null
  let running: Promise<void> = Promise.resolve()
  let waiting: Waiting[] = []

  function wake(): void {
    woken = true
    resting?.end()
  }

  /** For as long as the broker runs; each round is a connection. */
  async function run(): Promise<void> {
    let wait = firstWait
    while (!stopped) {
      try {
        await follow(() => {
          if (failing) log.info('the revocation record is read again')
          wait = firstWait
          failing = false
        })
      } catch (error) {
        if (!failing && !stopped) log.warn({ err: messageOf(error) }, 'the revocation record cannot be read')
        failing = true
      }
      if (stopped) return
      // Whoever waits for a reading does not make this shorter: there may be thousands, and the database is away.
      backingOff = pause(wait)
      await backingOff.over
      wait = Math.min(wait * 2, longestWait)
    }
  }

  async function follow(onWhole: () => void): Promise<void> {
    origin = null
    const mine = await connect({ onNotification: wake })
    connection = mine
    try {
      while (!stopped) {
        woken = false
        turn = 0
        begun++
        const more = await read(mine)
        if (!more) {
          onWhole()
          admit(begun)
        }
        if (turn > longTurn) await pause(turn).over
        if (more || woken || stopped) continue
        resting = pause(interval)
        await resting.over
      }
    } finally {
      await mine.close()
    }
  }

  /** Tells those who waited for a reading that began after they came that this one was. */
  function admit(number: number): void {
    for (const { after, resolve } of waiting) if (after < number) resolve()
    waiting = waiting.filter(({ after }) => after >= number)
  }

  /** One reading. Answers whether there is more to be read before it is whole. */
  async function read(db: Listener): Promise<boolean> {
    const now = performance.now()
    if (!origin || origin.until < now) origin = { is: await readOrigin(db), until: now + originHolds }
    const reading = await readRecord(db, place?.seq ?? 0)
    const epoch = epochOf(reading.epoch, origin.is)
    if (place?.epoch !== epoch) {
      begin(epoch, origin.is)
      return true
    }
    if (!continues(reading, place)) {
      log.error({ epoch, seq: reading.seq, followed: place.seq }, 'the revocation record went back in time')
      await renewEpoch(db, reading.epoch)
      return true
    }
    return handOn(reading, place)
  }

  function begin(epoch: string, { cluster }: Origin): void {
    if (!cluster)
      log.warn('the database does not tell its cluster: change the epoch by hand after it was restored')
    log.info({ epoch }, 'a history of the revocation record begins')
    place = { epoch, seq: 0, mark: null }
    deps.onHistory(epoch)
  }

  function handOn({ seq, at, rows }: Reading, { epoch, seq: from, mark }: Place): boolean {
    const isWhole = rows.length < pageSize
    const news = rows.filter(row => row.seq > from)
    const last = news.at(-1)
    // Half handed on is worth nothing: should this throw, everything is read again.
    place = null
    const since = performance.now()
    deps.onRows(news, seq)
    if (isWhole) deps.onWhole({ seq, at })
    turn = performance.now() - since
    const next = isWhole ? seq : (last?.seq ?? from)
    place = { epoch, seq: next, mark: last?.seq === next ? markOf(last) : next === from ? mark : null }
    return !isWhole
  }

  return {
    start() {
      running = run()
    },
    wake,
    async fresh() {
      if (stopped) throw unread()
      const { promise, resolve, reject } = Promise.withResolvers<void>()
      const one = { after: begun, resolve, reject }
      waiting.push(one)
      const timer = setTimeout(() => {
        waiting = waiting.filter(other => other !== one)
        reject(unread())
      }, freshMost)
      wake()
      await promise.finally(() => clearTimeout(timer))
    },
    async stop() {
      stopped = true
      for (const { reject } of waiting.splice(0)) reject(unread())
      wake()
      backingOff?.end()
      await connection?.close()
      await running
    },
  }
}

/** Whether it is the same history, gone on: no number is smaller, and the last row is the one that was read before. */
function continues({ seq, rows }: Reading, place: Place): boolean {
  if (seq < place.seq) return false
  const [same] = rows
  return place.mark === null || same?.seq !== place.seq || markOf(same) === place.mark
}

/** Of a row, what tells it from another one of the same number in another history. */
const markOf = (row: RecordRow): string => JSON.stringify(row)

export const unread = (): HallpassError =>
  new HallpassError('unavailable', 'The revocation record cannot be read.', { retryAfter: 1 })

function messageOf(error: unknown): string {
  const cause = error instanceof HallpassError ? error.cause : error
  return cause instanceof Error ? cause.message : String(cause)
}
