import { chmodSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'

export interface Lock {
  release(): void
}

/**
 * One broker to a directory. Node has no file locks of its own, but its SQLite has: an exclusive transaction on an empty
 * database is a lock that the kernel drops with the process, however it ends, on every platform and across containers
 * that share a volume. A file with a process ID would be fooled by numbers that are used again.
 *
 * The caller keeps the result: the lock goes with it.
 *
 * @throws Error while another broker has it
 */
export function lockDirectory(directory: string): Lock {
  const file = join(directory, 'lock')
  // A moment's patience: of two that start together both can be in each other's way, and a broker may be just ending.
  const database = new DatabaseSync(file, { timeout: 1_000 })
  try {
    // Who may read it could lock it. By name: opening and closing it here would drop this process's lock (fcntl(2)).
    chmodSync(file, 0o600)
    database.exec('BEGIN EXCLUSIVE')
  } catch (cause) {
    database.close()
    if (!isBusy(cause)) throw cause
    throw new Error(`another broker is running on ${directory}`, { cause })
  }
  return {
    release() {
      if (database.isOpen) database.close()
    },
  }
}

function isBusy(error: unknown): boolean {
  return error instanceof Error && 'errcode' in error && error.errcode === 5
}
