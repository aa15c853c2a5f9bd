import { refusalBody, refusalHeaders } from './answer.ts'
import type { Auth } from './auth.ts'
import { bearerToken } from './authorization.ts'
import type { Verifier } from './create-verifier.ts'
import { VerifierRefusal } from './refusal.ts'
import { requiredScopes } from './scope.ts'

/**
 * The same as `requireTask` for handlers that take a `Request` and give a `Response`: Hono, Bun, Deno, Workers, Next.js.
 *
 * The handler is called with the request, who asks, and whatever else the runtime passes. When the response's body was sent, or given up,
 * `auth.signal` is watched no more.
 *
 * @param options.scope scopes separated by spaces, of which the token must have each; none unless given
 * @throws TypeError when `scope` is not a list of scopes
 */
export function withTask<Rest extends unknown[]>(
  verifier: Pick<Verifier, 'verify'>,
  options: { scope?: string },
  handler: (request: Request, auth: Auth, ...rest: Rest) => Response | Promise<Response>,
): (request: Request, ...rest: Rest) => Promise<Response> {
  const { scope } = options
  requiredScopes(scope)

  return async (request, ...rest) => {
    let auth: Auth
    try {
      auth = await verifier.verify(bearerToken(request.headers.get('authorization')), { scope })
    } catch (error) {
      if (!(error instanceof VerifierRefusal)) throw error
      return new Response(refusalBody(error), { status: error.status, headers: refusalHeaders(error) })
    }
    try {
      return releasing(await handler(request, auth, ...rest), auth)
    } catch (error) {
      auth.release()
      throw error
    }
  }
}

/** The response as it is, unless the token is watched: then its body tells when it was sent or given up. */
function releasing(response: Response, auth: Auth): Response {
  // The answer to an upgrade has no body, and yet the exchange has just begun.
  if (!auth.isWatched || response.status === 101) return response
  if (response.body === null) {
    auth.release()
    return response
  }
  const reader = response.body.getReader()
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      try {
        const { done, value } = await reader.read()
        if (!done) return controller.enqueue(value)
        controller.close()
      } catch (error) {
        controller.error(error)
      }
      auth.release()
    },
    async cancel(reason) {
      auth.release()
      await reader.cancel(reason)
    },
  })
  return new Response(body, response)
}
