/** What stands in braces in `pki.path`. */
export const pathPlaceholders = ['task_id', 'kind', 'ref', 'principal'] as const

/** Characters. A SPIFFE ID has at most 2,048 bytes (SPIFFE-ID §2.3), and values take their part of them. */
const longest = 512

/**
 * What is wrong with the template of a SPIFFE ID's path (SPIFFE-ID §2.2). Values hold any character that a segment may hold, so that a
 * slash alone divides two of them: with `{kind}-{ref}`, the tasks `a-b`, `c` and `a`, `b-c` would share one name.
 */
export const pkiPathFault = (path: string): string | null => {
  if (!path.startsWith('/')) return 'must begin with /'
  if (path.length > longest) return `is longer than ${longest} characters`
  const segments = path.slice(1).split('/')
  if (segments.some(segment => segment === '' || segment === '.' || segment === '..'))
    return 'must have no empty or dot segment, and no slash at the end'
  const named = [...path.matchAll(/\{([^{}]*)\}/g)].map(([, name = '']) => name)
  if (!segments.every(segment => /^[A-Za-z0-9._-]*$/.test(segment.replace(/\{[^{}]*\}/g, ''))))
    return 'must be of letters, digits, dots, hyphens, underscores and placeholders in braces'
  if (!named.every(name => pathPlaceholders.some(known => known === name)))
    return `knows no placeholders but ${pathPlaceholders.map(name => `{${name}}`).join(', ')}`
  if (segments.some(segment => segment.split('{').length > 2))
    return 'needs a / between two placeholders, or two workloads could share one name'
  return named.includes('task_id') || named.includes('principal')
    ? null
    : 'needs {task_id} or {principal}, or two workloads would share one name'
}
