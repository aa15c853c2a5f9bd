import { LRUCache } from 'lru-cache'
import type { Clock } from '../../clock.ts'
import { firstIdAt } from '../../ids.ts'
import { batched } from '../../store/batch.ts'
import type { Database } from '../../store/database.ts'
import { isUnavailable } from '../../store/failure.ts'
import {
  type RecordPage,
  readPlaced,
  readRecordPage,
  readStatusLists,
  type StatusList,
} from '../../store/status-lists.ts'
import { killAll, newBits, place } from './bits.ts'

/** A status list as the record has it. */
export interface FollowedList {
  id: string
  /** The key that signed what is in it. */
  kid: string
  bits: Uint8Array
  /** Grows when the bits change. */
  version: number
}

export interface StatusLists {
  /**
   * The list, with everything that was committed before the call: `asOf`, in milliseconds since the epoch, is when it was certainly so.
   * null where there is no such list, or no longer. Throws `unavailable`.
   */
  read(id: string): Promise<ReadList | null>
}

export interface ReadList {
  list: FollowedList
  asOf: number
}

interface Followed extends FollowedList {
  /** Milliseconds since the epoch: then there is no such list any more. */
  endsAt: number
  /** No credential in it has a smaller `jti`. */
  since: string
  /** Its key was withdrawn: nothing in it comes to life again. */
  isDead: boolean
}

interface Position {
  /** null where nothing of the record was read yet. */
  epoch: string | null
  seq: number
  asOf: number
}

const start: Position = { epoch: null, seq: 0, asOf: Number.NEGATIVE_INFINITY }

/** Rows of the record at a time. */
const rowsMost = 1_000
/** Lists that are kept, a quarter of a megabyte each, and for how long after somebody last asked for them. */
const kept = { max: 128, ttl: 10 * 60_000, updateAgeOnGet: true, ttlAutopurge: true }
/** What can matter no more is read all the same for so long: clocks differ, and those who check are lenient. Milliseconds. */
const margin = 5 * 60_000

/**
 * Status lists are derived from the revocation record, and when somebody asks: what the record's new rows are about is looked at
 * again, as it is now, in all lists that are kept. What was looked at later than the row was written is none the worse for it: what
 * happened since has a row of its own. A list that is not kept starts from every row that still matters, not from its credentials,
 * of which there can be a million.
 */
export function followStatusLists({ db, clock }: { db: Pick<Database, 'query'>; clock: Clock }): StatusLists {
  const followed = new LRUCache<string, Followed>(kept)
  let position = start

  /** Answers for each of the lists that are asked for, in order. */
  async function readAll(ids: string[]): Promise<(ReadList | null)[]> {
    for (const [id, { endsAt }] of [...followed]) if (endsAt <= clock()) followed.delete(id)
    const fresh = await begin([...new Set(ids)].filter(id => !followed.has(id)))
    const others = [...followed.values()]
    // Those that begin are taken to where the others are, or further.
    const begun = fresh.length > 0 ? await readOn(fresh, start) : position
    const reached = others.length > 0 && begun ? await readOn([...others, ...fresh], position) : begun
    if (!reached) {
      followed.clear()
      position = start
      return readAll(ids)
    }
    position = reached
    for (const list of fresh) followed.set(list.id, list)
    const lists = new Map([...others, ...fresh].map(list => [list.id, list]))
    return ids.map(id => {
      // That somebody asked is what keeps it.
      followed.get(id)
      const list = lists.get(id)
      return list ? { list, asOf: reached.asOf } : null
    })
  }

  async function begin(ids: string[]): Promise<Followed[]> {
    if (ids.length === 0) return []
    return (await readStatusLists(db, ids, new Date(clock()))).map(newList)
  }

  /** Reads the record from there to its end, and brings these lists up to it. null where the record went back, as after a restore. */
  async function readOn(lists: Followed[], from: Position): Promise<Position | null> {
    let at = from
    for (let more = true; more; ) {
      const asOf = clock()
      const until = new Date(asOf - margin)
      const page = await readRecordPage(db, { after: at.seq, until, most: rowsMost })
      if (page.head < at.seq || (at.epoch !== null && page.epoch !== at.epoch)) return null
      await apply(page, lists)
      at = { epoch: page.epoch, seq: page.next, asOf }
      more = page.more
    }
    return at
  }

  async function apply({ kids, tasks, jtis }: RecordPage, lists: Followed[]): Promise<void> {
    for (const list of lists) {
      if (list.isDead || !kids.includes(list.kid)) continue
      list.isDead = true
      killAll(list.bits)
      list.version += 1
    }
    const alive = new Map(lists.filter(list => !list.isDead).map(list => [list.id, list]))
    if (alive.size === 0 || tasks.length + jtis.length === 0) return
    const since = [...alive.values()].map(list => list.since).sort()[0] as string
    for (const { list: id, status, places } of await readPlaced(db, {
      tasks,
      jtis,
      lists: [...alive.keys()],
      since,
    })) {
      const list = alive.get(id)
      if (list && place(list.bits, places, status)) list.version += 1
    }
  }

  // Whoever asks shares a reading that began after it asked.
  return { read: batched(readAll, { most: 1_000, isShared: isUnavailable }) }
}

const newList = ({ id, kid, size, openedAt, endsAt }: StatusList): Followed => ({
  id,
  kid,
  endsAt: endsAt.getTime(),
  bits: newBits(size),
  version: 0,
  isDead: false,
  // A clock that was set back by more than a list's life has given what is in it no life at all.
  since: firstIdAt(madeAt(id) - (endsAt.getTime() - openedAt.getTime())),
})

/** When a UUIDv7 was made (RFC 9562 §5.7). Milliseconds since the epoch. */
const madeAt = (id: string): number => Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16)
