import type { Grounds, TaskVersion, TokenClaims } from './claims.ts'
import type { LiveSignals, Watched } from './live-signals.ts'

/** Who asks, for which task: a token that was verified and is alive. */
export interface Auth {
  /** All claims, as they were signed. */
  readonly claims: TokenClaims
  /** The task that the token was minted in. */
  readonly taskId: string
  /** That task's version when the token was minted. */
  readonly taskVer: number
  /** The task's ancestors, root first; empty at the root of a tree. */
  readonly taskPath: readonly TaskVersion[]
  readonly jti: string
  /** On whose behalf: `sub`. */
  readonly subject: string
  /** Who was given the token: `client_id`. */
  readonly clientId: string
  readonly scopes: readonly string[]
  /** From this moment on the token is dead. */
  readonly expiresAt: Date
  /**
   * Fires when the token dies while the request is being served: at once when the feed tells it, within about a second when it expires
   * or when whether it lives can no longer be known. `signal.reason` is the `VerifierRefusal`.
   *
   * The token is watched from the first reading of this property until it dies or `release` is called.
   */
  readonly signal: AbortSignal
  /** Whether `signal` was read, and has neither fired nor been released. */
  readonly isWatched: boolean
  /**
   * Ends the watching: the signal does not fire after it. `requireTask` and `withTask` call it when the response is done; who calls
   * `verify` calls it too, though a token that is never released is dropped when it dies.
   */
  release(): void
}

/** Nothing of it is worked out before it is asked for. */
export function createAuth(claims: TokenClaims, grounds: Grounds, signals: LiveSignals): Auth {
  let watched: Watched | null = null
  let released = false

  return {
    claims,
    taskId: claims.task_id,
    taskVer: claims.task_ver,
    get taskPath() {
      return grounds.tasks.slice(1)
    },
    jti: claims.jti,
    subject: claims.sub,
    clientId: claims.client_id,
    get scopes() {
      return claims.scope?.split(' ').filter(scope => scope !== '') ?? []
    },
    get expiresAt() {
      return new Date(claims.exp * 1000)
    },
    get signal() {
      watched ??= signals.watch(grounds)
      if (released) watched.release()
      return watched.signal
    },
    get isWatched() {
      return watched !== null && !released && !watched.signal.aborted
    },
    release() {
      released = true
      watched?.release()
    },
  }
}
