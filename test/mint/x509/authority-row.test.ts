import { createPublicKey, randomBytes } from 'node:crypto'
import { expect, it } from 'vitest'
import { oids } from '../../../src/der/oids.ts'
import { kidOf } from '../../../src/mint/signing-key.ts'
import { openAuthorityRow, wrapAuthorityKey } from '../../../src/mint/x509/authority.ts'
import type { Root } from '../../../src/mint/x509/root.ts'
import { masterKeyFrom } from '../../../src/secrets/master-key.ts'
import type { KeyRow } from '../../../src/store/signing-keys.ts'
import { basicConstraints, generateKeys, makeAuthority, type TestAuthority } from '../../support/x509.ts'

const now = Date.now()
const masterKey = masterKeyFrom(randomBytes(32))
const organisation = makeAuthority({ subject: 'organisation' })
const keys = generateKeys()

/** What becomes of the authority's row, where its chain is this one. */
async function opened(...chain: TestAuthority[]) {
  const date = new Date(now)
  const kid = await kidOf(createPublicKey(keys.privateKey))
  const root: Root = {
    kid: 'organisation',
    certificate: organisation.certificate,
    subject: 'organisation',
    signer: null,
    notAfter: now + 3_600_000,
    publishedAt: date,
    activeAt: date,
    retiredAt: null,
    lastDay: null,
  }
  const row: KeyRow = {
    kid,
    alg: 'ES256',
    publishedAt: date,
    activeAt: date,
    retiredAt: null,
    lastDay: null,
    ttlMax: 900_000,
    privateKey: wrapAuthorityKey(masterKey, kid, keys.privateKey),
    wrappedBy: masterKey.id,
    withdrawnAt: null,
    use: 'x509',
    authority: { rootKid: root.kid, chain: chain.map(({ certificate }) => certificate) },
  }
  const authority = await openAuthorityRow(masterKey, row, [root])
  return authority.chain.length
}

it('an authority is below authorities alone: whoever can write to the database, and has a certificate of the organisation’s, adds none', async () => {
  const own = (signer: TestAuthority) => makeAuthority({ subject: 'hallpass', keys }, now, signer)
  const between = makeAuthority({ subject: 'between' }, now, organisation)
  expect(await opened(own(organisation))).toBe(1)
  expect(await opened(own(between), between)).toBe(2)
  for (const isNone of [basicConstraints(false), null]) {
    const leaf = makeAuthority(
      { subject: 'leaf', extensions: { [oids.basicConstraints]: isNone, [oids.keyUsage]: null } },
      now,
      organisation,
    )
    await expect(opened(own(leaf), leaf)).rejects.toThrow('not signed by an authority')
  }
})
