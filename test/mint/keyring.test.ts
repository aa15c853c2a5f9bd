import { randomBytes } from 'node:crypto'
import pino from 'pino'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type KeyTimes, keyTimes } from '../../src/mint/key-schedule.ts'
import { type Keyring, openKeyring } from '../../src/mint/keyring.ts'
import { masterKeyFrom } from '../../src/secrets/master-key.ts'
import { type Database, openDatabase } from '../../src/store/database.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'

const log = pino({ level: 'silent' })
const masterKey = masterKeyFrom(randomBytes(32))
let database: TestDatabase
let db: Database
let now = Date.parse('2026-01-01T00:00:00Z')

beforeAll(async () => {
  database = await createTestDatabase()
  db = openDatabase({ url: database.url, log })
})
afterAll(async () => {
  await db?.close()
  await database?.drop()
})

const open = async (
  times: KeyTimes,
  algs: Parameters<typeof openKeyring>[0]['algs'] = ['ES256'],
): Promise<Keyring> => {
  const keyring = await openKeyring({ db, masterKey, clock: () => now, log, algs, times })
  await keyring.maintain()
  return keyring
}
const rotate = async (keyring: Keyring) => {
  await db.transaction(tx => keyring.rotate(tx))
  await keyring.reload()
}
const minutes = 60_000

describe('the keyring', () => {
  it('signs at once at the very first start, with the next key published beside it', async () => {
    const keyring = await open(keyTimes(15 * minutes))
    expect(keyring.list().map(key => key.state)).toEqual(['active', 'prepared'])
    expect(keyring.jwks()).toHaveLength(2)
    expect(keyring.signer('ES256').kid).toBe(keyring.list()[0]?.kid)
  })

  it('makes everybody wait who asks for an algorithm that nobody can know the key of yet', async () => {
    const keyring = await open(keyTimes(15 * minutes), ['ES256', 'EdDSA'])
    expect(() => keyring.signer('EdDSA')).toThrow('No EdDSA key can sign yet')
    now += 7 * minutes
    expect(keyring.signer('EdDSA').alg).toBe('EdDSA')
  })

  it('hands over when asked, once the next key has been published for a cache lifetime', async () => {
    const keyring = await open(keyTimes(15 * minutes))
    const [first, second] = keyring.list().filter(key => key.alg === 'ES256')
    await rotate(keyring)
    expect(keyring.signer('ES256').kid).toBe(second?.kid)
    const retired = keyring.find(first?.kid ?? '')
    expect(retired?.lastDay?.getTime()).toBe(now + 15 * minutes + 1 * minutes)
    expect(
      keyring
        .list()
        .filter(key => key.alg === 'ES256')
        .map(key => key.state),
    ).toEqual(['retired', 'active', 'prepared'])
  })

  it('publishes a key for as long as the longest ttl_max it ever signed under, whatever it is now', async () => {
    const generous = await open(keyTimes(12 * 60 * minutes))
    const kid = generous.signer('ES256').kid
    const strict = await open(keyTimes(5 * minutes))
    now += 7 * minutes
    await rotate(strict)
    expect(strict.find(kid)?.lastDay?.getTime()).toBe(now + 12 * 60 * minutes + 1 * minutes)
    now += 11 * 60 * minutes
    expect(strict.jwks().some(key => key.kid === kid)).toBe(true)
    now += 2 * 60 * minutes
    expect(strict.jwks().some(key => key.kid === kid)).toBe(false)
  })

  it('refuses to work beside keys of another master key', async () => {
    const other = masterKeyFrom(randomBytes(32))
    await expect(
      openKeyring({ db, masterKey: other, clock: () => now, log, algs: ['ES256'], times: keyTimes(minutes) }),
    ).rejects.toThrow('are wrapped by master key')
  })
})
