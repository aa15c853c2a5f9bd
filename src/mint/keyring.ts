import type { JWK } from 'jose'
import type { SigningAlg } from '../config.ts'
import { HallpassError } from '../errors.ts'
import type { MasterKey } from '../secrets/master-key.ts'
import type { Database } from '../store/database.ts'
import { allowTtl, readKeys } from '../store/signing-keys.ts'
import { type Custody, type CustodyDeps, createCustody } from './custody.ts'
import { stateOf } from './key-schedule.ts'
import { newKeyRow, openKeyRow, type SigningKey } from './signing-key.ts'

/** The keys that sign tokens: for each algorithm one that signs, one prepared and published, and retired ones until their last day. */
export interface Keyring
  extends Pick<Custody<SigningKey>, 'list' | 'reload' | 'maintain' | 'rotate' | 'withdraw'> {
  /** The key that signs now. Throws `unavailable` while there is none. */
  signer(alg: SigningAlg): SigningKey
  /** The published key of that `kid`, retired ones included; null for any other. */
  find(kid: string): SigningKey | null
  /** The JWK Set (RFC 7517 §5), next keys included. */
  jwks(): JWK[]
  /** Whether the keys were read lately enough to be cached by others. */
  isCurrent(): boolean
}

export interface KeyringDeps extends CustodyDeps {
  masterKey: MasterKey
  /** The algorithms that the configuration asks for. */
  algs: SigningAlg[]
}

export async function openKeyring(deps: KeyringDeps): Promise<Keyring> {
  const { db, masterKey, clock, times } = deps
  const custody = createCustody(deps, {
    use: 'jwt',
    algs: deps.algs,
    open: row => openKeyRow(masterKey, row),
    make: (alg, dates) => newKeyRow(masterKey, alg, dates),
    makes: () => true,
  })

  await custody.reload()
  await refuseForeignKeys(db, masterKey, clock())
  await db.transaction(tx => allowTtl(tx, times.ttlMax, new Date(clock())))
  await custody.reload()

  const { list, reload, maintain, rotate, withdraw } = custody
  return {
    list,
    reload,
    maintain,
    rotate,
    withdraw,
    isCurrent: () => clock() - custody.readAt() <= times.notice,
    signer(alg) {
      const key = custody.active(alg)
      if (!key) throw new HallpassError('unavailable', `No ${alg} key can sign yet.`, { retryAfter: 10 })
      return key
    },
    find: kid => custody.published().find(key => key.kid === kid) ?? null,
    jwks: () => custody.published().map(key => key.jwk),
  }
}

/** Replicas under different master keys would each publish keys that the others do not know. Throws, so that this one does not start. */
async function refuseForeignKeys(db: Database, masterKey: MasterKey, now: number): Promise<void> {
  const foreign = (await readKeys(db)).find(
    row => stateOf(row, now) !== 'gone' && row.wrappedBy !== masterKey.id,
  )
  if (foreign)
    throw new Error(
      `the database's signing keys are wrapped by master key ${foreign.wrappedBy}, this broker has ${masterKey.id}`,
    )
}
