import { HallpassError } from '../errors.ts'
import type { Database } from './database.ts'

/** A Token Status List: places for credentials that one key signed. Belongs to the process that made it. */
export interface StatusList {
  id: string
  kid: string
  /** How many places. */
  size: number
  openedAt: Date
  /** No credential in it lives longer. */
  endsAt: Date
}

/** What of the revocation record a reader has not seen yet, at most so many rows of it. */
export interface RecordPage {
  /** Another one than before: the record is another, as after a restore. */
  epoch: string
  /** The last number in the record. */
  head: number
  /** By the database's clock, in microseconds since the epoch: whatever was committed before is in this reading. */
  readAt: bigint
  /** The number to go on from. */
  next: number
  more: boolean
  tasks: string[]
  jtis: string[]
  kids: string[]
}

/** Places of one list that have one status now. */
export interface Placed {
  list: string
  /** Token Status List, Status Types Values: 0 valid, 1 invalid, 2 suspended. */
  status: 0 | 1 | 2
  /** Four bytes each, big-endian. */
  places: Buffer
}

const insert = {
  name: 'status_list_insert',
  text: 'INSERT INTO status_lists (id, kid, size, opened_at, ends_at) VALUES ($1, $2, $3, $4, $5)',
}
const byIds = {
  name: 'status_lists_by_ids',
  text: `SELECT id, kid, size, opened_at AS "openedAt", ends_at AS "endsAt" FROM status_lists
    WHERE id = ANY ($1::uuid[]) AND ends_at > $2`,
}
const page = {
  name: 'status_record_page',
  // now() is sure to be from before the statement's snapshot was taken.
  text: `SELECT c.epoch, c.seq AS head, (extract(epoch FROM now()) * 1000000)::bigint AS read_at, pg_is_in_recovery() AS standby, p.count, p.last, p.tasks, p.jtis, p.kids
    FROM revocation_counter c CROSS JOIN (
      SELECT count(*)::int AS count, max(seq) AS last,
        array_agg(DISTINCT task_id) FILTER (WHERE task_id IS NOT NULL) AS tasks,
        array_agg(jti) FILTER (WHERE jti IS NOT NULL) AS jtis,
        array_agg(kid) FILTER (WHERE kid IS NOT NULL) AS kids
      FROM (SELECT seq, task_id, jti, kid FROM revocations WHERE seq > $1 AND until > $2 ORDER BY seq LIMIT $3) r
    ) p`,
}

/** A task as its credentials depend on it (contract §6), for the ID that stands in the text. No row of it is no good. */
const taskNow = (id: string): string => `LEFT JOIN LATERAL (
    SELECT t.ver, a.vers, t.state IN ('open', 'suspended') AND NOT coalesce(a.ended, false) AS lasts,
      t.state = 'suspended' OR coalesce(a.suspended, false) AS suspended
    FROM tasks t CROSS JOIN LATERAL (
      SELECT array_agg(ver ORDER BY cardinality(path)) AS vers, bool_or(state NOT IN ('open', 'suspended')) AS ended,
        bool_or(state = 'suspended') AS suspended
      FROM tasks WHERE id = ANY (t.path)
    ) a
    WHERE t.id = ${id}
    OFFSET 0
  ) t ON true`
const credential = 'task_id, status_list, status_idx, revoked_at, task_ver, path_vers'
const touched =
  'c.status_list, c.status_idx, c.revoked_at, c.task_ver, c.path_vers, t.ver, t.vers, t.lasts, t.suspended'
// Each OFFSET 0 keeps the planner from joining the other way about: what is asked about is few, the tables are large.
const placed = {
  name: 'status_placed',
  text: `WITH RECURSIVE tree AS (
      SELECT unnest($1::uuid[]) AS id
      UNION
      SELECT child.id FROM tree CROSS JOIN LATERAL (SELECT id FROM tasks WHERE parent_id = tree.id OFFSET 0) child
    ), touched AS (
      SELECT ${touched} FROM tree ${taskNow('tree.id')} CROSS JOIN LATERAL (
        SELECT ${credential} FROM credentials
        WHERE task_id = tree.id AND jti >= $3 AND status_list = ANY ($4::uuid[]) OFFSET 0
      ) c
      UNION ALL
      SELECT ${touched} FROM unnest($2::uuid[]) AS one (jti) CROSS JOIN LATERAL (
        SELECT ${credential} FROM credentials WHERE jti = one.jti AND status_list = ANY ($4::uuid[]) OFFSET 0
      ) c ${taskNow('c.task_id')}
    )
    SELECT list, status, string_agg(int4send(idx), ''::bytea) AS places FROM (
      SELECT status_list AS list, status_idx AS idx, CASE
        WHEN revoked_at IS NOT NULL OR lasts IS NOT TRUE OR ver > task_ver OR vers IS DISTINCT FROM path_vers THEN 1
        WHEN suspended THEN 2 ELSE 0 END AS status
      FROM touched
    ) s GROUP BY list, status`,
}

export async function insertStatusList(db: Pick<Database, 'query'>, list: StatusList): Promise<void> {
  await db.query(insert, [list.id, list.kid, list.size, list.openedAt, list.endsAt])
}

/** Those of the lists that there are, and that have not ended. */
export async function readStatusLists(
  db: Pick<Database, 'query'>,
  ids: string[],
  now: Date,
): Promise<StatusList[]> {
  return db.query<StatusList>(byIds, [ids, now])
}

/** Reads the record on after a number, without what matters no more at `until`. Throws `unavailable`, also for a standby: it may lag. */
export async function readRecordPage(
  db: Pick<Database, 'query'>,
  { after, until, most }: { after: number; until: Date; most: number },
): Promise<RecordPage> {
  interface Row {
    epoch: string
    head: string
    read_at: string
    standby: boolean
    count: number
    last: string | null
    tasks: string[] | null
    jtis: string[] | null
    kids: string[] | null
  }
  const [row] = await db.query<Row>(page, [after, until, most])
  const { epoch, head, read_at, standby, count, last, tasks, jtis, kids } = row as Row
  if (standby)
    throw new HallpassError('unavailable', 'Storage is not available.', {
      cause: new Error('the database is a standby'),
      retryAfter: 1,
    })
  const more = count === most
  return {
    epoch,
    head: Number(head),
    readAt: BigInt(read_at),
    next: Number(more ? last : head),
    more,
    tasks: tasks ?? [],
    jtis: jtis ?? [],
    kids: kids ?? [],
  }
}

/**
 * What these tasks, all below them, and these credentials come to now, in those lists. `since` is no later than the first credential
 * in any of the lists: what a long task minted before is not gone through.
 */
export async function readPlaced(
  db: Pick<Database, 'query'>,
  { tasks, jtis, lists, since }: { tasks: string[]; jtis: string[]; lists: string[]; since: string },
): Promise<Placed[]> {
  return db.query<Placed>(placed, [tasks, jtis, since, lists])
}
