import { randomBytes } from 'node:crypto'
import { chmod, link, mkdir, readFile, realpath, rename, rm, stat, writeFile } from 'node:fs/promises'
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
  if (mode & 0o066) await chmod(home, mode & 0o711)
  return realpath(home)
}

/** Where the cluster is: in `home`, unless it had to go elsewhere once. */
export async function clusterHome(home: string): Promise<string> {
  return (await text(join(home, 'elsewhere'))) ?? home
}

/**
 * Makes sure that `account` can enter the cluster's home. Only where it is neither the broker itself nor the broker in a
 * namespace is there something to do: the data directory is opened for passing through (not for listing), and if the way
 * to it is barred further up, as in /root, the cluster goes elsewhere for good.
 *
 * @returns the cluster's home
 */
export async function settleHome(home: string, account: Account, log: Logger): Promise<string> {
  const current = await clusterHome(home)
  if (current === home && account.become) {
    await openForPassing(dirname(home))
    await openForPassing(home)
    if (!(await canEnter(home, account))) await recordElsewhere(home)
  }
  const settled = await clusterHome(home)
  if (settled === home) return home
  await makePublic(settled).catch(cause => {
    throw new Error(
      `user ID ${account.uid}, under which PostgreSQL has to run, can enter neither ${home} nor ${settled}: choose another data_dir`,
      { cause },
    )
  })
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

async function makePublic(directory: string): Promise<void> {
  await mkdir(directory, { recursive: true })
  await chmod(publicPlace, 0o755)
  await chmod(directory, 0o711)
  for (const path of [publicPlace, directory])
    if ((await stat(path)).uid !== process.geteuid!()) throw new Error(`${path} is not the broker's`)
  if (!(await canEnter(directory, { uid: -1, gid: -1 }))) throw new Error(`${directory} cannot be entered`)
}

async function openForPassing(directory: string): Promise<void> {
  const { uid, mode } = await stat(directory)
  if (uid === process.geteuid!()) await chmod(directory, (mode & 0o7777) | 0o001)
}

/** `link` makes the record appear whole, and once. */
async function recordElsewhere(home: string): Promise<void> {
  const draft = join(home, 'elsewhere.new')
  await writeFile(draft, join(publicPlace, randomBytes(8).toString('hex')), { mode: 0o600, flush: true })
  await link(draft, join(home, 'elsewhere'))
  await rm(draft)
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
