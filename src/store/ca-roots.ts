import type { Selectable } from 'kysely'
import type { Database, Transaction } from './database.ts'
import type { Tables } from './tables.ts'

/** A root as it is stored: sealed under the master key, its private key with it where the broker has it (invariant 9). */
export interface RootRow {
  kid: string
  sealed: Buffer
  wrappedBy: string
  own: boolean
  publishedAt: Date
  activeAt: Date
  retiredAt: Date | null
  lastDay: Date | null
}

/** Key of an authority that waits to be signed by the organisation's root. */
export interface RequestRow {
  kid: string
  privateKey: Buffer
  wrappedBy: string
  createdAt: Date
}

const columns = 'kid, sealed, wrapped_by, own, published_at, active_at, retired_at, last_day'
const all = {
  name: 'ca_roots_all',
  // Of one moment: what is published under a number is what has that number.
  text: `SELECT sequence, ${columns} FROM ca_bundle LEFT JOIN ca_roots ON true ORDER BY active_at, kid`,
}
const insert = {
  name: 'ca_roots_insert',
  text: `INSERT INTO ca_roots (${columns}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
}
const schedule = {
  name: 'ca_roots_schedule',
  text: 'UPDATE ca_roots SET active_at = $2, retired_at = $3, last_day = $4 WHERE kid = $1',
}
const remove = { name: 'ca_roots_remove', text: 'DELETE FROM ca_roots WHERE kid = ANY ($1)' }
const replace = {
  name: 'ca_roots_replace',
  text: `UPDATE ca_roots SET sealed = $2, wrapped_by = $3, own = $4, active_at = $5, retired_at = NULL, last_day = NULL
    WHERE kid = $1`,
}
const advance = {
  name: 'ca_bundle_advance',
  // The time too, so that a bundle of a database that was restored, and then changed, is no older than what was seen of it before.
  text: 'UPDATE ca_bundle SET sequence = greatest(sequence + 1, $1)',
}
const insertRequest = {
  name: 'ca_requests_insert',
  text: 'INSERT INTO ca_requests (kid, private_key, wrapped_by, created_at) VALUES ($1, $2, $3, $4)',
}
const requests = {
  name: 'ca_requests_all',
  text: 'SELECT kid, private_key AS "privateKey", wrapped_by AS "wrappedBy", created_at AS "createdAt" FROM ca_requests ORDER BY created_at, kid',
}
const removeRequests = {
  name: 'ca_requests_remove',
  text: 'DELETE FROM ca_requests WHERE kid = ANY ($1) OR created_at < $2',
}

export type Reads = Pick<Database, 'query'>

/** Every root, oldest first, and `spiffe_sequence` of the bundle that they are (SPIFFE Trust Domain and Bundle §4.1.1). */
export async function readBundle(db: Reads): Promise<{ sequence: string; rows: RootRow[] }> {
  const found = await db.query<{ sequence: string } & (Selectable<Tables['ca_roots']> | { kid: null })>(
    all,
    [],
  )
  const rows = found.flatMap(row => (row.kid === null ? [] : [rootOf(row)]))
  return { sequence: found[0]?.sequence ?? '0', rows }
}

const rootOf = (row: Selectable<Tables['ca_roots']>): RootRow => ({
  kid: row.kid,
  sealed: row.sealed,
  wrappedBy: row.wrapped_by,
  own: row.own,
  publishedAt: row.published_at,
  activeAt: row.active_at,
  retiredAt: row.retired_at,
  lastDay: row.last_day,
})

export async function insertRoot(tx: Transaction, root: RootRow): Promise<void> {
  const { kid, sealed, wrappedBy, own, publishedAt, activeAt, retiredAt, lastDay } = root
  await tx.query(insert, [kid, sealed, wrappedBy, own, publishedAt, activeAt, retiredAt, lastDay])
}

export async function scheduleRoot(
  tx: Transaction,
  { kid, activeAt, retiredAt, lastDay }: Pick<RootRow, 'kid' | 'activeAt' | 'retiredAt' | 'lastDay'>,
): Promise<void> {
  await tx.query(schedule, [kid, activeAt, retiredAt, lastDay])
}

/** The root with what is sealed now, in force and not retired. */
export async function replaceRoot(
  tx: Transaction,
  { kid, sealed, wrappedBy, own, activeAt }: RootRow,
): Promise<void> {
  await tx.query(replace, [kid, sealed, wrappedBy, own, activeAt])
}

export async function removeRoots(tx: Transaction, kids: string[]): Promise<void> {
  await tx.query(remove, [kids])
}

/** What the bundle holds has changed. */
export async function advanceBundle(tx: Transaction, now: Date): Promise<void> {
  await tx.query(advance, [Math.floor(now.getTime() / 1000)])
}

export async function insertRequestedKey(tx: Transaction, request: RequestRow): Promise<void> {
  await tx.query(insertRequest, [request.kid, request.privateKey, request.wrappedBy, request.createdAt])
}

/** Oldest first. */
export async function readRequestedKeys(db: Reads): Promise<RequestRow[]> {
  return db.query<RequestRow>(requests, [])
}

/** Those that were signed, and those that nobody had signed before then. */
export async function removeRequestedKeys(tx: Transaction, kids: string[], before: Date): Promise<void> {
  await tx.query(removeRequests, [kids, before])
}
