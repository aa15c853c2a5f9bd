import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import type { Clock } from '../clock.ts'
import { HallpassError } from '../errors.ts'
import { ownDecision } from '../observe/own-decision.ts'
import type { Database, Transaction } from '../store/database.ts'
import { writeDecisions } from '../store/decisions.ts'
import { appendRevocations } from '../store/revocations.ts'
import { closeDueInTree, closeDueTasks, type Due, lockSweep } from '../store/sweep.ts'

/** Rows at a time: a transaction stays short, however much is due. */
const closeMost = 500
/** Trees that are waited for in one sweep, and how long the sweep itself stays for them (milliseconds). */
const waitMost = 20
const waitFor = 1_000

export interface Closer {
  /** Closes everything that is due, and answers how many tasks were due themselves. */
  closeDue(): Promise<number>
  /** Resolves once nothing is under way. */
  stop(): Promise<void>
}

/**
 * Closes tasks past their deadline, silent past their heartbeat, and what is below them. First what is in trees that nobody holds; then
 * each of the others by itself: a tree that is minted for without a pause is never free, and one that is held for long must not keep the
 * others waiting.
 */
export function dueCloser({ db, clock, log }: { db: Database; clock: Clock; log: Logger }): Closer {
  const underWay = new Map<string, Promise<number>>()

  async function inTree(root: string): Promise<number> {
    let closed = 0
    try {
      for (let more = true; more; ) {
        const now = new Date(clock())
        const inTurn = () => close(db, now, tx => closeDueInTree(tx, now, closeMost, root))
        const round = await db.waitingToEnd(root, inTurn)
        closed += round.closed.length
        more = round.found === closeMost && round.closed.length > 0
      }
    } catch (error) {
      // Left for the next sweep.
      const cause = error instanceof HallpassError ? error.cause : error
      log.warn({ err: cause instanceof Error ? cause.message : String(error) }, 'a tree could not be swept')
    } finally {
      underWay.delete(root)
    }
    return closed
  }

  return {
    async closeDue() {
      const busy = new Set<string>()
      let closed = 0
      for (let more = true; more; ) {
        const now = new Date(clock())
        const round = await close(db, now, async tx =>
          (await lockSweep(tx)) ? closeDueTasks(tx, now, closeMost, [...busy]) : nothing,
        )
        closed += round.closed.length
        for (const root of round.busy) busy.add(root)
        more = round.found === closeMost && round.closed.length + round.busy.length > 0
      }
      const waits = [...busy]
        .filter(root => !underWay.has(root))
        .slice(0, waitMost)
        .map(root => {
          const wait = inTree(root)
          underWay.set(root, wait)
          return wait.then(count => {
            closed += count
          })
        })
      if (waits.length > 0)
        await Promise.race([Promise.all(waits), sleep(waitFor, undefined, { ref: false })])
      return closed
    },
    async stop() {
      await Promise.all(underWay.values())
    },
  }
}

const nothing: Due = { found: 0, closed: [], busy: [] }

/** One transaction of it, with a decision row for each task that was due itself, and its place in the revocation record. */
function close(db: Database, now: Date, work: (tx: Transaction) => Promise<Due>): Promise<Due> {
  return db.transaction(async tx => {
    const round = await work(tx)
    if (round.closed.length === 0) return round
    await writeDecisions(
      tx,
      round.closed.map(task => ownDecision(task, now)),
    )
    await appendRevocations(
      tx,
      round.closed.map(({ id: taskId, state, ver, closeReason, deadline: until }) => ({
        at: now,
        taskId,
        state,
        ver,
        reason: closeReason ?? state,
        until,
      })),
    )
    return round
  })
}
