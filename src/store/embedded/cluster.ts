import { execFile } from 'node:child_process'
import { chown, lchown, lstat, mkdtemp, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import type { Account } from './account.ts'
import { exists } from './home.ts'
import type { Programs } from './programs.ts'
import { asArguments, initialSettings } from './settings.ts'

const run = promisify(execFile)

/** The superuser, used for making the broker's own role and database; the broker is none. */
export const superuser = 'postgres'

/** Who owns the cluster's files; null where there is no cluster yet. */
export async function clusterOwner(data: string): Promise<{ uid: number; gid: number } | null> {
  if (!(await exists(data))) return null
  const { uid, gid } = await stat(data)
  return { uid, gid }
}

/**
 * Makes the cluster where there is none, and checks and hands over the one that is there.
 *
 * @throws Error for a cluster of another major version
 */
export async function prepareCluster(data: string, programs: Programs, account: Account): Promise<void> {
  if (!(await exists(data))) await makeCluster(data, programs, account)
  await handOver(data, account)
  const version = (await readFile(join(data, 'PG_VERSION'), 'utf8').catch(() => '')).trim()
  if (version === programs.major) return
  throw new Error(
    /^\d+$/.test(version)
      ? `${data} was made by PostgreSQL ${version}, and this Hallpass brings PostgreSQL ${programs.major}: dump it with the Hallpass that made it, or set DATABASE_URL`
      : `${data} is no PostgreSQL data directory`,
  )
}

/**
 * Under another name first: a cluster is whole, or not there. The name is new each time, for an initdb may have outlived its
 * broker.
 */
async function makeCluster(data: string, { initdb }: Programs, account: Account): Promise<void> {
  const home = dirname(data)
  for (const name of await readdir(home))
    if (name.startsWith('data.new-'))
      await rm(join(home, name), { recursive: true, force: true, maxRetries: 5 })
  const draft = await mkdtemp(`${data}.new-`)
  if (account.become) await chown(draft, account.become.uid, account.become.gid)
  const [file, ...args] = [
    ...account.prefix,
    initdb,
    ...['--pgdata', draft, '--username', superuser, '--no-instructions', '--data-checksums'],
    // The same order of text on every machine, whatever its C library thinks.
    ...['--encoding', 'UTF8', '--locale-provider', 'builtin', '--builtin-locale', 'C.UTF-8', '--locale', 'C'],
    // No passwords: whoever reaches the socket, in its directory of mode 0700, is the owner or root.
    ...['--auth-local', 'trust', '--auth-host', 'reject'],
    ...asArguments(initialSettings),
  ]
  await run(file!, args, { cwd: '/', timeout: 300_000, env: environment(), ...account.become }).catch(
    cause => {
      throw new Error(`initdb could not make ${data}`, { cause })
    },
  )
  await rename(draft, data)
  await syncDirectory(home)
}

/**
 * A cluster that root made in a namespace, and that now has to run under an account. The top goes last: it is root's own
 * and closed to others until everything below it has changed hands, and a crash in between is made up for by the next
 * start. Never the other way about: in a directory that is another's already, root changes nothing.
 */
async function handOver(data: string, { uid, gid }: Account): Promise<void> {
  if (process.geteuid!() !== 0 || (await lstat(data)).uid !== 0) return
  for (const entry of await readdir(data, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name)
    const current = await lstat(path)
    if (current.uid === uid) continue
    if (current.isFile() && current.nlink > 1) throw new Error(`${path} has a second name`)
    await lchown(path, uid, gid)
  }
  if (uid !== 0) await chown(data, uid, gid)
}

/** Nothing of the broker's own environment, which may hold its master key. */
export function environment(): Record<string, string> {
  return { PATH: process.env.PATH ?? '/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC' }
}

async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path)
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}
