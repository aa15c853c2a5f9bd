import { HallpassError } from '../errors.ts'
import { isId } from '../ids.ts'
import { type MasterKey, masterKeyFrom } from '../secrets/master-key.ts'
import { unwrap, wrap } from '../secrets/wrap.ts'

/**
 * Cursors are sealed: the ID in one can be of an item that its reader may not see. One serves the same caller and the same search
 * only.
 */
export interface Cursors {
  /** Throws `malformed` for what is not a cursor of this caller's search. */
  open(cursor: string | undefined): string | null
  seal(id: string | null): string | null
}

const purpose = 'cursor'

export function cursorsFor(masterKey: MasterKey, caller: string, search: Record<string, unknown>): Cursors {
  // A key of its own: whoever lists uses it up, and what wraps signing keys must last.
  const key = masterKeyFrom(masterKey.derive('cursor'))
  const bound = { purpose, kid: JSON.stringify([caller, search]) }
  return {
    seal: id => id && wrap(key, bound, Buffer.from(id)).toString('base64url'),
    open(cursor) {
      if (cursor === undefined) return null
      try {
        const id = unwrap(key, bound, Buffer.from(cursor, 'base64url')).toString()
        if (isId(id)) return id
      } catch {
        // Not one of ours, or another search's.
      }
      throw new HallpassError('malformed', 'The cursor is not one of this search.')
    },
  }
}
