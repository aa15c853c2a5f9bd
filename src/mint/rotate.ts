import { administer } from '../observe/administer.ts'
import type { Asker } from '../observe/asker.ts'
import { allowed } from '../observe/record.ts'
import { writeDecisions } from '../store/decisions.ts'
import type { TokenDeps } from './issue-token.ts'

/** Rotates the signing keys by hand: the prepared keys take over as soon as everybody can know them. Throws `refused`. */
export function rotateKeys(deps: TokenDeps, asker: Asker): Promise<void> {
  return administer(deps, asker, { keys: 'rotate' }, async event => {
    await deps.db.transaction(async tx => {
      await deps.keyring.rotate(tx)
      await writeDecisions(tx, [allowed(event)])
    })
    await deps.keyring.reload()
  })
}
