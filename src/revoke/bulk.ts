import { isPrincipalId } from '../attest/principal-id.ts'
import type { Config } from '../config.ts'
import { HallpassError } from '../errors.ts'
import { newId } from '../ids.ts'
import { type AdministerDeps, administer } from '../observe/administer.ts'
import type { Asker } from '../observe/asker.ts'
import { allowed, type Event } from '../observe/record.ts'
import { type Block, type BlockList, closeGateOfBlocks, insertBlock } from '../store/blocks.ts'
import {
  type BulkCount,
  bulkPatience,
  closeAllOf,
  countAllOf,
  lockTreesOf,
  type Selector,
} from '../store/bulk.ts'
import type { Database, Transaction } from '../store/database.ts'
import { writeDecisions } from '../store/decisions.ts'
import { isAboutLocks } from '../store/failure.ts'
import { appendEndedHere } from '../store/revocations.ts'

export interface BulkDeps extends AdministerDeps {
  db: Database
  blocks: BlockList
  trust: Config['trust']
}

export interface BulkRequest {
  selector: Selector
  /** In the operator's own words: for the log and the block. */
  reason: string | null
  /** null: until it is lifted. */
  until: Date | null
  dryRun: boolean
}

export interface BulkResult extends BulkCount {
  dryRun: boolean
  block: Block | null
}

/**
 * How often it is begun anew where it does not get its locks, and for how long it waits for a tree the first time, in milliseconds; each
 * time twice as long. Between two tries others can open tasks: the block of one principal must not stop everybody.
 */
const attemptsMost = 7
const firstPatience = 250

/**
 * Ends everything of a principal, of a trust source, or all there is, and blocks what would come; one transaction. Throws `refused`, or
 * `invalid` for a selector that can mean nothing and an `until` that is past.
 */
export async function revokeMany(deps: BulkDeps, asker: Asker, request: BulkRequest): Promise<BulkResult> {
  const { selector, reason, until, dryRun } = request
  const asked = { revoke: selector, reason, until, dry_run: dryRun }
  return administer(deps, asker, asked, async event => {
    mustBePossible(request, event.at)
    const result = await withLocks(patience =>
      deps.db.transaction(
        tx => (dryRun ? count(tx, deps, event, request) : end(tx, deps, event, request, patience)),
        { patience: bulkPatience },
      ),
    )
    if (result.block) await deps.blocks.reload()
    return result
  })
}

async function count(
  tx: Transaction,
  deps: BulkDeps,
  event: Event,
  { selector }: BulkRequest,
): Promise<BulkResult> {
  const counted = await countAllOf(tx, selector, event.at)
  mustBeKnown(deps, selector, counted)
  await log(tx, event, counted)
  return { dryRun: true, ...counted, block: null }
}

async function end(
  tx: Transaction,
  deps: BulkDeps,
  event: Event,
  { selector, reason, until }: BulkRequest,
  patience: number,
): Promise<BulkResult> {
  // 1. Nothing is opened from here on; what was being opened is there.
  const block = newBlock(event, selector, reason, until)
  await closeGateOfBlocks(tx)
  await insertBlock(tx, block)

  // 2. Nothing is minted for these trees, and nobody else changes them.
  await lockTreesOf(tx, selector, patience)
  // Only now: while it waited there were mints, and what they gave lives as long as the record has to tell of its end.
  const at = new Date(deps.clock())
  const counted = await countAllOf(tx, selector, at)
  mustBeKnown(deps, selector, counted)

  // 3. They end. The record's counter is taken last.
  await closeAllOf(tx, selector, at)
  event.asked.block = block.id
  await log(tx, event, counted)
  if (counted.tasks > 0) await appendEndedHere(tx, at)
  return { dryRun: false, ...counted, block }
}

/** What it came to goes into the log with what was asked. */
async function log(tx: Transaction, event: Event, counted: BulkCount): Promise<void> {
  Object.assign(event.asked, counted)
  await writeDecisions(tx, [allowed(event)])
}

function newBlock(event: Event, selector: Selector, reason: string | null, until: Date | null): Block {
  return {
    id: newId(),
    principal: 'principal' in selector ? selector.principal : null,
    trust: 'trust' in selector ? selector.trust : null,
    everything: 'everything' in selector,
    reason,
    createdAt: event.at,
    createdBy: event.asker.principal.id,
    until,
  }
}

/** A principal's source may be configured no more: what it opened can be alive all the same. */
function mustBePossible({ selector, until }: BulkRequest, now: Date): void {
  if (until !== null && until <= now) throw invalid('/until', 'is past')
  if ('principal' in selector && !isPrincipalId(selector.principal))
    throw invalid('/principal', 'is no principal that a trust source can prove')
}

/** A name that is misspelt would end nothing, and look as if it had. */
function mustBeKnown({ trust }: BulkDeps, selector: Selector, { tasks }: BulkCount): void {
  if ('trust' in selector && tasks === 0 && !trust.some(({ name }) => name === selector.trust))
    throw invalid('/trust', 'is no configured trust source, and has no task that is not closed')
}

async function withLocks<T>(work: (patience: number) => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await work(firstPatience * 2 ** (attempt - 1))
    } catch (error) {
      if (attempt === attemptsMost || !isAboutLocks(error)) throw error
    }
  }
}

const invalid = (path: string, message: string): HallpassError =>
  new HallpassError('invalid', 'This cannot be revoked so.', { paths: [{ path, message }] })
