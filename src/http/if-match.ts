import { HallpassError } from '../errors.ts'

/** One strong entity tag; a weak one never matches (RFC 9110 §13.1.1). */
const tags = /^\s*(?:W\/)?"[\x21\x23-\x7e]*"\s*(?:,\s*(?:W\/)?"[\x21\x23-\x7e]*"\s*)*$/

/** Whether a current entity tag fits `If-Match` (RFC 9110 §13.1.1). Throws `malformed` for a header that is none. */
export function ifMatch(header: string | undefined): (entityTag: string) => boolean {
  if (header === undefined || header.trim() === '*') return () => true
  if (!tags.test(header)) throw new HallpassError('malformed', 'If-Match is not a list of entity tags.')
  const listed = header.split(',').map(tag => tag.trim())
  return entityTag => listed.includes(entityTag)
}
