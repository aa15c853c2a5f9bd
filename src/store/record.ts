import pg from 'pg'
import { HallpassError } from '../errors.ts'
import type { Database } from './database.ts'
import type { Revocation } from './revocations.ts'
import type { TaskState } from './task-record.ts'

/** Reading the revocation record. Appending to it is in revocations.ts. */
type Reads = Pick<Database, 'query'>

/** A row of the record. Numbers have no gaps, but for rows that were removed because they can matter no more. */
export type RecordRow = Revocation & { seq: number }

/** What one statement saw. */
export interface Reading {
  /** As it is kept in the database: a UUID. */
  epoch: string
  /** The last number that was given. */
  seq: number
  /** By the database's clock: whatever was committed before is in this reading. */
  at: Date
  /** In order, from the number that was asked for; `pageSize` at the most. */
  rows: RecordRow[]
}

/** Rows of one reading at the most: few enough that nothing else waits long while they are handed on. */
export const pageSize = 500

interface Row {
  epoch: string
  last: string
  read_at: Date
  standby: boolean
  seq: string | null
  at: Date
  task_id: string | null
  state: TaskState
  ver: number
  jti: string | null
  kid: string
  reason: string
  until: Date
}

const read = {
  name: 'record_read',
  // now(), not statement_timestamp(): of the two only now() is sure to be from before the statement's snapshot was taken.
  text: `SELECT c.epoch, c.seq AS last, now() AS read_at, pg_is_in_recovery() AS standby,
      r.seq, r.at, r.task_id, r.state, r.ver, r.jti, r.kid, r.reason, r.until
    FROM revocation_counter c LEFT JOIN LATERAL (
      SELECT seq, at, task_id, state, ver, jti, kid, reason, until FROM revocations WHERE seq >= $1 ORDER BY seq LIMIT ${pageSize}
    ) r ON true ORDER BY r.seq`,
}
const renew = {
  name: 'record_renew_epoch',
  text: 'UPDATE revocation_counter SET epoch = gen_random_uuid() WHERE epoch = $1',
}

/** The record from this number on, in one statement. Throws `unavailable`, also where it is a standby that answers: it may lag. */
export async function readRecord(db: Reads, from: number): Promise<Reading> {
  const rows = await db.query<Row>(read, [from])
  const [first] = rows
  if (!first) throw new Error('revocation_counter has no row')
  if (first.standby)
    throw new HallpassError('unavailable', 'Storage is not available.', {
      cause: new Error('the database is a standby'),
      retryAfter: 1,
    })
  return {
    epoch: first.epoch,
    seq: Number(first.last),
    at: first.read_at,
    rows: first.seq === null ? [] : rows.map(recordRow),
  }
}

/** Says that what readers remember of the record is worth nothing; once, however many replicas say so of this epoch. */
export async function renewEpoch(db: Reads, epoch: string): Promise<void> {
  await db.query(renew, [epoch])
}

/** Where the record is kept: another cluster, another database in it, or a cluster that went back and took another turn. */
export interface Origin {
  database: string
  /** null where the broker's role may not ask. */
  cluster: { system: string; timeline: string } | null
}

const database = {
  name: 'record_origin_database',
  text: 'SELECT oid::text AS database FROM pg_database WHERE datname = current_database()',
}
const cluster = {
  name: 'record_origin_cluster',
  // A WAL file's name begins with its timeline, in 8 hexadecimal digits.
  text: `SELECT system_identifier::text AS system, left(pg_walfile_name(pg_current_wal_lsn()), 8) AS timeline
    FROM pg_control_system()`,
}

export async function readOrigin(db: Reads): Promise<Origin> {
  const [row] = await db.query<{ database: string }>(database, [])
  return { database: row?.database ?? '', cluster: await readCluster(db) }
}

async function readCluster(db: Reads): Promise<Origin['cluster']> {
  try {
    const [row] = await db.query<{ system: string; timeline: string }>(cluster, [])
    return row ?? null
  } catch (error) {
    if (error instanceof pg.DatabaseError && refusals.has(error.code ?? '')) return null
    throw error
  }
}

/** insufficient_privilege, undefined_function, feature_not_supported: where PostgreSQL is somebody's service. */
const refusals = new Set(['42501', '42883', '0A000'])

function recordRow({ seq, at, reason, until, task_id, state, ver, jti, kid }: Row): RecordRow {
  const shared = { seq: Number(seq), at, reason, until }
  if (task_id !== null) return { ...shared, taskId: task_id, state, ver }
  return jti === null ? { ...shared, kid } : { ...shared, jti }
}
