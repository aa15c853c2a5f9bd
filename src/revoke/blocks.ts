import { HallpassError } from '../errors.ts'
import { administer, readAsAdministrator } from '../observe/administer.ts'
import type { Asker } from '../observe/asker.ts'
import { allowed } from '../observe/record.ts'
import { type Block, closeGateOfBlocks, listBlocks, removeBlock } from '../store/blocks.ts'
import { writeDecisions } from '../store/decisions.ts'
import type { Page } from '../task/read.ts'
import type { BulkDeps } from './bulk.ts'

/** The blocks that have not passed, newest first. Throws `refused`. */
export function searchBlocks(
  deps: BulkDeps,
  asker: Asker,
  { cursor, limit }: { cursor: string | null; limit: number },
): Promise<Page<Block>> {
  return readAsAdministrator(deps, asker, { blocks: 'list' }, async () => {
    const rows = await listBlocks(deps.db, new Date(deps.clock()), cursor, limit + 1)
    const items = rows.slice(0, limit)
    return { items, next: rows.length > limit ? (items.at(-1)?.id ?? null) : null }
  })
}

/** Lets those come again whom it kept out. Revives nothing. Throws `refused`, or `not_found` where it is not there or has passed. */
export function liftBlock(deps: BulkDeps, asker: Asker, id: string): Promise<void> {
  return administer(deps, asker, { blocks: 'lift', block: id }, async event => {
    await deps.db.transaction(async tx => {
      await closeGateOfBlocks(tx)
      if (!(await removeBlock(tx, id, event.at)))
        throw new HallpassError('not_found', 'There is no such block.')
      await writeDecisions(tx, [allowed(event)])
    })
    await deps.blocks.reload()
  })
}
