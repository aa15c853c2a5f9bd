import { isCount, isName } from './messages.ts'
import { VerifierRefusal } from './refusal.ts'

/** Claims of an access token of Hallpass (RFC 9068 §2.2), as they were signed. */
export interface TokenClaims {
  /** The broker. */
  iss: string
  /** On whose behalf the task is done: the caller itself, but in delegation. */
  sub: string
  /** Who was given the token: the principal that works on the task. */
  client_id: string
  aud: string | string[]
  /** Seconds since the epoch. */
  iat: number
  /** Seconds since the epoch; from this moment on the token is dead. */
  exp: number
  jti: string
  /** Separated by spaces; absent where only `authorization_details` were granted. */
  scope?: string
  task_id: string
  /** The task's version when the token was minted. */
  task_ver: number
  /** The task's ancestors, root first, each `<id>:<version>`; absent at the root of a tree. */
  task_path?: string[]
  /** Its place in a Token Status List. */
  status?: { status_list: { idx: number; uri: string } }
  [claim: string]: unknown
}

/** A task as it was when a token was minted in it or below it. */
export interface TaskVersion {
  readonly id: string
  readonly ver: number
}

/** What a token's life rests on, besides its own expiry. */
export interface Grounds {
  readonly alg: string
  readonly kid: string
  readonly jti: string
  /** Seconds since the epoch. */
  readonly exp: number
  /** Its own task first, then the ancestors, root first. */
  readonly tasks: readonly TaskVersion[]
  readonly status: { readonly idx: number; readonly uri: string } | null
}

type Unproven = Record<string, unknown>

/**
 * Reads the claims that every access token has (RFC 9068 §2.2, contract §4) from a payload whose signature, issuer and audience are verified.
 *
 * @throws VerifierRefusal `claims_malformed`, `binding_unproven`
 */
export function readGrounds(header: { alg?: unknown; kid?: unknown }, payload: Unproven): Grounds {
  const { sub, client_id, iat, exp, jti, scope, task_id, task_ver, task_path, status } = payload
  const isSound =
    isName(header.alg) &&
    isName(header.kid) &&
    isName(sub) &&
    isName(client_id) &&
    typeof iat === 'number' &&
    typeof exp === 'number' &&
    isName(jti) &&
    (scope === undefined || typeof scope === 'string') &&
    isName(task_id) &&
    isCount(task_ver)
  if (!isSound) throw new VerifierRefusal('claims_malformed')
  // Whoever holds it has to prove a key (RFC 7800), and nothing here can check that.
  if (payload.cnf !== undefined) throw new VerifierRefusal('binding_unproven')
  return {
    alg: header.alg as string,
    kid: header.kid as string,
    jti,
    exp,
    tasks: [{ id: task_id, ver: task_ver }, ...readPath(task_path)],
    status: readStatus(status),
  }
}

const pathEntry = /^([^\s:]+):(0|[1-9]\d{0,14})$/

function readPath(path: unknown): TaskVersion[] {
  if (path === undefined) return []
  if (!Array.isArray(path)) throw new VerifierRefusal('claims_malformed')
  return path.map(entry => {
    const parts = typeof entry === 'string' ? pathEntry.exec(entry) : null
    if (!parts) throw new VerifierRefusal('claims_malformed')
    return { id: parts[1] as string, ver: Number(parts[2]) }
  })
}

function readStatus(status: unknown): Grounds['status'] {
  if (status === undefined) return null
  const { idx, uri } = (status as { status_list?: Unproven } | null)?.status_list ?? {}
  if (!isCount(idx) || !isName(uri)) throw new VerifierRefusal('claims_malformed')
  return { idx, uri }
}
