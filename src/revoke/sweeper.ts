import cron from 'node-cron'
import type { Logger } from 'pino'
import type { Clock } from '../clock.ts'
import type { ClockWatch } from '../clock-watch.ts'
import { HallpassError } from '../errors.ts'
import type { Keyring } from '../mint/keyring.ts'
import type { BlockList } from '../store/blocks.ts'
import type { Database } from '../store/database.ts'
import { prune } from '../store/sweep.ts'
import { dueCloser } from './close-due.ts'

export interface SweeperDeps {
  db: Database
  clock: Clock
  log: Logger
  /** The keys that sign tokens, and the authorities that sign certificates. */
  custodies: Pick<Keyring, 'reload' | 'maintain'>[]
  blocks: Pick<BlockList, 'reload'>
  clockWatch: ClockWatch
  /** Milliseconds; no less than `ttlMax` and a margin is heeded. */
  retention: number
  /** The longest that a credential lives, in milliseconds: a status list finds what is dead by its task. */
  ttlMax: number
  /** Told of each round: how many tasks it closed. */
  onSwept?: (closed: number) => void
}

export interface Sweeper {
  /** One round of everything. Throws what the database throws. */
  sweep(): Promise<void>
  start(): void
  stop(): Promise<void>
}

/** Rows at a time: a transaction stays short, however much there is. */
const pruneMost = 5_000
/** How long what can matter no more is kept all the same: replicas' clocks differ. */
const margin = 3_600_000

/** Every replica runs it; a lock of the transaction's lets one close tasks at a time. Within 5 s of a deadline (contract §3). */
export function createSweeper(deps: SweeperDeps): Sweeper {
  const { db, clock, log, custodies, clockWatch, onSwept } = deps
  const retention = Math.max(deps.retention, deps.ttlMax + margin)
  const closer = dueCloser({ db, clock, log })

  async function sweep(): Promise<void> {
    await clockWatch.look()
    clockWatch.mustBeRight()
    const closed = await closer.closeDue()
    await deps.blocks.reload()
    for (const custody of custodies) {
      await custody.reload()
      await custody.maintain()
    }
    onSwept?.(closed)
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
        const cause = error instanceof HallpassError ? error.cause : error
        log.error({ err: cause instanceof Error ? cause.message : String(cause) }, `${what} failed`)
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
      await closer.stop()
    },
  }
}
