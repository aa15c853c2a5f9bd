/** Actions of the Cedar schema that this version decides (contract §7). */
export type Action =
  | 'open'
  | 'open_child'
  | 'mint'
  | 'introspect'
  | 'read'
  | 'close'
  | 'suspend'
  | 'resume'
  | 'extend'
  | 'revoke'
  | 'change_context'
  | 'heartbeat'
  | 'administer'

/** The caller as policy sees it: a principal, without what policy has no use for. */
export interface Caller {
  id: string
  kind: 'workload' | 'operator'
  /** The trust source's name: the entity's `source`. */
  trust: string
  tags: Record<string, string>
  /** Names of the `Group` entities that it is in. */
  groups: string[]
}

/** One question to policy. With a parent `open_child` is asked, and never `open`; both are of the task as it would be. */
export type Ask = { caller: Caller; now: number; ip: string | null } & (
  | { action: 'open'; task: TaskView }
  | { action: 'open_child'; parent: TaskView; task: TaskView }
  | {
      action: 'mint'
      task: TaskView
      scope: string
      audience: string
      credential: 'jwt' | 'x509'
      /** Of certificates: key purposes, and DNS names. */
      usages: string[]
      dnsNames: string[]
      /** Whole seconds. */
      ttl: number
    }
  | { action: 'introspect'; task: TaskView; audience: string }
  | { action: TaskAction; task: TaskView }
  | { action: 'administer' }
)

export type TaskAction =
  | 'read'
  | 'close'
  | 'suspend'
  | 'resume'
  | 'extend'
  | 'revoke'
  | 'change_context'
  | 'heartbeat'

/** The task as policy sees it; `context` is its tags. */
export interface TaskView {
  id: string
  kind: string
  state: string
  context: Record<string, string>
  subject: string
  /**
   * The principal's ID, where the caller may stand for the owner. For a caller whose attestation stands for another job of
   * the same principal it is an ID that no principal can have, so that `resource.owner == principal` does not hold
   * (contract §5, names).
   */
  owner: string
  /** How many tasks it is below: the length of `path`. */
  depth: number
  /** IDs of its ancestors, root first. */
  path: string[]
  /** Milliseconds since the epoch; `age_seconds` is derived from it and `now`. */
  openedAt: number
}

/** What a credential is bound to, so that whoever steals it has nothing: `mtls`, the client's certificate (RFC 8705 §3). */
export type Binding = 'mtls'

export interface Decision {
  allow: boolean
  /** `@id`s of the policies that decided: the satisfied permits, or the forbids that overrode them. */
  policies: string[]
  /** Why not, for the log: which policies could not be evaluated, or that none permitted. */
  reason: string | null
  /** The shortest `@ttl` of the permits that were satisfied, in seconds. */
  ttl: number | null
  /** Set where a permit that was satisfied has a `@binding`: what is minted must be bound to it. */
  binding: Binding | null
  /** Version of the policy set that decided: a hash of its text. */
  version: string
}
