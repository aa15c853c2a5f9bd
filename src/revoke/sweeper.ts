import cron from 'node-cron'
import type { Logger } from 'pino'
import type { Clock } from '../clock.ts'
import type { ClockWatch } from '../clock-watch.ts'
import { HallpassError } from '../errors.ts'
import type { Keyring } from '../mint/keyring.ts'
import { ownDecision } from '../observe/own-decision.ts'
import type { BlockList } from '../store/blocks.ts'
import type { Database } from '../store/database.ts'
import { writeDecisions } from '../store/decisions.ts'
import { appendRevocations } from '../store/revocations.ts'
import { closeDueTasks, lockSweep, prune } from '../store/sweep.ts'
import { closeIfDue } from '../task/due.ts'

export interface SweeperDeps {
  db: Database
  clock: Clock
  log: Logger
  keyring: Keyring
  blocks: Pick<BlockList, 'reload'>
  clockWatch: ClockWatch
  /** Milliseconds. */
  retention: number
  /** Told of each round: how many tasks it closed. */
  onSwept?: (closed: number) => void
}

export interface Sweeper {
  /** One round of everything. Throws what the database throws. */
  sweep(): Promise<void>
  start(): void
  stop(): Promise<void>
}

/** Rows at a time: a transaction stays short, however much is due. */
const closeMost = 500
/** Trees that are waited for at the same time: each takes a connection. */
const waitMost = 4
const pruneMost = 5_000
/** How long what can matter no more is kept all the same: replicas' clocks differ. */
const margin = 3_600_000

/** Every replica runs it; a lock of the transaction's lets one close tasks at a time. Within 5 s of a deadline (contract §3). */
export function createSweeper(deps: SweeperDeps): Sweeper {
  const { db, clock, log, keyring, clockWatch, retention, onSwept } = deps

  async function sweep(): Promise<void> {
    await clockWatch.look()
    clockWatch.mustBeRight()
    let closed = 0
    for (let more = true; more; ) {
      const round = await closeDue(db, new Date(clock()))
      closed += round.closed + (await closeBusy(round.busy))
      more = round.more
    }
    await deps.blocks.reload()
    await keyring.reload()
    await keyring.maintain()
    onSwept?.(closed)
  }

  /** A tree that is minted for without a pause is never free: it has to be waited for. What takes too long is left for the next round. */
  async function closeBusy(ids: string[]): Promise<number> {
    const closings = await Promise.allSettled(ids.slice(0, waitMost).map(id => closeIfDue(db, id, clock())))
    for (const closing of closings)
      if (closing.status === 'rejected')
        log.warn({ err: causeOf(closing.reason) }, 'a task that is due could not be closed')
    return closings.filter(closing => closing.status === 'fulfilled' && closing.value).length
  }

  async function pruneAll(): Promise<void> {
    clockWatch.mustBeRight()
    const now = clock()
    const cutoffs = { retention: new Date(now - retention), harmless: new Date(now - margin) }
    while (await prune(db, cutoffs, pruneMost));
  }

  function guarded(what: string, work: () => Promise<void>): () => Promise<void> {
    return async () => {
      try {
        await work()
      } catch (error) {
        log.error({ err: causeOf(error) }, `${what} failed`)
      }
    }
  }

  const tasks = [
    cron.createTask('*/2 * * * * *', guarded('the sweep', sweep), { noOverlap: true }),
    cron.createTask('30 * * * * *', guarded('pruning', pruneAll), { noOverlap: true }),
  ]

  return {
    async sweep() {
      await sweep()
      await pruneAll()
    },
    start() {
      for (const task of tasks) task.start()
    },
    async stop() {
      for (const task of tasks) await task.destroy()
    },
  }
}

function causeOf(error: unknown): string {
  const cause = error instanceof HallpassError ? error.cause : error
  return cause instanceof Error ? cause.message : String(cause)
}

/** Closes what is due, with its decision rows and its place in the revocation record. */
function closeDue(db: Database, now: Date): Promise<{ closed: number; busy: string[]; more: boolean }> {
  return db.transaction(async tx => {
    if (!(await lockSweep(tx))) return { closed: 0, busy: [], more: false }
    const { found, closed, busy } = await closeDueTasks(tx, now, closeMost)
    if (closed.length === 0) return { closed: 0, busy, more: false }
    await writeDecisions(
      tx,
      closed.map(task => ownDecision(task, now)),
    )
    await appendRevocations(
      tx,
      closed.map(({ id: taskId, state, ver, closeReason, deadline: until }) => ({
        at: now,
        taskId,
        state,
        ver,
        reason: closeReason ?? state,
        until,
      })),
    )
    return { closed: closed.length, busy, more: found === closeMost }
  })
}
