import { administer } from '../observe/administer.ts'
import type { Asker } from '../observe/asker.ts'
import { allowed } from '../observe/record.ts'
import { writeDecisions } from '../store/decisions.ts'
import { appendRevocations } from '../store/revocations.ts'
import { type KeyRow, readKeys } from '../store/signing-keys.ts'
import type { TokenDeps } from './issue-token.ts'
import type { CertificateDeps } from './x509/issue-certificate.ts'

/** Every key that signs: those of tokens, and the authorities. */
export type KeyDeps = TokenDeps & CertificateDeps

/** Milliseconds to wait for what is signing with the key: a mint that waits for its task may be among it. */
const patience = 15_000

/**
 * Withdraws a signing key: everything that it signed is dead. One row in the revocation record. Repeating it changes nothing. Throws
 * `refused`, or `not_found` for a `kid` that is not there.
 */
export function withdrawKey(
  deps: KeyDeps,
  asker: Asker,
  kid: string,
  { reason }: { reason?: string | undefined },
): Promise<void> {
  return administer(deps, asker, { keys: 'withdraw', kid, reason }, async event => {
    await deps.db.transaction(
      async tx => {
        const row = (await readKeys(tx)).find(key => key.kid === kid)
        const until = await custodyOf(deps, row).withdraw(tx, kid)
        await writeDecisions(tx, [allowed(event)])
        if (until) await appendRevocations(tx, [{ at: event.at, kid, reason: 'revoked', until }])
      },
      { patience },
    )
    await deps.keyring.reload()
    await deps.x509?.authorities.reload()
  })
}

/** Other replicas may have made it a moment ago, and one that does not open can be withdrawn too: its row tells. */
const custodyOf = ({ keyring, x509 }: KeyDeps, row: KeyRow | undefined) =>
  row?.use === 'x509' && x509 ? x509.authorities : keyring
