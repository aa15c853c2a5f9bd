import { execFileSync } from 'node:child_process'
import { chmodSync, existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { verifyOperatorToken } from '../../src/attest/operator-token.ts'
import { systemClock } from '../../src/clock.ts'
import { loadMasterKey, masterKeyFrom } from '../../src/secrets/master-key.ts'
import { folder, hallpass } from './command.ts'

const secret = Buffer.alloc(32, 7)

test('prints a token that the broker of this configuration accepts, and nothing else', async () => {
  const cwd = folder()
  writeFileSync(join(cwd, 'hallpass.yaml'), 'issuer: https://hallpass.example\ndata_dir: data')
  const masterKey = loadMasterKey({ masterKey: null, dataDir: join(cwd, 'data') })
  const { exitCode, out, err } = await hallpass(['operator-token'], { cwd })
  expect([exitCode, err]).toEqual([0, ''])
  await expect(
    verifyOperatorToken({ masterKey, issuer: 'https://hallpass.example', clock: systemClock }, out),
  ).resolves.toBeDefined()
})

test('takes the key from the environment, and the configuration from --config', async () => {
  const cwd = folder()
  writeFileSync(join(cwd, 'other.yaml'), 'issuer: https://other.example')
  const env = { HALLPASS_MASTER_KEY: secret.toString('base64'), HALLPASS_CONFIG: 'nowhere.yaml' }
  const { out } = await hallpass(['--config', 'other.yaml', 'operator-token'], { cwd, env })
  const parts = { masterKey: masterKeyFrom(secret), issuer: 'https://other.example', clock: systemClock }
  await expect(verifyOperatorToken(parts, out)).resolves.toBeDefined()
})

test('without a master key it fails, and makes none', async () => {
  const cwd = folder()
  const { exitCode, out, err } = await hallpass(['operator-token'], { cwd })
  expect([exitCode, out]).toEqual([1, ''])
  expect(err).toMatch(/^hallpass: There is no master key in .*\.hallpass/)
  expect(existsSync(join(cwd, '.hallpass'))).toBe(false)
})

test('with a master key that others can read it fails', async () => {
  const cwd = folder()
  loadMasterKey({ masterKey: null, dataDir: join(cwd, '.hallpass') })
  chmodSync(join(cwd, '.hallpass', 'master.key'), 0o644)
  const { exitCode, out, err } = await hallpass(['operator-token'], { cwd })
  expect([exitCode, out]).toEqual([1, ''])
  expect(err).toMatch(/chmod 600/)
})

test('with a faulty configuration it fails, and tells every fault', async () => {
  const cwd = folder()
  writeFileSync(join(cwd, 'hallpass.yaml'), 'isuer: x\nclock_skew: y')
  const { exitCode, out, err } = await hallpass(['operator-token'], { cwd })
  expect([exitCode, out]).toEqual([1, ''])
  expect(err).toMatch(/isuer.*did you mean issuer/)
  expect(err).toMatch(/clock_skew/)
})

test('as a process it exits with the same code, one line on standard output', () => {
  const cli = join(import.meta.dirname, '../../src/cli/hallpass.ts')
  const env = { ...process.env, HALLPASS_MASTER_KEY: secret.toString('base64') }
  const out = execFileSync(process.execPath, [cli, 'operator-token'], {
    cwd: folder(),
    env,
    encoding: 'utf8',
  })
  expect(out).toMatch(/^[\w-]+\.[\w-]+\.[\w-]+\n$/)
  expect(() => execFileSync(process.execPath, [cli, 'nonsense'], { cwd: folder(), stdio: 'pipe' })).toThrow(
    expect.objectContaining({ status: 2 }),
  )
})
