import { randomBytes } from 'node:crypto'
import { setTimeout } from 'node:timers/promises'
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
const withdraw = async (keyring: Keyring, kid: string) => {
  const until = await db.transaction(tx => keyring.withdraw(tx, kid))
  await keyring.reload()
  return until
}
const statesOf = (keyring: Keyring) =>
  keyring
    .list()
    .filter(key => key.alg === 'ES256' && key.state !== 'retired')
    .map(key => key.state)
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

  it('withdraws a key that it cannot open, and prepares what is missing', async () => {
    const keyring = await open(keyTimes(15 * minutes))
    now += 7 * minutes
    const kid = keyring.signer('ES256').kid
    await db.query({ name: 'spoil', text: `UPDATE signing_keys SET private_key = '\\x00' WHERE kid = $1` }, [
      kid,
    ])
    const started = await open(keyTimes(15 * minutes))
    // As long as what the generous broker of before may have signed with it.
    expect(await withdraw(started, kid)).toEqual(new Date(now + (12 * 60 + 3) * minutes))
    expect(await withdraw(started, kid)).toBeNull()
    expect(statesOf(started)).toEqual(['active', 'prepared'])
    await keyring.reload()
    expect([keyring.find(kid), statesOf(keyring)]).toEqual([null, ['withdrawn', 'active', 'prepared']])
    await expect(withdraw(started, 'nosuch')).rejects.toMatchObject({ code: 'not_found' })
  })

  it('keeps the day that a rotation by hand gave, where the key to hand over to is withdrawn', async () => {
    now += 7 * minutes
    const keyring = await open(keyTimes(15 * minutes))
    await rotate(keyring)
    await rotate(keyring)
    const [signing, next] = ['active', 'prepared'].map(
      state => keyring.list().find(key => key.alg === 'ES256' && key.state === state)!,
    )
    expect(next?.activeAt).toEqual(new Date(now + 6 * minutes))
    now += 2 * minutes
    await withdraw(keyring, next!.kid)
    const later = keyring.list().find(key => key.kid === signing!.kid)
    // Not in a month: as soon as the new one can be known.
    expect(later?.retiredAt).toEqual(new Date(now + 6 * minutes))
    now += 6 * minutes
    expect(keyring.signer('ES256').kid).not.toBe(signing!.kid)
  })

  it('makes no retired key sign again, even where all that came after it are withdrawn', async () => {
    const keyring = await open(keyTimes(15 * minutes))
    now += 7 * minutes
    const { kid } = keyring.signer('ES256')
    await rotate(keyring)
    const later = keyring
      .list()
      .filter(key => key.alg === 'ES256' && ['active', 'prepared'].includes(key.state))
    expect(later).toHaveLength(2)
    for (const key of later) await withdraw(keyring, key.kid)
    const state = () => keyring.list().find(key => key.kid === kid)?.state
    expect(state()).toBe('retired')
    expect(() => keyring.signer('ES256')).toThrow('No ES256 key can sign yet')
    now += 6 * minutes
    expect([state(), keyring.signer('ES256').publishedAt]).toEqual(['retired', new Date(now - 6 * minutes)])
    await keyring.maintain()
    expect(statesOf(keyring).filter(one => one !== 'withdrawn')).toEqual(['active', 'prepared'])
  })

  it('withdraws a key that is held by reservations without a pause', async () => {
    const keyring = await open(keyTimes(15 * minutes))
    const { kid } = keyring.signer('ES256')
    let ended = false
    let held = 0
    // Each begins before the one before has ended.
    const reservations = Array.from({ length: 4 }, async (_, i) => {
      await setTimeout(i * 10)
      while (!ended)
        await db.transaction(async tx => {
          await tx.query({ name: 'hold', text: 'SELECT FROM signing_keys WHERE kid = $1 FOR SHARE' }, [kid])
          await setTimeout(40)
          held++
        })
    })
    await expect.poll(() => held).toBeGreaterThan(8)
    const before = held
    await expect(withdraw(keyring, kid)).resolves.toBeInstanceOf(Date)
    // Those that held it then, and hardly more: in the row's own queue it waited for hundreds.
    expect(held - before).toBeLessThan(30)
    ended = true
    await Promise.all(reservations)
  })

  it('refuses to work beside keys of another master key', async () => {
    const other = masterKeyFrom(randomBytes(32))
    await expect(
      openKeyring({ db, masterKey: other, clock: () => now, log, algs: ['ES256'], times: keyTimes(minutes) }),
    ).rejects.toThrow('are wrapped by master key')
  })
})
