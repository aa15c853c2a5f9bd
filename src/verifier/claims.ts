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
  /** What its holder has to prove (RFC 7800): that it has this client certificate (RFC 8705 §3.1). */
  cnf?: { 'x5t#S256': string }
  /** Its place in a Token Status List. */
  status?: { status_list: { idx: number; uri: string } }
  [claim: string]: unknown
}

/** A task as it was when a token was minted in it or below it. */
export interface TaskVersion {
  readonly id: string
  readonly ver: number
}

/** What a credential's life rests on, besides its own expiry. */
export interface CommonGrounds {
  /** The key that signed it. */
  readonly kid: string
  readonly jti: string
  /** Seconds since the epoch. */
  readonly exp: number
  /** Its own task first, then the ancestors, root first. */
  readonly tasks: readonly TaskVersion[]
}

export interface TokenGrounds extends CommonGrounds {
  readonly alg: string
  readonly status: { readonly idx: number; readonly uri: string } | null
}

export interface CertificateGrounds extends CommonGrounds {
  /** The serial number's digits, under which the authority's revocation list has it. */
  readonly serial: Uint8Array
}

export type Grounds = TokenGrounds | CertificateGrounds

/** Whether it is a certificate's. */
export const isOfCertificate = (grounds: Grounds): grounds is CertificateGrounds => 'serial' in grounds

type Unproven = Record<string, unknown>

/**
 * Reads the claims that every access token has (RFC 9068 §2.2, contract §4) from a payload whose signature, issuer and audience are verified.
 *
 * @throws VerifierRefusal `claims_malformed`
 */
export function readGrounds(header: { alg?: unknown; kid?: unknown }, payload: Unproven): TokenGrounds {
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

function readStatus(status: unknown): TokenGrounds['status'] {
  if (status === undefined) return null
  const { idx, uri } = (status as { status_list?: Unproven } | null)?.status_list ?? {}
  if (!isCount(idx) || !isName(uri)) throw new VerifierRefusal('claims_malformed')
  return { idx, uri }
}
