import { join } from 'node:path'
import type { Logger } from 'pino'
import { chooseAccount } from './account.ts'
import { clusterOwner, prepareCluster } from './cluster.ts'
import { clusterHome, openHome, settleHome } from './home.ts'
import { lockDirectory } from './lock.ts'
import { ensureOwnDatabase } from './own-database.ts'
import { endOrphan } from './postmaster.ts'
import { findPrograms } from './programs.ts'
import { openServerLog } from './server-log.ts'
import { removeRecorded, socketDirectory } from './sockets.ts'
import { supervise } from './supervise.ts'

export interface EmbeddedPostgres {
  /** For `pg`: the broker's own database, as its owner, over a Unix socket. No secret in it. */
  url: string
  /** Fast shutdown; everything committed is kept. May be called twice. */
  stop(): Promise<void>
}

/**
 * A durable PostgreSQL of the broker's own, under `<dataDir>/postgres`, reachable through a socket that only the broker's
 * user can reach. It outlives a broker that is killed; the next start ends it and goes on from its data. If it dies
 * while the broker lives, it is started again.
 *
 * Works as root, too, whom PostgreSQL refuses: see `chooseAccount`. No signal handlers: the caller calls `stop`.
 *
 * @throws Error while another broker uses `dataDir`, for a cluster of another major version, and
 *   where PostgreSQL cannot be started
 */
export async function startEmbeddedPostgres(options: {
  dataDir: string
  log: Logger
}): Promise<EmbeddedPostgres> {
  const log = options.log.child({ part: 'embedded-postgres' })
  const home = await openHome(options.dataDir)
  const locks = [lockDirectory(home)]
  const release = () => {
    for (const lock of locks) lock.release()
  }
  try {
    // 1. Nothing else may be at work on the files.
    const before = await clusterHome(home)
    if (before !== home) locks.push(lockDirectory(before))
    await endOrphan(join(before, 'data'), log)
    // 2. Who runs it, where, and with which programs.
    const account = await chooseAccount(await clusterOwner(join(before, 'data')))
    const settled = await settleHome(home, account, log)
    if (settled !== before) locks.push(lockDirectory(settled))
    const programs = await findPrograms(settled, account)
    // 3. The files.
    const data = join(settled, 'data')
    await prepareCluster(data, programs, account)
    const sockets = await socketDirectory(settled, account)
    // 4. The server, and in it what the broker needs.
    const serverLog = openServerLog(settled)
    const server = await supervise({ postgres: programs.postgres, data, sockets, account, serverLog, log })
    const stop = async () => {
      await server.stop()
      await removeRecorded(settled)
      release()
    }
    try {
      return { url: await ensureOwnDatabase(sockets), stop: once(stop) }
    } catch (error) {
      await stop()
      throw error
    }
  } catch (error) {
    release()
    throw error
  }
}

function once<T>(work: () => Promise<T>): () => Promise<T> {
  let result: Promise<T> | undefined
  return () => {
    result ??= work()
    return result
  }
}
