import { appendFileSync, mkdirSync, renameSync, statSync } from 'node:fs'
import { join } from 'node:path'

const largest = 5 * 1024 * 1024

export interface ServerLog {
  write(chunk: Buffer): void
}

/**
 * PostgreSQL's own log, in two files of 5 MiB at the most. Written by the broker: PostgreSQL's collector bounds a file's
 * age, not its size. Synchronous, for it is little, and it is wanted most when the process is about to end.
 */
export function openServerLog(home: string): ServerLog {
  const folder = join(home, 'log')
  const file = join(folder, 'postgres.log')
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  let size = statSync(file, { throwIfNoEntry: false })?.size ?? 0

  return {
    write(chunk) {
      try {
        if (size > 0 && size + chunk.length > largest) {
          renameSync(file, `${file}.1`)
          size = 0
        }
        appendFileSync(file, chunk, { mode: 0o600 })
        size += chunk.length
      } catch {
        // A full disk is no reason for the broker to end; PostgreSQL answers it in its own way.
      }
    },
  }
}
