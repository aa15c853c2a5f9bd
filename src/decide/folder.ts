import { createHash } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, open, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { type CompileResult, compilePolicies } from './compile.ts'
import type { Fault } from './fault.ts'
import type { PolicyFile } from './source.ts'

const maxFiles = 256
const maxFileBytes = 256 * 1024

/** A policy folder as it was read. */
export interface PolicyFolder {
  files: PolicyFile[]
  /** What could not be read. */
  faults: Fault[]
  /** The same for the same content, whatever its dates: some volumes swap folders under a link. */
  digest: string
}

/** Reads all `*.cedar` of the folder, sorted, leaving out hidden ones and sub-folders. Never throws. */
export async function readFolder(dir: string): Promise<PolicyFolder> {
  const files: PolicyFile[] = []
  const faults: Fault[] = []
  try {
    const names = (await readdir(dir)).filter(name => name.endsWith('.cedar') && !name.startsWith('.')).sort()
    if (names.length > maxFiles) faults.push(fault('.', `has more than ${maxFiles} policy files`))
    for (const name of names.slice(0, maxFiles)) {
      const text = await readPolicyFile(join(dir, name))
      if (typeof text === 'string') files.push({ name, text })
      else faults.push(fault(name, text.fault))
    }
  } catch (cause) {
    faults.push(fault('.', `cannot be read (${errorCode(cause)})`))
  }
  const digest = createHash('sha256')
    .update(JSON.stringify([files, faults]))
    .digest('hex')
  return { files, faults, digest }
}

/** The folder's policies with the built-in ones; `null` is no folder: the built-in ones alone. */
export async function loadPolicyDir(dir: string | null): Promise<CompileResult> {
  return dir === null ? compilePolicies([]) : compileFolder(await readFolder(dir))
}

/** What is wrong with a folder, and what is only odd: for `hallpass policy check`. */
export async function checkPolicyDir(dir: string): Promise<{ faults: Fault[]; warnings: Fault[] }> {
  const result = await loadPolicyDir(dir)
  return { faults: result.ok ? [] : result.faults, warnings: result.warnings }
}

/** A folder that could not be read whole compiles to nothing: the file that is missing may hold the forbids. */
export function compileFolder(folder: PolicyFolder): CompileResult {
  const result = compilePolicies(folder.files)
  if (folder.faults.length === 0) return result
  return {
    ok: false,
    faults: [...folder.faults, ...(result.ok ? [] : result.faults)],
    warnings: result.warnings,
  }
}

async function readPolicyFile(path: string): Promise<string | { fault: string }> {
  try {
    // Not blocking: opening a named pipe would wait until somebody writes to it.
    const handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
    try {
      if (!(await handle.stat()).isFile()) return { fault: 'is not a file' }
      const buffer = Buffer.alloc(maxFileBytes + 1)
      const bytes = await fill(handle, buffer)
      if (bytes > maxFileBytes) return { fault: `is larger than ${maxFileBytes} bytes` }
      return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(buffer.subarray(0, bytes))
    } finally {
      await handle.close()
    }
  } catch (cause) {
    return { fault: `cannot be read (${errorCode(cause)})` }
  }
}

/** Reads until the buffer is full or the file ends; one read may return less. */
async function fill(handle: FileHandle, buffer: Buffer): Promise<number> {
  let bytes = 0
  while (bytes < buffer.length) {
    const { bytesRead } = await handle.read(buffer, bytes, buffer.length - bytes, null)
    if (bytesRead === 0) break
    bytes += bytesRead
  }
  return bytes
}

const fault = (file: string, message: string): Fault => ({ file, line: 1, column: 1, policy: null, message })

/** `ENOENT`, `ERR_ENCODING_INVALID_ENCODED_DATA`: enough to mend it. */
const errorCode = (cause: unknown): string =>
  cause instanceof Error && 'code' in cause ? String(cause.code) : 'unknown error'
