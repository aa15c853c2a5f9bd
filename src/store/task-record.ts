export type TaskState = 'open' | 'suspended' | 'closed'

/** How a caller may say that a task ended; the broker itself adds the others. */
export const outcomes = ['completed', 'failed', 'cancelled'] as const
export const operatorOutcomes = [...outcomes, 'revoked', 'risk'] as const
export type Outcome = (typeof operatorOutcomes)[number]
export type CloseReason = Outcome | 'expired' | 'silent' | 'parent_closed'

/** The task record (contract §5). Times are Dates in UTC. */
export interface Task {
  id: string
  /** `trust` with `principal` is who works on it and mints. */
  trust: string
  kind: string
  ref: string
  /** The name stands for one job for ever (a source with a `task` template opened or named it). */
  templated: boolean
  purpose: string | null
  principal: string
  subject: string
  state: TaskState
  closeReason: CloseReason | null
  context: Record<string, string>
  /** Keys of `context` whose change ends the access that rested on them. Fixed when the task opens. */
  bind: string[]
  /** Grows by one when a bound key's value changes. */
  ver: number
  /** Grows by one with every change of any kind: the entity tag. */
  rev: number
  openedAt: Date
  deadline: Date
  /** Seconds. */
  heartbeatTimeout: number | null
  lastHeartbeatAt: Date | null
  closedAt: Date | null
  /** The task that it was delegated from, which it ends with; null at the root of a tree. */
  parentId: string | null
  /** The top of its tree; its own ID where it has no parent. */
  rootId: string
  /** As they are now, root first; none at the root. */
  ancestors: Ancestor[]
}

/** What a task's access rests on, of those above it. */
export interface Ancestor {
  id: string
  state: TaskState
  ver: number
  rev: number
  /** Milliseconds since the epoch. */
  deadline: number
  /** When silence ends it, in milliseconds since the epoch; null while it cannot. */
  silentAt: number | null
}
