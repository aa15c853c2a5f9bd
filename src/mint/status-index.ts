import type { Logger } from 'pino'
import type { Clock } from '../clock.ts'
import { newId } from '../ids.ts'
import type { Database } from '../store/database.ts'
import type { StatusEntry } from '../store/reservation.ts'
import { insertStatusList } from '../store/status-lists.ts'
import { type Draw, drawFrom } from './draw.ts'

/** Gives each credential a place in a Token Status List: no other ever has it, and neighbours in time are none in the list. */
export interface StatusIndexes {
  /** A place for a credential signed with that key, expiring then. Throws `unavailable` where a list has to be made and cannot. */
  take(kid: string, expiresAt: Date): Promise<StatusEntry> | StatusEntry
}

export interface StatusIndexesDeps {
  db: Pick<Database, 'query'>
  clock: Clock
  log: Logger
  /** `credentials.ttl_max`, in milliseconds. */
  ttlMax: number
  /** Credentials in one list, a multiple of 4: whole bytes (Token Status List, Status List Size). */
  size?: number
  /** How long a list takes credentials, in milliseconds: it ends that much later than the first of them alone would let it. */
  window?: number
}

/** Added to the end of a list: the clocks of those who ask for it differ. Milliseconds. */
const margin = 60_000

/** A list that takes credentials. Its row was committed before, and it is this process's alone. */
interface OpenList {
  id: string
  openedAt: number
  takesUntil: number
  /** No credential in it expires later. */
  lastExpiry: number
  draw: Draw
}

interface ListsOfKey {
  current: OpenList | null
  next: OpenList | null
  opening: Promise<void> | null
}

/** Where a status list is: `uri` of what is in it, `sub` of its own token (Token Status List, Referenced Token in JOSE). */
export const statusListUri = (issuer: string, list: string): string =>
  `${issuer.replace(/\/$/, '')}/status-lists/${list}`

/**
 * Lists belong to one process and one signing key, live in its memory, and begin anew with it: what a process that died had not
 * given away nobody gets. A key that is withdrawn kills whole lists. The next list is made before the current one runs out.
 */
export function statusIndexes(deps: StatusIndexesDeps): StatusIndexes {
  const { db, clock, log, ttlMax, size = 2 ** 20, window = 15 * 60_000 } = deps
  const keys = new Map<string, ListsOfKey>()

  function take(kid: string, expiresAt: Date): Promise<StatusEntry> | StatusEntry {
    const lists = listsOf(kid)
    const expiry = expiresAt.getTime()
    if (!takes(lists.current, expiry)) {
      lists.current = takes(lists.next, expiry) ? lists.next : null
      lists.next = null
    }
    if (!lists.current) return open(kid, expiry).then(() => take(kid, expiresAt))
    const entry = { list: lists.current.id, idx: lists.current.draw.next() }
    if (!lists.next && runsOut(lists.current)) prepare(kid)
    return entry
  }

  function listsOf(kid: string): ListsOfKey {
    const lists = keys.get(kid) ?? { current: null, next: null, opening: null }
    keys.set(kid, lists)
    return lists
  }

  /** A clock that was set back does not make a list last longer. */
  function takes(list: OpenList | null, expiry: number): list is OpenList {
    if (!list) return false
    const now = clock()
    const isOpen = list.openedAt - margin <= now && now < list.takesUntil
    return isOpen && expiry <= list.lastExpiry && list.draw.left() > 0
  }

  const runsOut = ({ draw, takesUntil }: OpenList): boolean =>
    draw.left() < size / 16 || takesUntil - clock() < window / 8

  function prepare(kid: string): void {
    open(kid, 0).catch((error: Error) => log.warn({ err: error.message }, 'the next status list is not made'))
  }

  /** One at a time for each key. A list of which it is not known whether it was written is never used. */
  function open(kid: string, expiry: number): Promise<void> {
    const lists = listsOf(kid)
    lists.opening ??= create(kid, expiry)
      .then(list => {
        if (lists.current) lists.next = list
        else lists.current = list
        forgetOthers(kid)
      })
      .finally(() => {
        lists.opening = null
      })
    return lists.opening
  }

  async function create(kid: string, expiry: number): Promise<OpenList> {
    const openedAt = clock()
    const takesUntil = openedAt + window
    // A second for rounding: `iat` and `exp` are whole ones.
    const lastExpiry = Math.max(takesUntil + ttlMax + 1_000, expiry)
    const id = newId()
    const endsAt = new Date(lastExpiry + margin)
    await insertStatusList(db, { id, kid, size, openedAt: new Date(openedAt), endsAt })
    return { id, openedAt, takesUntil, lastExpiry, draw: drawFrom(size) }
  }

  /** Keys make way for others: the lists of those that sign no more. */
  function forgetOthers(kid: string): void {
    for (const [other, { current, opening }] of keys)
      if (other !== kid && !opening && !takes(current, 0)) keys.delete(other)
  }

  return { take }
}
