import { resolve } from 'node:path'
import type { Hook, TrustSource } from '../config.ts'
import { trustOfHook } from './hook-rules.ts'
import { readSecret } from './hook-secret.ts'
import type { File } from './shape.ts'

const defaultHeader = 'X-Hub-Signature-256'
/** Characters. What is shorter can be guessed by whoever has seen one signed delivery. */
const secretLeast = 16

/** Hooks of a sound file: the trust source and the `ref` that were left out are found. */
export const settleHooks = (file: File, base: string, trust: TrustSource[]): Hook[] =>
  file.hooks.map(hook => {
    const sources = trust.map(source => ({ name: source.name, templated: templateOf(source) !== null }))
    const { name, kind } = hook
    const source = trustOfHook({ name, kind, trust: hook.trust ?? null }, sources) ?? null
    const template = templateOf(trust.find(({ name }) => name === source))
    return {
      name,
      kind,
      secret: hook.secret ?? secretIn(resolve(base, hook.secret_file ?? '')),
      trust: source,
      ref: hook.ref ?? template ?? '',
      header: hook.header ?? defaultHeader,
      state: hook.state ?? null,
    }
  })

const templateOf = (source: TrustSource | undefined): string | null =>
  source?.kind === 'oidc' ? (source.task?.ref ?? null) : null

/** Was readable a moment ago, when it was checked. */
const secretIn = (path: string): string => {
  const read = readSecret(path)
  if ('fault' in read) throw new Error(`a hook's secret_file ${read.fault}`)
  return read.secret
}

export const hookWarnings = (hooks: Hook[]): string[] =>
  hooks
    .filter(({ secret }) => secret.length < secretLeast)
    .map(
      ({ name }) => `the secret of hook ${name} has fewer than ${secretLeast} characters: it can be guessed`,
    )
