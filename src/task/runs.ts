import { type TemplatePart, templateParts } from '../config/task-template.ts'
import type { Config } from '../config.ts'
import { runKey } from '../store/names.ts'
import { githubRun } from './ended.ts'
import { beginning } from './ended-name.ts'

/**
 * The runs that a task is part of, by its name alone: keys under which their end would be remembered. None where no authority reports
 * the runs of the task's source.
 */
export type RunsOf = (name: { trust: string; ref: string; templated: boolean }) => Buffer[]

export function runsOf({ hooks, trust: sources }: Pick<Config, 'hooks' | 'trust'>): RunsOf {
  const runs = hooks.flatMap(({ kind, ref, trust }) => {
    const parts = kind === 'github' ? beginning(templateParts(ref) ?? [], githubRun) : null
    return parts && isTemplated(sources, trust) ? [{ trust, pattern: patternOf(parts) }] : []
  })
  return ({ trust, ref, templated }) => {
    if (!templated) return []
    const prefixes = runs.flatMap(run => (run.trust === trust ? (run.pattern.exec(ref)?.[0] ?? []) : []))
    return [...new Set(prefixes)].map(prefix => runKey(trust, prefix))
  }
}

/** Whether a template names the tasks of the source: only then is an end remembered that comes before its task (contract §5). */
export const isTemplated = (sources: Config['trust'], name: string | null): boolean =>
  sources.some(source => source.name === name && source.kind === 'oidc' && source.task !== null)

/**
 * What a rendered `ref` begins with, where it was made of a template that begins so. Between two placeholders is a character that no
 * value holds (config/task-template.ts), so there is one way to match.
 */
function patternOf(parts: TemplatePart[]): RegExp {
  const source = parts.map(part => ('claim' in part ? '[A-Za-z0-9._~%-]+' : escaped(part.literal)))
  return new RegExp(`^${source.join('')}`)
}

const escaped = (text: string): string => text.replace(/[.*+?^${}()|[\]\\/-]/g, '\\$&')
