import { oids } from '../../der/oids.ts'
import { DerError, type Element, type Elements, inside, listIn, readOne, smallOf } from '../../der/read.ts'
import { tags } from '../../der/tags.ts'
import { integer, octetString, sequence, utf8String } from '../../der/write.ts'
import { extensionOf } from './extensions.ts'

/** What a certificate says of its task: what `task_id`, `task_ver`, `task_path`, `scope` and `aud` are in a JWT. */
export interface TaskFields {
  /** UUID, in lower case and with hyphens. */
  id: string
  ver: number
  /** Ancestors, root first; empty at the root. */
  path: { id: string; ver: number }[]
  /** One at least. */
  scopes: string[]
  /** One at least. */
  audience: string[]
}

const ofTask = extensionOf(oids.hallpassTask)
const version = 1

/**
 * The extension of Hallpass's own. It is not critical: whoever does not know it can still tell by CRL or OCSP whether the certificate is
 * live, and only this tells what it is good for.
 *
 * ```asn1
 * HallpassTask ::= SEQUENCE {
 *   version  INTEGER (1),
 *   taskId   OCTET STRING (SIZE (16)),           -- the UUID's bytes
 *   taskVer  INTEGER (1..MAX),
 *   taskPath SEQUENCE OF SEQUENCE { taskId OCTET STRING (SIZE (16)), taskVer INTEGER (1..MAX) },
 *   scopes   SEQUENCE SIZE (1..MAX) OF UTF8String,
 *   audience SEQUENCE SIZE (1..MAX) OF UTF8String }
 * ```
 */
export function taskExtension({ id, ver, path, scopes, audience }: TaskFields): Buffer {
  return ofTask(
    sequence(
      integer(version),
      uuid(id),
      integer(ver),
      sequence(...path.map(above => sequence(uuid(above.id), integer(above.ver)))),
      sequence(...scopes.map(utf8String)),
      sequence(...audience.map(utf8String)),
    ),
  )
}

const uuid = (id: string): Buffer => octetString(Buffer.from(id.replaceAll('-', ''), 'hex'))

/** More of anything is refused: no task is so deep, and no credential so wide. */
const most = 1_000

/** Reads the value of the extension. Throws DerError for anything but what `taskExtension` writes. */
export function readTaskExtension(value: Uint8Array): TaskFields {
  const fields = inside(readOne(value, tags.sequence))
  if (smallOf(fields.take(tags.integer)) !== version) throw new DerError('the version is not known')
  const own = readVersion(fields)
  const path = listIn(fields.take(tags.sequence), most).map(above => {
    if (above.tag !== tags.sequence) throw new DerError('a task of the path cannot be read')
    const parts = inside(above)
    const task = readVersion(parts)
    parts.end()
    return task
  })
  const scopes = readTexts(fields.take(tags.sequence))
  const audience = readTexts(fields.take(tags.sequence))
  fields.end()
  return { ...own, path, scopes, audience }
}

/** A task and its version. */
function readVersion(fields: Elements): { id: string; ver: number } {
  const { content } = fields.take(tags.octetString)
  if (content.length !== 16) throw new DerError('a task has an identifier that is no UUID')
  const ver = smallOf(fields.take(tags.integer))
  if (ver === 0) throw new DerError('a version is out of range')
  return { id: content.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-'), ver }
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

function readTexts(list: Element): string[] {
  const texts = listIn(list, most).map(({ tag, content }) => {
    if (tag !== tags.utf8String) throw new DerError('a text is expected')
    try {
      return utf8.decode(content)
    } catch {
      throw new DerError('a text is not UTF-8')
    }
  })
  if (texts.length === 0) throw new DerError('a list is empty')
  return texts
}
