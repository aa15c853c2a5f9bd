import { execFile } from 'node:child_process'
import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import type { Logger } from 'pino'

const run = promisify(execFile)

/**
 * How a server is asked to go, and how many milliseconds it has: a fast shutdown, an immediate one, none at all. What was
 * committed is in the write-ahead log each time.
 */
const urgings = [
  ['SIGINT', 20_000],
  ['SIGQUIT', 10_000],
  ['SIGKILL', 10_000],
] as const

/**
 * Ends the server that a killed broker left behind on this cluster. To be called under the lock: no live broker uses it.
 *
 * @returns the process ID in the cluster's `postmaster.pid` if a process that is no server of this cluster has it now
 * @throws Error where the server does not end
 */
export async function endOrphan(data: string, log: Logger): Promise<number | null> {
  const pid = await recordedPid(data)
  if (pid === null) return null
  if (await isPostmasterOf(pid, data)) {
    log.warn({ pid }, 'ending the PostgreSQL that an earlier broker left running')
    await endPostmaster(pid, () => isPostmasterOf(pid, data))
  }
  return isAlive(pid) ? pid : null
}

/** Sends one signal after the other until `running` is false. */
export async function endPostmaster(pid: number, running: () => boolean | Promise<boolean>): Promise<void> {
  for (const [signal, patience] of urgings) {
    if (!(await running())) return
    try {
      process.kill(pid, signal)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
    }
    for (let waited = 0, step = 5; waited < patience; waited += step, step = Math.min(step * 2, 100)) {
      await sleep(step)
      if (!(await running())) return
    }
  }
  throw new Error(`PostgreSQL, process ${pid}, does not end`)
}

async function recordedPid(data: string): Promise<number | null> {
  const [line] = (await readFile(join(data, 'postmaster.pid'), 'utf8').catch(() => '')).split('\n')
  const pid = Number(line)
  return Number.isSafeInteger(pid) && pid > 1 ? pid : null
}

/** Process IDs are used again: it is ours if it is a PostgreSQL and works in (or, unreadable, was told) our directory. */
async function isPostmasterOf(pid: number, data: string): Promise<boolean> {
  const command = await commandOf(pid)
  if (!command.includes('/postgres -D ')) return false
  const here = await stat(`/proc/${pid}/cwd`).catch(() => null)
  if (!here) return command.includes(`/postgres -D ${data} -c `)
  const there = await stat(data)
  return here.dev === there.dev && here.ino === there.ino
}

/** Empty where there is no such process, or only its remains. */
async function commandOf(pid: number): Promise<string> {
  if (process.platform === 'linux')
    return (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).replaceAll('\0', ' ')
  return run('ps', ['-ww', '-o', 'command=', '-p', `${pid}`]).then(
    ({ stdout }) => stdout,
    () => '',
  )
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH'
  }
}
