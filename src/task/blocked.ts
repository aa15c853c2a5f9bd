import { HallpassError } from '../errors.ts'
import type { Blockable, BlockList } from '../store/blocks.ts'

/** Throws `blocked` where nothing may be opened or minted for them. Memory alone refuses nobody: the block may have been lifted. */
export async function mustNotBeBlocked(blocks: BlockList, who: Blockable): Promise<void> {
  if (blocks.find(who)) await mustNotBeBlockedNow(blocks, who)
}

/** The same, whatever memory says: another replica may have blocked them just now. */
export async function mustNotBeBlockedNow(blocks: BlockList, who: Blockable): Promise<void> {
  await blocks.reload()
  const block = blocks.find(who)
  if (!block) return
  throw new HallpassError('blocked', 'The principal is blocked.', {
    cause: new Error(`by block ${block.id}`),
  })
}
