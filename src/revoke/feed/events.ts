import type { RecordRow } from '../../store/record.ts'
import { operatorOutcomes } from '../../store/task-record.ts'

/** Who reads: those who proved who they are are told reasons as well (contract §8). */
export type View = 'anonymous' | 'authenticated'

/** What a row of the record means to readers. */
export interface Event {
  name: 'task' | 'credential' | 'key'
  /** What it is about: the task's ID, the `jti` or the `kid`. */
  about: string
  /** JSON of an object, as anonymous readers see it. */
  data: string
  reason: string | null
  /** When it can matter no more, in milliseconds since the epoch. */
  until: number
  /** Whether there is anything dead because of it, now that it is the latest about its subject. */
  kills: boolean
}

/** The codes of contract §5. Anything else is no reason that readers know, such as that a task is suspended, which its state says. */
const reasons: ReadonlySet<string> = new Set([
  ...operatorOutcomes,
  'denied',
  'expired',
  'silent',
  'context_changed',
  'parent_closed',
])

export function eventOf(row: RecordRow): Event {
  const shared = { reason: reasons.has(row.reason) ? row.reason : null, until: row.until.getTime() }
  // Not left to JSON.stringify, which takes three times as long over a Date.
  const at = row.at.toISOString()
  const until = row.until.toISOString()
  if ('taskId' in row) {
    const { taskId, state, ver } = row
    const data = JSON.stringify({ task_id: taskId, state, ver, at, until })
    return { ...shared, name: 'task', about: taskId, data, kills: state !== 'open' || ver > 1 }
  }
  if ('jti' in row) {
    const data = JSON.stringify({ jti: row.jti, at, until })
    return { ...shared, name: 'credential', about: row.jti, data, kills: true }
  }
  const data = JSON.stringify({ kid: row.kid, at })
  return { ...shared, name: 'key', about: row.kid, data, reason: null, kills: true }
}

/** The event's JSON as this reader may see it. A reason is one of a few words, which JSON has no need to escape. */
export const dataFor = ({ data, reason }: Pick<Event, 'data' | 'reason'>, view: View): string =>
  view === 'anonymous' || reason === null ? data : `${data.slice(0, -1)},"reason":"${reason}"}`

/** Server-Sent Events (WHATWG HTML §9.2.6). JSON has no line ends in it. */
export const frame = (name: string, data: string, id?: string): Buffer =>
  Buffer.from(`${id === undefined ? '' : `id: ${id}\n`}event: ${name}\ndata: ${data}\n\n`)
