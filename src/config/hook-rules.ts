import { resolve } from 'node:path'
import type { Report } from './fault.ts'
import { hookKinds } from './hook-kinds.ts'
import { isSigningToken, readSecret, signingKey } from './hook-secret.ts'
import { at, textAt } from './raw.ts'

/** What a trust source is to a hook. */
interface Source {
  name: string
  templated: boolean
}

/** The trust source whose tasks a hook ends; null for those of any; undefined where the file has to say it. */
export const trustOfHook = (
  { name, kind, trust }: { name: string | null; kind: string | null; trust: string | null },
  sources: Source[],
): string | null | undefined => {
  if (trust !== null) return trust
  if (kind === 'generic') return null
  if (sources.some(source => source.name === name)) return name
  const templated = sources.filter(source => source.templated)
  return templated.length === 1 ? templated[0]?.name : undefined
}

/** What hooks must not be to each other, and to the trust sources whose tasks they end. */
export const checkHooks = (raw: unknown, base: string, report: Report): void => {
  const hooks = listAt(raw, 'hooks')
  for (const [index, hook] of hooks.entries()) {
    const here = `hooks[${index}]`
    const name = textAt(hook, 'name')
    const earlier = hooks.slice(0, index).findIndex(other => name !== null && textAt(other, 'name') === name)
    if (earlier !== -1) report(`${here}.name`, `is that of hooks[${earlier}]`)
    checkSecret(hook, { base, here, report })
    if (!hookKinds.some(kind => kind === textAt(hook, 'kind'))) continue
    checkNaming(hook, listAt(raw, 'trust'), { here, report })
    checkKind(hook, { here, report })
  }
}

const checkSecret = (
  hook: unknown,
  { base, here, report }: { base: string; here: string; report: Report },
): void => {
  const file = textAt(hook, 'secret_file')
  const given = at(hook, 'secret') !== undefined
  if (given === (at(hook, 'secret_file') !== undefined)) {
    report(`${here}.secret`, given ? 'is given, and so is secret_file' : 'is missing: or give secret_file')
    return
  }
  const path = file === null ? `${here}.secret` : `${here}.secret_file`
  const read = file === null ? { secret: textAt(hook, 'secret') ?? '' } : readSecret(resolve(base, file))
  if ('fault' in read) report(path, read.fault)
  else if (textAt(hook, 'kind') === 'gitlab' && isSigningToken(read.secret) && !signingKey(read.secret))
    report(path, 'is no signing token: after whsec_ comes a key in base64')
}

const checkNaming = (
  hook: unknown,
  trust: unknown[],
  { here, report }: { here: string; report: Report },
): void => {
  const kind = textAt(hook, 'kind')
  const workloads = trust.filter(source => at(source, 'operators') === undefined)
  const sources = workloads.map(source => ({
    name: textAt(source, 'name') ?? '',
    templated: at(source, 'task') !== undefined,
  }))
  const named = textAt(hook, 'trust')
  const name = trustOfHook({ name: textAt(hook, 'name'), kind, trust: named }, sources)
  const source = sources.find(source => source.name === name)
  if (name === undefined) report(`${here}.trust`, 'is missing: name the trust source whose tasks it ends')
  else if (name !== null && !source) report(`${here}.trust`, 'is no trust source of workloads')
  if (at(hook, 'ref') !== undefined) return
  if (kind === 'generic') report(`${here}.ref`, 'is missing: say how a task’s ref is made of the payload')
  else if (source && !source.templated)
    report(`${here}.ref`, `is missing: trust source ${source.name} has no task.ref to take its place`)
}

const checkKind = (hook: unknown, { here, report }: { here: string; report: Report }): void => {
  const generic = textAt(hook, 'kind') === 'generic'
  if (generic && at(hook, 'state') === undefined)
    report(`${here}.state`, 'is missing: say which states of the payload end a task')
  for (const key of ['header', 'state'])
    if (!generic && at(hook, key) !== undefined) report(`${here}.${key}`, 'is for hooks of kind generic')
}

const listAt = (raw: unknown, key: string): unknown[] => {
  const list = at(raw, key)
  return Array.isArray(list) ? list : []
}
