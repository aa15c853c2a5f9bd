import { HallpassError } from '../errors.ts'
import { isId } from '../ids.ts'

/** A list's cursor: the ID of the last item of the page before. Throws `malformed`. */
export function cursorOf(cursor: string | undefined): string | null {
  if (cursor === undefined) return null
  if (!isId(cursor)) throw new HallpassError('malformed', 'The cursor is not one of ours.')
  return cursor
}
