import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll } from 'vitest'
import { ConfigError, type Fault, type LoadedConfig, loadConfig } from '../../src/config.ts'

const folders: string[] = []
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true })
})

/** A new folder, removed after the tests. */
export const folder = (): string => {
  const made = mkdtempSync(join(tmpdir(), 'hallpass-config-'))
  folders.push(made)
  return made
}

/** The configuration that this hallpass.yaml makes, in a folder of its own. */
export const load = (yaml: string | Buffer, env: Record<string, string> = {}): LoadedConfig => {
  const cwd = folder()
  writeFileSync(join(cwd, 'hallpass.yaml'), yaml)
  return loadConfig({ env, cwd })
}

/** The faults of this hallpass.yaml, none if it has none. */
export const faults = (yaml: string | Buffer, env: Record<string, string> = {}): Fault[] => {
  try {
    load(yaml, env)
    return []
  } catch (error) {
    if (error instanceof ConfigError) return error.faults
    throw error
  }
}

export const paths = (yaml: string | Buffer, env: Record<string, string> = {}): string[] =>
  faults(yaml, env).map(fault => fault.path)
