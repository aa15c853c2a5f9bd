/** A template's `ref`, taken apart: literal text and names of flattened claims. */
export type TemplatePart = { literal: string } | { claim: string }

/** A flattened claim's name as it can be written in a template. */
export const isClaimName = (text: string): boolean => /^[^{}\s\p{Cc}]+$/u.test(text)

/** `{a}/x/{b}` into its parts; null when braces do not pair or a placeholder is no claim's name. */
export const templateParts = (ref: string): TemplatePart[] | null => {
  const parts: TemplatePart[] = ref
    .split(/(\{[^{}]*\})/)
    .filter(part => part !== '')
    .map(part => (/^\{.*\}$/s.test(part) ? { claim: part.slice(1, -1) } : { literal: part }))
  const sound = parts.every(part =>
    'claim' in part ? isClaimName(part.claim) : !/[{}\p{Cc}]/u.test(part.literal),
  )
  return sound ? parts : null
}

/**
 * What is wrong with a `ref`. Values are put in percent-encoded, unreserved characters kept (contract §4), so between two
 * placeholders there must be a character that no encoded value holds: with `{a}-{b}`, the job `x-y`, `z` and the job `x`,
 * `y-z` would share a name, and with it a task.
 */
export const refFault = (ref: string): string | null => {
  const parts = templateParts(ref)
  if (parts === null) return 'has a placeholder that is not a claim name between one pair of braces'
  const first = parts.findIndex(part => 'claim' in part)
  if (first === -1) return 'needs at least one {claim}, or all jobs would share one task'
  let divided = true
  for (const part of parts) {
    if ('literal' in part) divided ||= /[^A-Za-z0-9._~%-]/.test(part.literal)
    else if (divided) divided = false
    else return 'needs a character such as / or : between two placeholders, or two jobs could share one name'
  }
  return null
}
