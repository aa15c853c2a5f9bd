import type { CertificateGrounds, Grounds, TaskVersion, TokenClaims, TokenGrounds } from './claims.ts'
import type { LiveSignals, Watched } from './live-signals.ts'
import type { TaskCertificate } from './task-certificate.ts'

/** What a request can be let pass by. */
export type CredentialKind = 'token' | 'certificate'

/** Who asks, for which task, whatever it was shown by: something that was verified and is alive. */
export interface TaskAuth {
  readonly credential: CredentialKind
  /** The task that it was minted in. */
  readonly taskId: string
  /** That task's version when it was minted. */
  readonly taskVer: number
  /** The task's ancestors, root first; empty at the root of a tree. */
  readonly taskPath: readonly TaskVersion[]
  readonly jti: string
  readonly scopes: readonly string[]
  /** From this moment on it is dead. */
  readonly expiresAt: Date
  /**
   * Fires when the credential dies while the request is being served: at once when the feed tells it, within about a second when it expires
   * or when whether it lives can no longer be known. `signal.reason` is the `VerifierRefusal`.
   *
   * It is watched from the first reading of this property until it dies or `release` is called.
   */
  readonly signal: AbortSignal
  /** Whether `signal` was read, and has neither fired nor been released. */
  readonly isWatched: boolean
  /**
   * Ends the watching: the signal does not fire after it. `requireTask` and `withTask` call it when the response is done; who calls
   * `verify` or `verifyCertificate` calls it too, though a credential that is never released is dropped when it dies.
   */
  release(): void
}

/** By an access token. */
export interface Auth extends TaskAuth {
  readonly credential: 'token'
  /** All claims, as they were signed. */
  readonly claims: TokenClaims
  /** On whose behalf: `sub`. */
  readonly subject: string
  /** Who was given the token: `client_id`. */
  readonly clientId: string
}

/** By a certificate of a task. It names nobody but by its SPIFFE ID: the broker's records tell the rest, by `jti` or task. */
export interface CertificateAuth extends TaskAuth {
  readonly credential: 'certificate'
  /** The one URI among its names. */
  readonly spiffeId: string
  readonly dnsNames: readonly string[]
  /** What services are called for which it is, one at least. */
  readonly audience: readonly string[]
  /** Its serial number in hexadecimal: `jti` without the hyphens. */
  readonly serial: string
  /** DER. */
  readonly certificate: Uint8Array
}

/** By one of these. */
export type AuthBy<Kind extends CredentialKind> = { token: Auth; certificate: CertificateAuth }[Kind]

/** Nothing of it is worked out before it is asked for. */
export function createAuth(claims: TokenClaims, grounds: TokenGrounds, signals: LiveSignals): Auth {
  const watching = createWatching(grounds, signals)
  return {
    credential: 'token',
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
      return watching.signal()
    },
    get isWatched() {
      return watching.isWatched()
    },
    release: watching.release,
  }
}

export function createCertificateAuth(
  der: Uint8Array,
  certificate: TaskCertificate,
  grounds: CertificateGrounds,
  signals: LiveSignals,
): CertificateAuth {
  const watching = createWatching(grounds, signals)
  const { task, path, jti, serial, spiffeId, dnsNames, scopes, audience } = certificate
  return {
    credential: 'certificate',
    certificate: der,
    taskId: task.id,
    taskVer: task.ver,
    taskPath: path,
    jti,
    serial,
    spiffeId,
    dnsNames,
    scopes,
    audience,
    get expiresAt() {
      return new Date(grounds.exp * 1000)
    },
    get signal() {
      return watching.signal()
    },
    get isWatched() {
      return watching.isWatched()
    },
    release: watching.release,
  }
}

interface Watching {
  signal(): AbortSignal
  isWatched(): boolean
  release(): void
}

function createWatching(grounds: Grounds, signals: LiveSignals): Watching {
  let watched: Watched | null = null
  let released = false
  return {
    signal() {
      watched ??= signals.watch(grounds)
      if (released) watched.release()
      return watched.signal
    },
    isWatched: () => watched !== null && !released && !watched.signal.aborted,
    release() {
      released = true
      watched?.release()
    },
  }
}
