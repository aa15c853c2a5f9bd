/**
 * A challenge of the Bearer scheme (RFC 6750 §3). Nothing in it needs escaping: the descriptions are our own, and scopes are checked when
 * the routes are set up.
 */
export function challenge(options: {
  error: string | null
  description: string | null
  scope: string | undefined
}): string {
  const { error, description, scope } = options
  const parts = ['realm="hallpass"']
  if (error !== null) parts.push(`error="${error}"`)
  if (description !== null) parts.push(`error_description="${description}"`)
  if (scope !== undefined) parts.push(`scope="${scope}"`)
  return `Bearer ${parts.join(', ')}`
}
