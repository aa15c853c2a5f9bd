/** A task that ended, was suspended or changed: what it kills follows from `state` and `ver`. */
export interface TaskMessage {
  taskId: string
  state: string
  ver: number
  /** Milliseconds since the epoch: nothing that it kills lives longer. */
  until: number
}

export interface CredentialMessage {
  jti: string
  until: number
}

/** A reading of the record: everything up to `seq` was known at `at`, the database's time in milliseconds since the epoch. */
export interface TickMessage {
  seq: number
  at: number
}

export interface SnapshotMessage extends TickMessage {
  tasks: TaskMessage[]
  credentials: CredentialMessage[]
  keys: string[]
}

type Members = Record<string, unknown>

/** Each reads the data of one kind of event (contract §8), and gives null where it is not of its shape. Other members are ignored. */
export const readTask = (data: string): TaskMessage | null => task(parse(data))
export const readCredential = (data: string): CredentialMessage | null => credential(parse(data))
export const readKey = (data: string): string | null => key(parse(data))
export const readTick = (data: string): TickMessage | null => tick(parse(data))

export function readSnapshot(data: string): SnapshotMessage | null {
  const members = parse(data)
  const reading = tick(members)
  const tasks = all(members?.tasks, task)
  const credentials = all(members?.credentials, credential)
  const keys = all(members?.keys, key)
  return reading && tasks && credentials && keys ? { ...reading, tasks, credentials, keys } : null
}

function task(members: Members | null): TaskMessage | null {
  if (members === null) return null
  const { task_id: taskId, state, ver } = members
  const until = time(members.until)
  return isName(taskId) && isName(state) && isCount(ver) && until !== null
    ? { taskId, state, ver, until }
    : null
}

function credential(members: Members | null): CredentialMessage | null {
  if (members === null) return null
  const until = time(members.until)
  return isName(members.jti) && until !== null ? { jti: members.jti, until } : null
}

const key = (members: Members | null): string | null => (isName(members?.kid) ? members.kid : null)

function tick(members: Members | null): TickMessage | null {
  if (members === null) return null
  const at = time(members.at)
  return isCount(members.seq) && at !== null ? { seq: members.seq, at } : null
}

function all<T>(list: unknown, read: (members: Members | null) => T | null): T[] | null {
  if (!Array.isArray(list)) return null
  const found: T[] = []
  for (const each of list) {
    const item = read(asMembers(each))
    if (item === null) return null
    found.push(item)
  }
  return found
}

function parse(data: string): Members | null {
  try {
    return asMembers(JSON.parse(data))
  } catch {
    return null
  }
}

const asMembers = (value: unknown): Members | null =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Members) : null

export const isName = (value: unknown): value is string => typeof value === 'string' && value !== ''

export const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && Number(value) >= 0

/** RFC 3339 §5.6. */
const dateTime = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/

function time(value: unknown): number | null {
  if (typeof value !== 'string' || !dateTime.test(value)) return null
  const milliseconds = Date.parse(value)
  return Number.isFinite(milliseconds) ? milliseconds : null
}
