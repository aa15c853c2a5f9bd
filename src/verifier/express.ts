import { createAdmission, type RouteOptions, type VerifierBy } from './admission.ts'
import { refusalBody, refusalHeaders } from './answer.ts'
import type { Auth, AuthBy, CredentialKind, TaskAuth } from './auth.ts'
import { VerifierRefusal } from './refusal.ts'

/** A request of express, connect, or `node:http` itself. */
export interface ConnectRequest {
  headers: { authorization?: string | undefined }
  /** Names and values in turns, as they were sent. */
  rawHeaders?: readonly string[]
  /** Its connection; where that is one of TLS, it tells the client's certificate. */
  readonly socket?: object
}

/** A response of the same. */
export interface ConnectResponse {
  statusCode: number
  setHeader(name: string, value: string): unknown
  end(body: string): unknown
  once(event: 'close', listener: () => void): unknown
  readonly destroyed?: boolean
}

/**
 * A request that `requireTask` let pass.
 *
 * Express types its handlers' requests without it: read it with {@link authOf}, or write `(request as AuthenticatedRequest).auth`.
 */
export interface AuthenticatedRequest<Kind extends CredentialKind = 'token'> {
  auth: AuthBy<Kind>
}

/**
 * Middleware for express and whatever is called like it: lets a request pass if its access token, or its certificate where the route takes those, is
 * verified, alive, and has the scope; then `request.auth` says who asks. It answers every other request itself (RFC 6750 §3).
 *
 * Tokens are read from the `Authorization` header alone. Certificates, and those that tokens are bound to, come from the TLS connection or from
 * the one header that `forwardedCertificate` names. When the response is done, or its connection is gone, `auth.signal` is watched no more.
 *
 * @throws TypeError when an option is wrong
 */
export function requireTask<Kind extends CredentialKind = 'token'>(
  verifier: VerifierBy<Kind>,
  options: RouteOptions<Kind> = {},
): (request: ConnectRequest, response: ConnectResponse, next: (error?: unknown) => void) => void {
  const admitted = createAdmission(verifier, options)

  return (request, response, next) => {
    let auth: TaskAuth | null = null
    let isDone = response.destroyed === true
    response.once('close', () => {
      isDone = true
      auth?.release()
    })
    verified().then(() => next(), refused)

    async function verified(): Promise<void> {
      auth = await admitted({
        authorization: () => authorizationOf(request),
        connectionCertificate: () => certificateOf(request),
        header: name => headersOf(request, name),
      })
      if (isDone) auth.release()
      Object.assign(request, { auth })
    }

    function refused(error: unknown): void {
      if (!(error instanceof VerifierRefusal)) {
        next(error)
        return
      }
      response.statusCode = error.status
      for (const [name, value] of Object.entries(refusalHeaders(error))) response.setHeader(name, value)
      response.end(refusalBody(error))
    }
  }
}

/**
 * What `requireTask` found out about a request: `authOf(request)` where it takes tokens; `authOf(request, 'certificate')` or
 * `authOf(request, 'token', 'certificate')` where it takes certificates, and then `auth.credential` tells which it was.
 *
 * @throws Error when it did not let this request pass, or let it pass by something that is not listed: a route without it is a mistake, not an
 *   anonymous caller
 */
export function authOf<Kind extends CredentialKind = 'token'>(
  request: object,
  ...credentials: Kind[]
): AuthBy<Kind> {
  const { auth } = request as { auth?: Auth | AuthBy<Kind> }
  const expected: readonly string[] = credentials.length === 0 ? ['token'] : credentials
  if (auth === undefined) throw new Error('`requireTask` does not stand before this route.')
  if (!expected.includes(auth.credential))
    throw new Error(`The route takes a ${auth.credential}, which \`authOf\` was not told.`)
  return auth as AuthBy<Kind>
}

/** node:http keeps the first of several: so they are counted as they were sent. */
function authorizationOf(request: ConnectRequest): string | undefined {
  if (sentAs(request, 'authorization').length > 1) throw new VerifierRefusal('request_malformed')
  return request.headers.authorization
}

/** node:http joins several with commas, as if they were one. */
function headersOf(request: ConnectRequest, name: string): readonly string[] {
  const sent = sentAs(request, name)
  if (request.rawHeaders !== undefined) return sent
  const value = (request.headers as Record<string, string | string[] | undefined>)[name]
  return value === undefined ? [] : [value].flat()
}

const sentAs = ({ rawHeaders = [] }: ConnectRequest, name: string): string[] =>
  rawHeaders.filter((_, at) => at % 2 === 1 && rawHeaders[at - 1]?.toLowerCase() === name)

/** What a `tls.TLSSocket` of Node tells; null for any other connection, and where the client presented none. */
function certificateOf({ socket }: ConnectRequest): Uint8Array | null {
  const { getPeerX509Certificate } = (socket ?? {}) as {
    getPeerX509Certificate?: () => { raw: Uint8Array } | undefined
  }
  return getPeerX509Certificate?.call(socket)?.raw ?? null
}
