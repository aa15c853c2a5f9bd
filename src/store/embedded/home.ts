import { randomBytes } from 'node:crypto'
import { chmod, lstat, mkdir, readFile, realpath, rename, stat, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Logger } from 'pino'
import type { Account } from './account.ts'

/** For clusters whose account cannot enter the broker's own directory. Persistent, and only root writes to it. */
const publicPlace = '/var/lib/hallpass'

/** `<dataDir>/postgres`, made if need be. It must be the broker's: what root does in it must not be steered by others. */
export async function openHome(dataDir: string): Promise<string> {
  await mkdir(dataDir, { recursive: true, mode: 0o700 })
  const home = join(await realpath(dataDir), 'postgres')
  await mkdir(home, { recursive: true, mode: 0o700 })
  const { uid, mode } = await stat(home)
  if (uid !== process.geteuid!())
    throw new Error(`${home} belongs to user ID ${uid}: start the broker as that user`)
  // Whoever could write here may have put something in, which is not told apart any more.
  if (mode & 0o022)
    throw new Error(`${home} could be written by others: look through it, and close it to them`)
  return realpath(home)
}

/**
 * Where the cluster is: in `home`, unless it had to go elsewhere once.
 *
 * @throws Error if it is gone from there; a new one would hide that
 */
export async function clusterHome(home: string): Promise<string> {
  const elsewhere = await text(join(home, 'elsewhere'))
  if (elsewhere === null) return home
  if (await exists(elsewhere)) return elsewhere
  throw new Error(`the PostgreSQL of ${home} was in ${elsewhere}, which is gone`)
}

/**
 * Makes sure that `account` can enter the cluster's home. Only where it is neither the broker itself nor the broker in a
 * namespace is there something to do: the data directory is opened for passing through (not for listing), and if the way
 * to it is barred further up, as in /root, the cluster goes elsewhere for good.
 *
 * @returns the cluster's home
 */
export async function settleHome(home: string, account: Account, log: Logger): Promise<string> {
  let settled = await clusterHome(home)
  if (settled === home && account.become) {
    await openForPassing(dirname(home))
    await openForPassing(home)
    if (!(await canEnter(home, account))) settled = await goElsewhere(home, account)
  }
  if (settled === home) return home
  // Recorded first and moved then: a crash in between is made up for here.
  if ((await exists(join(home, 'data'))) && !(await exists(join(settled, 'data'))))
    await rename(join(home, 'data'), join(settled, 'data')).catch(cause => {
      throw new Error(`${join(home, 'data')} could not be moved to ${settled}`, {
        cause,
      })
    })
  log.warn({ directory: settled }, 'PostgreSQL runs under another account, which cannot enter data_dir')
  return settled
}

/** Whether the mode bits let this account through. Access lists are not read: unknown is no. */
export async function canEnter(
  directory: string,
  { uid, gid }: { uid: number; gid: number },
): Promise<boolean> {
  const entry = await stat(directory)
  const bit = entry.uid === uid ? 0o100 : entry.gid === gid ? 0o010 : 0o001
  if (!(entry.mode & bit)) return false
  const parent = dirname(directory)
  return parent === directory || canEnter(parent, { uid, gid })
}

/** Made, then recorded: what is recorded has been there. */
async function goElsewhere(home: string, { uid }: Account): Promise<string> {
  const elsewhere = join(publicPlace, randomBytes(8).toString('hex'))
  try {
    await makePublic(publicPlace, 0o755)
    await makePublic(elsewhere, 0o711)
    if (!(await canEnter(elsewhere, { uid: -1, gid: -1 }))) throw new Error(`${elsewhere} cannot be entered`)
  } catch (cause) {
    throw new Error(
      `user ID ${uid}, under which PostgreSQL has to run, can enter neither ${home} nor ${publicPlace}: choose another data_dir`,
      { cause },
    )
  }
  const draft = join(home, 'elsewhere.new')
  await writeFile(draft, elsewhere, { mode: 0o600, flush: true })
  await rename(draft, join(home, 'elsewhere'))
  return elsewhere
}

async function makePublic(directory: string, mode: number): Promise<void> {
  await mkdir(directory, { recursive: true })
  if ((await lstat(directory)).uid !== process.geteuid!()) throw new Error(`${directory} is not the broker's`)
  await chmod(directory, mode)
}

async function openForPassing(directory: string): Promise<void> {
  const { uid, mode } = await stat(directory)
  if (uid === process.geteuid!()) await chmod(directory, (mode & 0o7777) | 0o001)
}

async function text(file: string): Promise<string | null> {
  return readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null
    throw error
  })
}

export async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return false
      throw error
    },
  )
}
