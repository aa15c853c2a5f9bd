import { execFileSync } from 'node:child_process'
import { mkdir, mkdtemp, rename, rm, symlink, unlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { decide } from '../../src/decide/decide.ts'
import { checkPolicyDir, loadPolicyDir } from '../../src/decide/folder.ts'
import {
  createPolicyStore,
  type PolicyStore,
  type PolicyStoreOptions,
} from '../../src/decide/policy-store.ts'
import { HallpassError } from '../../src/errors.ts'
import { mint, onTask } from './asks.ts'

let dir: string
let stores: PolicyStore[]
let logged: { level: string; text: string }[]

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'hallpass-policies-'))
  stores = []
  logged = []
})
afterEach(async () => {
  for (const store of stores) store.stop()
  await rm(dir, { recursive: true, force: true })
})

const permit = (scope: string): string =>
  `@id("p-${scope}") permit(principal is Workload, action == Action::"mint", resource == Scope::"${scope}");\n`
const write = (name: string, text: string | Uint8Array): Promise<void> => writeFile(join(dir, name), text)
const messages = async (): Promise<string[]> =>
  (await checkPolicyDir(dir)).faults.map(fault => `${fault.file}: ${fault.message}`)

async function store(options: Partial<PolicyStoreOptions> = {}): Promise<PolicyStore> {
  const note =
    (level: string) =>
    (...parts: unknown[]): void =>
      void logged.push({ level, text: JSON.stringify(parts) })
  const log = { info: note('info'), warn: note('warn'), error: note('error') }
  // Looks are asked for by the tests, unless they are about looking.
  const made = await createPolicyStore({ dir, log, settle: 5, pollEvery: 3_600_000, ...options })
  stores.push(made)
  return made
}

test('a folder with faults does not start, and each is named', async () => {
  await write('a.cedar', '@id("one") permit(principal, action, resource) when { resource.nope };')
  await write('b.cedar', 'permit(')
  const failure = await store().catch((cause: unknown) => cause)
  expect(failure).toBeInstanceOf(HallpassError)
  expect(String(failure)).toMatch(/a\.cedar:1:\d+: one: .*nope/)
  expect(String(failure)).toMatch(/b\.cedar:1:\d+: /)
})

test('a folder that does not exist does not start; no folder at all is the built-in policies', async () => {
  await expect(store({ dir: join(dir, 'nope') })).rejects.toThrow('cannot be read (ENOENT)')
  const bare = await store({ dir: null })
  expect(decide(bare.current(), onTask('read')).policies).toEqual(['builtin-owner-read'])
  await bare.reload()
  expect(bare.faults()).toEqual([])
})

test('a bad change is refused with its faults, and the last good set stays until a good one comes', async () => {
  await write('a.cedar', permit('deploy:prod'))
  const changes: string[] = []
  const refused: number[] = []
  const policies = await store({
    onChange: set => changes.push(set.version),
    onFault: faults => refused.push(faults.length),
  })
  const good = policies.current()

  await write('b.cedar', 'forbid(principal, action, resource) whn { true };')
  await policies.reload()
  expect(policies.current()).toBe(good)
  expect(decide(policies.current(), mint()).allow).toBe(true)
  expect(policies.faults()).toMatchObject([{ file: 'b.cedar', line: 1 }])
  expect(refused).toEqual([1])
  expect(logged.filter(line => line.level === 'error').map(line => line.text)).toEqual([
    expect.stringContaining('b.cedar:1:'),
  ])

  // Looked at again, it is told once.
  await policies.reload()
  expect(refused).toEqual([1])

  await write('b.cedar', '@id("no") forbid(principal, action, resource);')
  await policies.reload()
  expect(policies.faults()).toEqual([])
  expect(decide(policies.current(), mint())).toMatchObject({ allow: false, policies: ['no'] })
  expect(changes).toEqual([policies.current().version])
})

test('a folder that goes away, and a file that cannot be read whole, keep the last good set', async () => {
  await write('a.cedar', permit('deploy:prod'))
  const policies = await store()
  const good = policies.current()
  await write('z.cedar', Uint8Array.of(0x2f, 0x2f, 0xff))
  await policies.reload()
  expect(policies.current()).toBe(good)
  expect(policies.faults()).toMatchObject([{ file: 'z.cedar' }])
  await rm(dir, { recursive: true })
  await policies.reload()
  expect(policies.current()).toBe(good)
  expect(policies.faults()).toMatchObject([{ file: '.', message: 'cannot be read (ENOENT)' }])
})

test('back to what is in force, nothing changes but the faults', async () => {
  await write('a.cedar', permit('deploy:prod'))
  const policies = await store()
  const good = policies.current()
  await write('a.cedar', 'permit(')
  await policies.reload()
  await write('a.cedar', `// only a remark more\n${permit('deploy:prod')}`)
  await policies.reload()
  expect(policies.faults()).toEqual([])
  expect(policies.current()).toBe(good)
})

test('a change is noticed by itself', async () => {
  await write('a.cedar', permit('deploy:prod'))
  const policies = await store()
  await write('a.cedar', permit('deploy:dev'))
  await vi.waitFor(() => expect(policies.current().policies.has('p-deploy:dev')).toBe(true), {
    timeout: 20_000,
  })
})

test('a folder swapped under a link, as Kubernetes does, is noticed by looking', async () => {
  for (const [version, scope] of [
    ['v1', 'deploy:prod'],
    ['v2', 'deploy:dev'],
  ] as const) {
    await mkdir(join(dir, `..${version}`))
    await write(`..${version}/a.cedar`, permit(scope))
  }
  await symlink('..v1', join(dir, '..data'))
  await symlink('..data/a.cedar', join(dir, 'a.cedar'))
  const policies = await store({ pollEvery: 20 })
  expect(decide(policies.current(), mint()).allow).toBe(true)
  await symlink('..v2', join(dir, '..new'))
  await rename(join(dir, '..new'), join(dir, '..data'))
  await vi.waitFor(() => expect(decide(policies.current(), mint()).allow).toBe(false), { timeout: 20_000 })
})

test('after stop nothing is looked at any more', async () => {
  await write('a.cedar', permit('deploy:prod'))
  const policies = await store({ pollEvery: 5 })
  policies.stop()
  await policies.reload()
  const good = policies.current()
  await write('a.cedar', permit('deploy:dev'))
  await new Promise(resolve => setTimeout(resolve, 60))
  expect(policies.current()).toBe(good)
})

test('only the visible .cedar files of the folder itself are read', async () => {
  await write('b.cedar', permit('deploy:prod'))
  await write('.hidden.cedar', 'broken')
  await write('b.cedar.orig', 'broken')
  await write('README.md', 'broken')
  await mkdir(join(dir, 'sub'))
  await write('sub/c.cedar', 'broken')
  const result = await loadPolicyDir(dir)
  expect(result.ok && [...result.compiled.policies.values()].map(policy => policy.place)).toContain(
    'b.cedar:1',
  )
  expect(await messages()).toEqual([])
})

test('what is no file, too large, too many or not UTF-8 is a fault', async () => {
  await mkdir(join(dir, 'folder.cedar'))
  execFileSync('mkfifo', [join(dir, 'pipe.cedar')])
  await symlink('nowhere', join(dir, 'broken.cedar'))
  await write('bom.cedar', `\ufeff${permit('a')}`)
  await write('huge.cedar', `${permit('b')}//${'x'.repeat(300_000)}`)
  await write('latin.cedar', Uint8Array.of(0x2f, 0x2f, 0xe9, 0x0a))
  expect(await messages()).toEqual([
    'broken.cedar: cannot be read (ENOENT)',
    'folder.cedar: is not a file',
    'huge.cedar: is larger than 262144 bytes',
    'latin.cedar: cannot be read (ERR_ENCODING_INVALID_ENCODED_DATA)',
    'pipe.cedar: is not a file',
    expect.stringContaining('bom.cedar: '),
  ])
  for (const name of ['huge', 'latin', 'pipe', 'bom', 'broken']) await unlink(join(dir, `${name}.cedar`))
  await rm(join(dir, 'folder.cedar'), { recursive: true })
  await Promise.all(Array.from({ length: 257 }, (_, n) => write(`${n}.cedar`, '')))
  expect(await messages()).toEqual(['.: has more than 256 policy files'])
})
