import { HallpassError } from '../../errors.ts'
import type { Task } from '../../store/task-record.ts'

/** Bytes of a SPIFFE ID that every implementation takes (SPIFFE-ID §2.3). */
const longest = 2048

/**
 * The SPIFFE ID of a task's certificates, in the broker's own trust domain, by the template of `pki.path`. Every value is one segment,
 * escaped so that no two values read alike. Throws `malformed` for one that is longer than a SPIFFE ID may be, or that has no such segment.
 */
export function spiffeIdOf(
  { trustDomain, path }: { trustDomain: string; path: string },
  { id, kind, ref, principal }: Pick<Task, 'id' | 'kind' | 'ref' | 'principal'>,
): string {
  const values: Record<string, string> = { task_id: id, kind, ref, principal }
  if (!Object.values(values).every(value => value.isWellFormed()))
    throw new HallpassError('malformed', 'The task’s names have no place in a SPIFFE ID.')
  const rendered = path.replace(/\{([^{}]*)\}/g, (_, name: string) => segmentOf(values[name] ?? ''))
  const text = `spiffe://${trustDomain}${rendered}`
  if (text.length > longest)
    throw new HallpassError('malformed', 'The task’s names are too long for a SPIFFE ID.')
  return text
}

/** Percent-encoding has no place in a SPIFFE ID (SPIFFE-ID §2.2): an underscore stands in for the percent sign. */
export const segmentOf = (value: string): string =>
  /^\.{1,2}$/.test(value)
    ? value.replaceAll('.', '_2E')
    : value.replace(/[^A-Za-z0-9.-]/gu, character =>
        Array.from(
          Buffer.from(character),
          byte => `_${byte.toString(16).toUpperCase().padStart(2, '0')}`,
        ).join(''),
      )
