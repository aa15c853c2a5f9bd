import type { Clock } from '../clock.ts'
import type { Env } from '../config.ts'

/** What the command line stands on. */
export interface Io {
  env: Env
  cwd: string
  clock: Clock
  fetch: typeof globalThis.fetch
  /** Each writes one or more whole lines; the last line break is added. */
  out: (text: string) => void
  err: (text: string) => void
}

/** What ends a command with one line and an exit code: 1 refused or failed, 2 wrongly called. */
export class CommandError extends Error {
  override readonly name = 'CommandError'
  readonly exitCode: 1 | 2

  constructor(message: string, exitCode: 1 | 2 = 1) {
    super(message)
    this.exitCode = exitCode
  }
}
