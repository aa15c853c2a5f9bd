import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { userInfo } from 'node:os'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** /proc/sys/kernel/overflowuid, unless somebody changed it. */
const overflowUid = 65_534

/** Whom PostgreSQL's programs run as: they refuse root, and `initdb` refuses a user ID that has no name. */
export interface Account {
  /** Owner of the cluster's files, as the broker sees it. */
  uid: number
  gid: number
  /** What comes before a program and its arguments. */
  prefix: string[]
  /** Set where the new process takes on another identity. */
  become?: { uid: number; gid: number }
}

/**
 * A cluster is always run as the owner of its files, so nothing changes hands when the broker is started in another way
 * later. A new one is the broker's own: as root by way of a user namespace, or, where namespaces are refused, of an
 * account without privileges.
 *
 * @param owner of the cluster on disk; null where there is none yet
 * @throws Error where PostgreSQL cannot be run as anybody
 */
export async function chooseAccount(owner: { uid: number; gid: number } | null): Promise<Account> {
  const self = { uid: process.geteuid!(), gid: process.getegid!() }
  if (self.uid !== 0) {
    if (owner && owner.uid !== self.uid)
      throw new Error(
        `the embedded PostgreSQL's files belong to user ID ${owner.uid}: start the broker as that user`,
      )
    if (owner || hasName()) return { ...self, prefix: [] }
  }
  if (owner && owner.uid !== 0) return { ...owner, prefix: [], become: { uid: owner.uid, gid: owner.gid } }

  const names = await namedAccounts()
  const prefix = await namespace(names)
  if (prefix) return { ...self, prefix }
  if (self.uid !== 0)
    throw new Error(
      `user ID ${self.uid} has no entry in /etc/passwd, which the embedded PostgreSQL needs: add one, or set DATABASE_URL`,
    )
  const other = names.get('postgres') ?? names.get('nobody')
  if (!other || process.platform !== 'linux')
    throw new Error(
      'the embedded PostgreSQL does not run as root here: start the broker as an ordinary user, or set DATABASE_URL',
    )
  return { ...other, prefix: [], become: other }
}

function hasName(): boolean {
  try {
    return userInfo().username !== ''
  } catch {
    return false
  }
}

type Ids = { uid: number; gid: number }

/** By name, all but root's. */
async function namedAccounts(): Promise<Map<string, Ids>> {
  const passwd = await readFile('/etc/passwd', 'utf8').catch(() => '')
  const entries = passwd.split('\n').flatMap(line => {
    const [name, , uid, gid] = line.split(':')
    if (!name || !/^[1-9]\d*$/.test(uid ?? '') || !/^\d+$/.test(gid ?? '')) return []
    return [[name, { uid: Number(uid), gid: Number(gid) }] as const]
  })
  return new Map(entries)
}

/**
 * Inside, the caller has the number of some account without privileges; outside, its files are still its own. Not `nobody`'s,
 * as which all files show inside that are not the caller's. Null where namespaces are refused.
 */
async function namespace(names: Map<string, Ids>): Promise<string[] | null> {
  const inside = [...names.values()].find(({ uid }) => uid !== overflowUid) ?? { uid: 1000, gid: 1000 }
  const prefix = ['unshare', '--user', `--map-user=${inside.uid}`, `--map-group=${inside.gid}`, '--']
  try {
    await run(prefix[0]!, [...prefix.slice(1), 'true'], { timeout: 10_000 })
    return prefix
  } catch {
    return null
  }
}
