import type { Selectable } from 'kysely'
import type { Database, Transaction } from './database.ts'
import type { Tables } from './tables.ts'

/** A signing key as it is stored: the private key wrapped, the public one derived from it (invariant 9). */
export interface KeyRow {
  kid: string
  alg: string
  publishedAt: Date
  activeAt: Date
  retiredAt: Date | null
  lastDay: Date | null
  /** Milliseconds: the longest that any broker gave what it may have signed with it. */
  ttlMax: number
  privateKey: Buffer
  wrappedBy: string
  /** Signs no more, and everything that it signed is dead. */
  withdrawnAt: Date | null
  /** What it signs: tokens, or certificates as an issuing authority. */
  use: KeyUse
  /** Of an authority: its root, and the certificates from its own up to that root, which is not among them. DER. */
  authority: { rootKid: string; chain: Buffer[] } | null
}

export type KeyUse = 'jwt' | 'x509'

type Row = Selectable<Tables['signing_keys']>

const columns = `kid, alg, published_at, active_at, retired_at, last_day, ttl_max, private_key, wrapped_by, withdrawn_at,
  use, chain, root_kid`
const all = { name: 'keys_all', text: `SELECT ${columns} FROM signing_keys ORDER BY active_at, kid` }
const lock = { name: 'keys_lock', text: 'LOCK TABLE signing_keys IN SHARE ROW EXCLUSIVE MODE' }
const lockAgainstUse = { name: 'keys_lock_against_use', text: 'LOCK TABLE signing_keys IN EXCLUSIVE MODE' }
const insert = {
  name: 'keys_insert',
  text: `INSERT INTO signing_keys (${columns}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`,
}
const schedule = {
  name: 'keys_schedule',
  text: 'UPDATE signing_keys SET active_at = $2, retired_at = $3, last_day = $4 WHERE kid = $1',
}
const raiseTtl = {
  name: 'keys_raise_ttl',
  // A retirement that is ahead moves with it, so that no signature outlives the published key.
  text: `UPDATE signing_keys SET ttl_max = $1, last_day = last_day + ($1 - ttl_max) * interval '1 millisecond'
    WHERE ttl_max < $1::bigint AND (retired_at IS NULL OR retired_at > $2)`,
}
const withdraw = {
  name: 'keys_withdraw',
  text: 'UPDATE signing_keys SET withdrawn_at = $2, retired_at = $3, last_day = $4 WHERE kid = $1',
}
const remove = { name: 'keys_remove', text: 'DELETE FROM signing_keys WHERE kid = ANY ($1)' }

export async function readKeys(db: Pick<Database, 'query'>): Promise<KeyRow[]> {
  return (await db.query<Row>(all, [])).map(keyOf)
}

/** Lets one replica at a time change the keys; readers are not held up. */
export async function lockKeys(tx: Transaction): Promise<KeyRow[]> {
  await tx.query(lock, [])
  return readKeys(tx)
}

/**
 * The same, and waits for the reservations that hold a key, while new ones wait behind it: on the row alone, an endless stream of them
 * would never let it in.
 */
export async function lockKeysAgainstUse(tx: Transaction): Promise<KeyRow[]> {
  await tx.query(lockAgainstUse, [])
  return readKeys(tx)
}

export async function insertKey(tx: Transaction, key: KeyRow): Promise<void> {
  await tx.query(insert, [
    key.kid,
    key.alg,
    key.publishedAt,
    key.activeAt,
    key.retiredAt,
    key.lastDay,
    key.ttlMax,
    key.privateKey,
    key.wrappedBy,
    key.withdrawnAt,
    key.use,
    key.authority?.chain ?? null,
    key.authority?.rootKid ?? null,
  ])
}

export async function scheduleKey(tx: Transaction, key: KeyRow): Promise<void> {
  await tx.query(schedule, [key.kid, key.activeAt, key.retiredAt, key.lastDay])
}

export async function writeWithdrawn(tx: Transaction, key: KeyRow): Promise<void> {
  await tx.query(withdraw, [key.kid, key.withdrawnAt, key.retiredAt, key.lastDay])
}

/** Notes that keys which still sign, or will, may sign for so long. Milliseconds. */
export async function allowTtl(tx: Transaction, ttlMax: number, now: Date): Promise<void> {
  await tx.query(raiseTtl, [ttlMax, now])
}

export async function removeKeys(tx: Transaction, kids: string[]): Promise<void> {
  await tx.query(remove, [kids])
}

function keyOf(row: Row): KeyRow {
  return {
    kid: row.kid,
    alg: row.alg,
    publishedAt: row.published_at,
    activeAt: row.active_at,
    retiredAt: row.retired_at,
    lastDay: row.last_day,
    ttlMax: Number(row.ttl_max),
    privateKey: row.private_key,
    wrappedBy: row.wrapped_by,
    withdrawnAt: row.withdrawn_at,
    use: row.use,
    authority: row.chain && row.root_kid ? { rootKid: row.root_kid, chain: row.chain } : null,
  }
}
