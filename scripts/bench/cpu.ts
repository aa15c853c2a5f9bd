import { readdirSync, readFileSync } from 'node:fs'

/** USER_HZ: the same on every Linux that Node runs on. */
const ticks = 100

interface Stat {
  parent: number
  /** Seconds of its own, and of its children that ended. */
  own: number
  ended: number
}

/** proc_pid_stat(5); null for a process that is gone. The name, in parentheses, may itself hold anything. */
function stat(pid: number): Stat | null {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1')
    const fields = text
      .slice(text.lastIndexOf(')') + 2)
      .split(' ')
      .map(Number)
    const at = (field: number): number => fields[field - 3] ?? 0
    return { parent: at(4), own: (at(14) + at(15)) / ticks, ended: (at(16) + at(17)) / ticks }
  } catch {
    return null
  }
}

/** CPU seconds that the process has used; NaN where there is no /proc. */
export const cpuOf = (pid: number): number => stat(pid)?.own ?? Number.NaN

/** The postmaster of the backend with this PID; null where it is not a process of this machine. */
export function postmasterOf(backend: number): number | null {
  const parent = stat(backend)?.parent
  return parent && nameOf(parent).startsWith('postgres') && nameOf(backend).startsWith('postgres')
    ? parent
    : null
}

/** CPU seconds of a PostgreSQL server: the postmaster and all its processes, those that ended included. */
export function cpuOfServer(postmaster: number): number {
  const self = stat(postmaster)
  if (!self) return Number.NaN
  let sum = self.own + self.ended
  for (const entry of readdirSync('/proc')) {
    const child = /^\d+$/.test(entry) ? stat(Number(entry)) : null
    if (child?.parent === postmaster) sum += child.own
  }
  return sum
}

function nameOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8')
  } catch {
    return ''
  }
}
