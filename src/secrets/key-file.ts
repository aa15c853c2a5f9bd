import { randomBytes } from 'node:crypto'
import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { HallpassError } from '../errors.ts'
import { masterKeyLength, parseMasterKey } from './master-key-text.ts'

/**
 * The bytes of `<dataDir>/master.key`: base64 and a line break, readable by its owner alone. Generated once; of several
 * processes that start at once, one makes the key and all read it.
 */
export const readOrCreateKeyFile = (dataDir: string): Buffer =>
  naming(dataDir, file => {
    mkdirSync(dataDir, { recursive: true, mode: 0o700 })
    const found = read(dataDir, file)
    if (found !== null) return found
    create(dataDir, file)
    return read(dataDir, file) ?? fail(`${file} vanished while it was being made`)
  })

/** The same where it is there; null where it is not. */
export const readKeyFile = (dataDir: string): Buffer | null =>
  naming(dataDir, file => (existsSync(file) ? read(dataDir, file) : null))

/** Runs with the file's path, which every error names. */
const naming = <Result>(dataDir: string, run: (file: string) => Result): Result => {
  const file = join(dataDir, 'master.key')
  try {
    return run(file)
  } catch (error) {
    if (error instanceof HallpassError) throw error
    const { code = 'unknown' } = error as NodeJS.ErrnoException
    return fail(`The master key in ${file} cannot be read or made (${code})`, error)
  }
}

/** null when it is not there. */
const read = (dataDir: string, file: string): Buffer | null => {
  refuseWritableByOthers(dataDir)
  let fd: number
  try {
    // Not through a link, and without waiting for whoever may be at the other end of a pipe.
    fd = openSync(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw error
  }
  try {
    const stat = fstatSync(fd)
    if (!stat.isFile()) fail(`${file} is not a regular file`)
    if ((stat.mode & 0o077) !== 0)
      fail(`${file} can be read or written by others than its owner: chmod 600 it`)
    const content = Buffer.alloc(64)
    const text = content.toString('latin1', 0, readSync(fd, content, 0, content.length, 0))
    return parseMasterKey(text.replace(/\n$/, '')) ?? fail(`${file} does not hold 32 bytes in base64`)
  } finally {
    closeSync(fd)
  }
}

/** Complete and on disk before it has its name, and never over another: `link` fails where `rename` would replace. */
const create = (dataDir: string, file: string): void => {
  const draft = `${file}.${randomBytes(8).toString('hex')}`
  const fd = openSync(draft, 'wx', 0o600)
  try {
    writeFileSync(fd, `${randomBytes(masterKeyLength).toString('base64')}\n`)
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
  try {
    linkSync(draft, file)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  } finally {
    unlinkSync(draft)
  }
  // Also by the one that came second: it is about to wrap keys under a name that may not be on disk yet.
  const directory = openSync(dataDir, 'r')
  try {
    fsyncSync(directory)
  } finally {
    closeSync(directory)
  }
}

const refuseWritableByOthers = (dataDir: string): void => {
  if ((statSync(dataDir).mode & 0o022) !== 0) {
    fail(
      `${dataDir} can be written by others than its owner, who could put a master key of theirs there: chmod 700 it`,
    )
  }
}

const fail = (message: string, cause?: unknown): never => {
  throw new HallpassError('internal', message, { cause })
}
