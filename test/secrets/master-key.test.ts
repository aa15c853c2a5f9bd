import { execFile } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { loadMasterKey, masterKeyFrom } from '../../src/secrets/master-key.ts'

const root = mkdtempSync(join(tmpdir(), 'hallpass-key-'))
afterAll(() => rmSync(root, { recursive: true, force: true }))

let count = 0
const newDataDir = () => join(root, String(count++), 'data')
const generated = (dataDir: string) => loadMasterKey({ masterKey: null, dataDir })
const mode = (path: string) => statSync(path).mode & 0o777

describe('the file', () => {
  test('is made once, for its owner alone, and read from then on', () => {
    const dataDir = newDataDir()
    const first = generated(dataDir)
    expect(generated(dataDir).id).toBe(first.id)
    expect(mode(dataDir)).toBe(0o700)
    expect(mode(join(dataDir, 'master.key'))).toBe(0o600)
    expect(readdirSync(dataDir)).toEqual(['master.key'])
  })

  test('can be handed on as HALLPASS_MASTER_KEY', () => {
    const dataDir = newDataDir()
    const { id } = generated(dataDir)
    const text = readFileSync(join(dataDir, 'master.key'), 'utf8').trim()
    expect(loadMasterKey({ masterKey: Buffer.from(text, 'base64'), dataDir: newDataDir() }).id).toBe(id)
  })

  test('is neither read nor made where a key is configured', () => {
    const dataDir = newDataDir()
    loadMasterKey({ masterKey: Buffer.alloc(32, 1), dataDir })
    expect(existsSync(dataDir)).toBe(false)
  })

  test('is one, however many processes start at once', async () => {
    const dataDir = newDataDir()
    const module = join(import.meta.dirname, '../../src/secrets/master-key.ts')
    const script = `import { loadMasterKey } from ${JSON.stringify(module)}
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, Number(process.argv[1]) - Date.now())
      console.log(loadMasterKey({ masterKey: null, dataDir: process.argv[2] }).id)`
    const together = String(Date.now() + 700)
    const ids = await Promise.all(
      Array.from({ length: 6 }, async () => {
        const args = ['--input-type=module', '-e', script, together, dataDir]
        const { stdout } = await promisify(execFile)(process.execPath, args)
        return stdout.trim()
      }),
    )
    expect(ids[0]).toMatch(/^[0-9a-f]{16}$/)
    expect(new Set(ids).size).toBe(1)
    expect(readdirSync(dataDir)).toEqual(['master.key'])
  })

  const refused = (prepare: (file: string, dataDir: string) => void) => {
    const dataDir = newDataDir()
    generated(dataDir)
    const file = join(dataDir, 'master.key')
    prepare(file, dataDir)
    const before = existsSync(file) && statSync(file).isFile() ? readFileSync(file, 'utf8') : null
    let message = ''
    try {
      generated(dataDir)
    } catch (error) {
      expect(error).toMatchObject({ name: 'HallpassError', code: 'internal' })
      message = (error as Error).message
    }
    if (before !== null) {
      expect(readFileSync(file, 'utf8')).toBe(before)
      if (before.trim() !== '') expect(message).not.toContain(before.trim())
    }
    return message
  }

  test.each([0o640, 0o604, 0o620, 0o601])('is refused with mode %o', bits => {
    expect(refused(file => chmodSync(file, bits))).toMatch(/others/)
  })

  test.each([0o770, 0o707, 0o777])('is refused in a folder of mode %o', bits => {
    expect(refused((_, dataDir) => chmodSync(dataDir, bits))).toMatch(/others/)
  })

  test.each([
    '',
    '\n',
    Buffer.alloc(31).toString('base64'),
    Buffer.alloc(33).toString('base64'),
    ` ${Buffer.alloc(32).toString('base64')}`,
    `${Buffer.alloc(32).toString('base64')}\n\n`,
    `${Buffer.alloc(32).toString('base64')}\nmore`,
    Buffer.alloc(32).toString('hex'),
    'A'.repeat(10_000),
  ])('is refused, and left alone, when it holds %j', text => {
    expect(refused(file => writeFileSync(file, text))).toMatch(/32 bytes/)
  })

  test('is refused when it is a link, even to a sound one', () => {
    const elsewhere = newDataDir()
    generated(elsewhere)
    const message = refused(file => {
      rmSync(file)
      symlinkSync(join(elsewhere, 'master.key'), file)
    })
    expect(message).toMatch(/ELOOP/)
  })

  test('is refused when it is no file', () => {
    const message = refused(file => {
      rmSync(file)
      mkdirSync(file, { mode: 0o700 })
    })
    expect(message).toMatch(/not a regular file/)
  })

  test('is refused where its folder cannot be made', () => {
    const file = join(root, 'a-file')
    writeFileSync(file, '')
    expect(() => generated(join(file, 'data'))).toThrow(/ENOTDIR/)
  })
})

describe('derivation', () => {
  const secret = fc.uint8Array({ minLength: 32, maxLength: 32 }).map(bytes => Buffer.from(bytes))

  test('gives every purpose of every key 32 bytes of its own, always the same', () => {
    fc.assert(
      fc.property(secret, secret, fc.string(), fc.string(), (one, other, a, b) => {
        const key = masterKeyFrom(one)
        expect(key.derive(a)).toHaveLength(32)
        expect(key.derive(a)).toEqual(masterKeyFrom(one).derive(a))
        expect(key.derive(a).equals(key.derive(b))).toBe(a === b)
        expect(key.derive(a).equals(masterKeyFrom(other).derive(a))).toBe(one.equals(other))
      }),
    )
  })

  test('the id is 16 hexadecimal digits that are in neither the key nor anything derived', () => {
    fc.assert(
      fc.property(secret, fc.string(), (bytes, purpose) => {
        const key = masterKeyFrom(bytes)
        expect(key.id).toMatch(/^[0-9a-f]{16}$/)
        expect(bytes.toString('hex')).not.toContain(key.id)
        expect(key.derive(purpose).toString('hex')).not.toContain(key.id)
      }),
    )
  })

  test('nothing that is printed of it shows the key', () => {
    const key = masterKeyFrom(Buffer.alloc(32, 7))
    expect(JSON.stringify(key)).toBe(`{"id":"${key.id}"}`)
    expect(Object.keys(key)).toEqual(['id', 'derive'])
  })

  test('does not change when the caller wipes or changes the bytes it gave', () => {
    const bytes = Buffer.alloc(32, 7)
    const key = masterKeyFrom(bytes)
    bytes.fill(0)
    expect(key.derive('x')).toEqual(masterKeyFrom(Buffer.alloc(32, 7)).derive('x'))
  })

  test.each([0, 16, 31, 33, 64])('refuses a key of %i bytes', length => {
    expect(() => masterKeyFrom(Buffer.alloc(length))).toThrow(RangeError)
  })
})
