import { administer } from '../observe/administer.ts'
import type { Asker } from '../observe/asker.ts'
import { allowed } from '../observe/record.ts'
import { writeDecisions } from '../store/decisions.ts'
import type { KeyDeps } from './withdraw.ts'

/** Rotates the signing keys and the issuing authority by hand: the prepared ones take over as soon as everybody can know them. Throws `refused`. */
export function rotateKeys(deps: KeyDeps, asker: Asker): Promise<void> {
  return administer(deps, asker, { keys: 'rotate' }, async event => {
    await deps.db.transaction(async tx => {
      await deps.keyring.rotate(tx)
      await deps.x509?.authorities.rotate(tx)
      await writeDecisions(tx, [allowed(event)])
    })
    await deps.keyring.reload()
    await deps.x509?.authorities.reload()
  })
}
