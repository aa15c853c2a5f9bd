import { refusalBody, refusalHeaders } from './answer.ts'
import type { Auth } from './auth.ts'
import { bearerToken } from './authorization.ts'
import type { Verifier } from './create-verifier.ts'
import { VerifierRefusal } from './refusal.ts'
import { requiredScopes } from './scope.ts'

/** A request of express, connect, or `node:http` itself. */
export interface ConnectRequest {
  headers: { authorization?: string | undefined }
  /** Names and values in turns, as they were sent. */
  rawHeaders?: readonly string[]
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
export interface AuthenticatedRequest {
  auth: Auth
}

/**
 * Middleware for express and whatever is called like it: lets a request pass if its access token is verified, alive, and has the scope;
 * then `request.auth` says who asks. It answers every other request itself (RFC 6750 §3).
 *
 * Only the `Authorization` header is read. When the response is done, or its connection is gone, `auth.signal` is watched no more.
 *
 * @param options.scope scopes separated by spaces, of which the token must have each; none unless given
 * @throws TypeError when `scope` is not a list of scopes
 */
export function requireTask(
  verifier: Pick<Verifier, 'verify'>,
  options: { scope?: string } = {},
): (request: ConnectRequest, response: ConnectResponse, next: (error?: unknown) => void) => void {
  const { scope } = options
  requiredScopes(scope)

  return (request, response, next) => {
    let auth: Auth | null = null
    let isDone = response.destroyed === true
    response.once('close', () => {
      isDone = true
      auth?.release()
    })
    verified().then(() => next(), refused)

    async function verified(): Promise<void> {
      auth = await verifier.verify(bearerToken(authorizationOf(request)), { scope })
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
 * What `requireTask` found out about a request.
 *
 * @throws Error when it did not let this request pass: a route without it is a mistake, not an anonymous caller
 */
export function authOf(request: object): Auth {
  const { auth } = request as Partial<AuthenticatedRequest>
  if (auth === undefined) throw new Error('`requireTask` does not stand before this route.')
  return auth
}

/** node:http keeps the first of several: so they are counted as they were sent. */
function authorizationOf({ headers, rawHeaders = [] }: ConnectRequest): string | undefined {
  const sent = rawHeaders.filter((name, at) => at % 2 === 0 && name.toLowerCase() === 'authorization')
  if (sent.length > 1) throw new VerifierRefusal('request_malformed')
  return headers.authorization
}
