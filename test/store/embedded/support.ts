import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdtemp, readdir, readFile, readlink, realpath, rm, rmdir, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { pino } from 'pino'
import { expect, onTestFinished } from 'vitest'
import { connect } from '../../../src/store/embedded/connection.ts'
import {
  type EmbeddedPostgres,
  startEmbeddedPostgres,
} from '../../../src/store/embedded/embedded-postgres.ts'
import { canEnter } from '../../../src/store/embedded/home.ts'

const broker = fileURLToPath(new URL('broker.ts', import.meta.url))

export const isRoot = process.geteuid!() === 0

/** Removed after the test, as are the servers on it. */
export async function temporaryDirectory(place = tmpdir()): Promise<string> {
  const directory = await mkdtemp(join(place, 'hp-'))
  await chmod(directory, 0o755)
  onTestFinished(async () => {
    for (const pid of await serversBelow(directory)) process.kill(pid, 'SIGKILL')
    for (const dataDir of [directory, join(directory, 'data')]) await removeElsewhere(dataDir)
    await rm(directory, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 })
  })
  return directory
}

async function removeElsewhere(dataDir: string): Promise<void> {
  const elsewhere = await readFile(join(dataDir, 'postgres/elsewhere'), 'utf8').catch(() => null)
  if (elsewhere === null) return
  await rm(elsewhere, { recursive: true, force: true })
  await rmdir(dirname(elsewhere)).catch(() => {})
}

export async function start(dataDir: string): Promise<EmbeddedPostgres> {
  const postgres = await startEmbeddedPostgres({ dataDir, log: pino({ level: 'silent' }) })
  onTestFinished(postgres.stop)
  return postgres
}

export interface Broker {
  url: string
  /** Waits for the end. */
  kill(signal: NodeJS.Signals): Promise<void>
}

/** Another process that starts PostgreSQL, as a broker does, and stops it on SIGTERM. `as`: a user ID, for root to give. */
export async function startBroker(dataDir: string, as?: number): Promise<Broker> {
  const child = spawn(process.execPath, [broker, dataDir], {
    cwd: '/',
    stdio: ['pipe', 'pipe', 'pipe'],
    ...(as !== undefined && { uid: as, gid: as }),
  })
  return started(child)
}

/**
 * The same, where user namespaces are refused: inside one in which all user IDs are what they are outside and in which no
 * further one may be made.
 */
export async function startBrokerWithoutNamespaces(dataDir: string, as = 0): Promise<Broker> {
  const forbid = 'echo 0 > /proc/sys/user/max_user_namespaces'
  const inside = `${forbid} && exec setpriv --reuid=${as} --regid=${as} --clear-groups "$@"`
  // The second shell has root's capabilities: they come with executing a program as a root that is mapped.
  const child = spawn(
    'unshare',
    [
      '--user',
      'sh',
      '-c',
      'read go; exec "$@"',
      '-',
      'sh',
      '-c',
      inside,
      '-',
      process.execPath,
      broker,
      dataDir,
    ],
    { cwd: '/', stdio: ['pipe', 'pipe', 'pipe'] },
  )
  const namespaceOf = (pid: number | 'self') => readlink(`/proc/${pid}/ns/user`)
  await eventually(async () => expect(await namespaceOf(child.pid!)).not.toBe(await namespaceOf('self')))
  for (const map of ['uid_map', 'gid_map']) await writeFile(`/proc/${child.pid}/${map}`, '0 0 65536')
  child.stdin.write('go\n')
  return started(child)
}

/** Whether a process of this user can start at all: the checkout may be out of its reach, in /root for example. */
export async function canStartAs(uid: number): Promise<boolean> {
  if (!isRoot) return false
  const places = await Promise.all([broker, process.execPath].map(file => realpath(dirname(file))))
  return (await Promise.all(places.map(place => canEnter(place, { uid, gid: uid })))).every(Boolean)
}

/** Whether `startBrokerWithoutNamespaces` can work. Where not, the other tests are run without namespaces anyway. */
export function canMakeNamespaces(as = 0): boolean {
  return isRoot && spawnSync('unshare', ['--user', 'true'], { uid: as, gid: as }).status === 0
}

async function started(child: ChildProcessWithoutNullStreams): Promise<Broker> {
  onTestFinished(() => {
    child.kill('SIGKILL')
  })
  let complaint = ''
  child.stderr.on('data', (chunk: Buffer) => {
    complaint += chunk.toString()
  })
  const exit = once(child, 'exit')
  const line = await Promise.race([once(createInterface(child.stdout), 'line'), once(child, 'close')])
  if (typeof line[0] !== 'string') throw new Error(complaint)
  return {
    url: line[0],
    async kill(signal) {
      child.kill(signal)
      await exit
    },
  }
}

export async function query(url: string, text: string): Promise<Record<string, unknown>[]> {
  const client = await connect(url)
  try {
    return (await client.query<Record<string, unknown>>(text)).rows
  } finally {
    await client.end()
  }
}

/** Asks until it answers; the test's own limit is the end of it. */
export async function eventually<T>(ask: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await ask()
    } catch {
      await new Promise(resolve => setTimeout(resolve, 20))
    }
  }
}

/** PostgreSQL's processes whose working directory, the cluster, is below this one. */
export async function serversBelow(directory: string): Promise<number[]> {
  const pids: number[] = []
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue
    const cwd = await readlink(`/proc/${name}/cwd`).catch(() => '')
    if (cwd.startsWith(`${directory}/`)) pids.push(Number(name))
  }
  return pids
}

export async function postmasterOf(dataDir: string): Promise<number> {
  const file = await readFile(join(dataDir, 'postgres/data/postmaster.pid'), 'utf8')
  return Number(file.split('\n')[0])
}
