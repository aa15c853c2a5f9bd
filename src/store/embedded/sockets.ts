import type { Stats } from 'node:fs'
import { chmod, chown, lstat, mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import type { Account } from './account.ts'
import { canEnter } from './home.ts'

/** `sun_path` has 108 bytes, the last of them zero (unix(7)); macOS has 104. */
const longest = process.platform === 'darwin' ? 103 : 107
const prefix = 'hallpass-postgres-'

/**
 * A directory for the socket that nobody but the account (and root) can enter: whoever can, is let in by the server.
 * Below `home`; where that path is too long, a fresh one with an unpredictable name among the temporary files, recorded
 * so that the next start removes it.
 */
export async function socketDirectory(home: string, account: Account): Promise<string> {
  await removeRecorded(home)
  const inHome = join(home, 'socket')
  if (fits(inHome)) {
    await mkdir(inHome, { recursive: true, mode: 0o700 })
    return giveTo(inHome, account)
  }
  for (const place of new Set([tmpdir(), '/tmp'])) {
    if (!fits(join(place, `${prefix}XXXXXX`)) || !(await isSafe(place, account))) continue
    const directory = await mkdtemp(join(place, prefix))
    await writeFile(join(home, 'socket-directory'), directory, { mode: 0o600 })
    return giveTo(directory, account)
  }
  throw new Error(`${inHome} is too long for a socket, and there is no other place for it`)
}

/** Removes what `socketDirectory` made outside `home`. */
export async function removeRecorded(home: string): Promise<void> {
  const record = join(home, 'socket-directory')
  const directory = await readFile(record, 'utf8').catch(() => null)
  if (directory === null) return
  // Temporary files are cleared by others too, and the name may be somebody else's by now.
  const entry = await lstat(directory).catch(() => null)
  if (entry && basename(directory).startsWith(prefix) && (await isOurs(entry, home)))
    await rm(directory, { recursive: true, force: true })
  await rm(record, { force: true })
}

async function isOurs(entry: Stats, home: string): Promise<boolean> {
  const data = await stat(join(home, 'data')).catch(() => null)
  const owned = entry.uid === process.geteuid!() || entry.uid === data?.uid
  return owned && entry.isDirectory() && (entry.mode & 0o7777) === 0o700
}

async function giveTo(directory: string, { become }: Account): Promise<string> {
  if (!(await lstat(directory)).isDirectory()) throw new Error(`${directory} is not a directory`)
  await chmod(directory, 0o700)
  if (become) await chown(directory, become.uid, become.gid)
  return directory
}

/** Where others write too, only a sticky directory keeps them from swapping ours for theirs. */
async function isSafe(place: string, account: Account): Promise<boolean> {
  const { mode, uid } = await stat(place)
  const keepsOwners = (mode & 0o022) === 0 || (mode & 0o1000) !== 0
  return (
    keepsOwners &&
    (uid === 0 || uid === process.geteuid!()) &&
    (!account.become || (await canEnter(place, account)))
  )
}

function fits(directory: string): boolean {
  return Buffer.byteLength(join(directory, '.s.PGSQL.5432')) <= longest
}
