/** `If-None-Match`: weak comparison, and `*` for any (RFC 9110 §13.1.2). What cannot be read matches nothing: the answer is whole then. */
export function isListed(entityTag: string, header: string | undefined): boolean {
  if (header === undefined) return false
  const listed = header.split(',').map(tag => tag.trim().replace(/^W\//, ''))
  return listed.includes('*') || listed.includes(entityTag)
}
