import { type TemplatePart, templateParts } from '../config/task-template.ts'
import type { Hook, OidcSource } from '../config.ts'
import { textAt } from '../json-path.ts'
import type { Ended, Ending, Holding } from './ended.ts'
import { renderRef } from './job.ts'

/** What an end is the end of: the task of one `ref`, or every task whose `ref` begins so. */
export type EndedName = { ending: Ending; what: string } & ({ ref: string } | { prefix: string })

/**
 * The name of what is over, byte for byte as an attestation of it would render it. Where there is none, why: it is of another
 * trust source, or something smaller or larger than a name stands for.
 */
export function nameOf(
  { ref, trust }: Pick<Hook, 'ref' | 'trust'>,
  require: OidcSource['require'],
  ended: Ended,
): EndedName | { ignored: string } {
  const { what, ending, facts, own } = ended
  const foreign = Object.keys(require).find(
    claim => Object.hasOwn(facts, claim) && facts[claim] !== null && facts[claim] !== require[claim],
  )
  if (foreign !== undefined)
    return { ignored: `Its ${foreign} is not the one that trust source ${trust} requires.` }

  const parts = templateParts(ref) ?? []
  const prefix = ended.holds && beginning(parts, ended.holds)
  if (!prefix && own && !parts.some(part => 'claim' in part && own.includes(part.claim)))
    return { ignored: `The hook’s ref does not name a ${what} of its own.` }
  const rendered = render(prefix ?? parts, ended)
  if ('missing' in rendered) return { ignored: `The event does not tell ${rendered.missing}.` }
  return { what, ending, ...(prefix ? { prefix: rendered.text } : { ref: rendered.text }) }
}

/**
 * The part of a template that names a thing which holds others, where the others have names of their own: up to the first placeholder
 * that its events do not tell. null where the whole of the template is told, or its beginning names something larger.
 */
export function beginning(parts: TemplatePart[], { told, needed }: Holding): TemplatePart[] | null {
  const cut = parts.findIndex(part => 'claim' in part && !told.includes(part.claim))
  if (cut === -1) return null
  const before = parts.slice(0, cut)
  const names = before.flatMap(part => ('claim' in part ? [part.claim] : []))
  return needed.every(name => names.includes(name)) ? before : null
}

function render(parts: TemplatePart[], { facts, payload }: Ended): { text: string } | { missing: string } {
  const values: Record<string, string> = Object.create(null)
  for (const part of parts) {
    if ('literal' in part) continue
    // A claim that is not told is not looked for in the payload: what has its name there is something else.
    const value = Object.hasOwn(facts, part.claim) ? facts[part.claim] : textAt(payload, part.claim)
    if (!value) return { missing: part.claim }
    values[part.claim] = value
  }
  const ref = parts.map(part => ('claim' in part ? `{${part.claim}}` : part.literal)).join('')
  return { text: renderRef({ ref }, values) }
}
