import type { Clock } from '../clock.ts'
import type { Database, Transaction } from './database.ts'

/** An order that somebody gets nothing new: a principal, all of a trust source, or everybody. */
export interface Block {
  id: string
  principal: string | null
  trust: string | null
  everything: boolean
  /** In the words of whoever ordered it. For operators alone. */
  reason: string | null
  createdAt: Date
  createdBy: string
  /** null: until it is lifted. */
  until: Date | null
}

/** Whom a block can meet. */
export interface Blockable {
  principal: string
  trust: string
}

/** The blocks as this replica last read them. What opens a task compares `generation` under a lock, so that old memory opens nothing. */
export interface BlockList {
  /** What keeps tasks of this principal from being opened and minted for, at this moment; null where nothing does. */
  find(who: Blockable): Block | null
  /** The same for one who asks: a block of everything is about tasks, and keeps nobody from asking. */
  findNamed(who: Blockable): Block | null
  /** Of `block_gate`, as it was when the blocks were read. */
  generation(): string
  /** Reads the blocks again; what other replicas changed before the call is in force here afterwards. */
  reload(): Promise<void>
}

interface Row {
  id: string
  principal: string | null
  trust: string | null
  everything: boolean
  reason: string | null
  created_at: Date
  created_by: string
  until: Date | null
}

const columns = 'id, principal, trust, everything, reason, created_at, created_by, until'

const read = {
  name: 'blocks_read',
  // In one statement: the generation of these blocks and of no others.
  text: `SELECT g.generation, b.* FROM block_gate g
    LEFT JOIN (SELECT ${columns} FROM blocks WHERE until IS NULL OR until > $1) b ON true ORDER BY b.id DESC`,
}
const list = {
  name: 'blocks_list',
  text: `SELECT ${columns} FROM blocks WHERE (until IS NULL OR until > $1) AND ($2::uuid IS NULL OR id < $2) ORDER BY id DESC LIMIT $3`,
}
// In the table's queue: in the row's own, an endless stream of openings would never let it in.
const holdGate = { name: 'blocks_hold_gate', text: 'LOCK TABLE block_gate IN EXCLUSIVE MODE' }
const closeGate = {
  name: 'blocks_close_gate',
  text: 'UPDATE block_gate SET generation = generation + 1',
}
const insert = {
  name: 'blocks_insert',
  text: `INSERT INTO blocks (${columns}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
}
const remove = {
  name: 'blocks_remove',
  text: 'DELETE FROM blocks WHERE id = $1 AND (until IS NULL OR until > $2) RETURNING id',
}

export async function blockList({
  db,
  clock,
}: {
  db: Pick<Database, 'query'>
  clock: Clock
}): Promise<BlockList> {
  let blocks: Block[] = []
  let generation = ''
  let running: Promise<void> = Promise.resolve()
  let waiting: Promise<void> | null = null

  async function load(): Promise<void> {
    const rows = await db.query<Row & { generation: string }>(read, [new Date(clock())])
    generation = rows[0]?.generation ?? ''
    blocks = rows.filter(row => row.id !== null).map(blockOf)
  }

  /** One at a time, and never joined late: whoever asks gets a reading that began after it asked. */
  function reload(): Promise<void> {
    waiting ??= running = running
      .catch(() => {})
      .then(() => {
        waiting = null
        return load()
      })
    return waiting
  }

  const find = (isMet: (block: Block) => boolean): Block | null => {
    const now = clock()
    return blocks.find(block => (block.until === null || block.until.getTime() > now) && isMet(block)) ?? null
  }
  const isNamed = ({ principal, trust }: Blockable, block: Block): boolean =>
    block.principal === principal || block.trust === trust

  await reload()
  return {
    find: who => find(block => block.everything || isNamed(who, block)),
    findNamed: who => find(block => isNamed(who, block)),
    generation: () => generation,
    reload,
  }
}

/** Newest first, without those that have passed; `before` is the ID of the last one of the page before. */
export async function listBlocks(
  db: Pick<Database, 'query'>,
  now: Date,
  before: string | null,
  limit: number,
): Promise<Block[]> {
  return (await db.query<Row>(list, [now, before, limit])).map(blockOf)
}

/**
 * Lets nothing be opened until the transaction ends, and makes whatever was decided on the blocks of before be decided again. The first
 * statement of every change of the blocks: what opens tasks takes this lock before any other as well.
 */
export async function closeGateOfBlocks(tx: Transaction): Promise<void> {
  await tx.query(holdGate, [])
  await tx.query(closeGate, [])
}

export async function insertBlock(tx: Transaction, block: Block): Promise<void> {
  await tx.query(insert, [
    block.id,
    block.principal,
    block.trust,
    block.everything,
    block.reason,
    block.createdAt,
    block.createdBy,
    block.until,
  ])
}

/** Whether there was such a block, and it had not passed. */
export async function removeBlock(tx: Transaction, id: string, now: Date): Promise<boolean> {
  return (await tx.query(remove, [id, now])).length === 1
}

function blockOf(row: Row): Block {
  return {
    id: row.id,
    principal: row.principal,
    trust: row.trust,
    everything: row.everything,
    reason: row.reason,
    createdAt: row.created_at,
    createdBy: row.created_by,
    until: row.until,
  }
}
