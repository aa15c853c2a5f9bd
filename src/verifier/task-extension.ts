import type { TaskVersion } from './claims.ts'
import {
  DerError,
  type Element,
  type Elements,
  hexOf,
  inside,
  listIn,
  readOne,
  smallOf,
  tags,
  utf8Of,
} from './der.ts'

/** What a certificate says of its task: what `task_id`, `task_ver`, `task_path`, `scope` and `aud` are in a token. */
export interface TaskFields {
  task: TaskVersion
  /** Ancestors, root first; empty at the root. */
  path: TaskVersion[]
  /** One at least, both. */
  scopes: string[]
  audience: string[]
}

const most = 1000

/**
 * Reads the value of Hallpass's own extension.
 *
 * ```asn1
 * HallpassTask ::= SEQUENCE {
 *   version  INTEGER (1),
 *   taskId   OCTET STRING (SIZE (16)),
 *   taskVer  INTEGER (1..MAX),
 *   taskPath SEQUENCE OF SEQUENCE { taskId OCTET STRING (SIZE (16)), taskVer INTEGER (1..MAX) },
 *   scopes   SEQUENCE SIZE (1..MAX) OF UTF8String,
 *   audience SEQUENCE SIZE (1..MAX) OF UTF8String }
 * ```
 *
 * @throws DerError for another version and for any other shape
 */
export function readTaskFields(value: Uint8Array): TaskFields {
  const fields = inside(readOne(value, tags.sequence))
  if (smallOf(fields.take(tags.integer)) !== 1) throw new DerError('the version is not known')
  const task = taskVersion(fields)
  const path = readPath(fields.take(tags.sequence))
  const scopes = listIn(fields.take(tags.sequence), tags.utf8String, most).map(utf8Of)
  const audience = listIn(fields.take(tags.sequence), tags.utf8String, most).map(utf8Of)
  fields.end()
  return { task, path, scopes, audience }
}

function readPath(list: Element): TaskVersion[] {
  if (list.content.length === 0) return []
  return listIn(list, tags.sequence, most).map(each => {
    const parts = inside(each)
    const above = taskVersion(parts)
    parts.end()
    return above
  })
}

function taskVersion(fields: Elements): TaskVersion {
  const { content } = fields.take(tags.octetString)
  const ver = smallOf(fields.take(tags.integer))
  if (content.length !== 16 || ver === 0) throw new DerError('a task is none')
  return { id: uuidOf(content), ver }
}

/** As the feed writes them: lower case, with hyphens (RFC 9562 §4). */
export const uuidOf = (bytes: Uint8Array): string =>
  hexOf(bytes).replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')
