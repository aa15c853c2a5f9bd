import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll } from 'vitest'
import { run } from '../../src/cli/run.ts'
import { systemClock } from '../../src/clock.ts'
import type { Env } from '../../src/config.ts'

const folders: string[] = []
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true })
})

export const folder = (): string => {
  const made = mkdtempSync(join(tmpdir(), 'hallpass-cli-'))
  folders.push(made)
  return made
}

/** Runs one command as the process would, and collects what it says. */
export const hallpass = async (
  args: string[],
  { env = {}, cwd = folder() }: { env?: Env; cwd?: string } = {},
) => {
  const out: string[] = []
  const err: string[] = []
  const exitCode = await run(args, {
    env,
    cwd,
    clock: systemClock,
    fetch: globalThis.fetch,
    out: text => void out.push(text),
    err: text => void err.push(text),
  })
  return { exitCode, out: out.join('\n'), err: err.join('\n') }
}
