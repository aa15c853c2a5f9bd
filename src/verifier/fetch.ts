import { type Brought, createAdmission, type RouteOptions, type VerifierBy } from './admission.ts'
import { refusalBody, refusalHeaders } from './answer.ts'
import type { AuthBy, CredentialKind, TaskAuth } from './auth.ts'
import { VerifierRefusal } from './refusal.ts'

/**
 * The same as `requireTask` for handlers that take a `Request` and give a `Response`: Hono, Bun, Deno, Workers, Next.js.
 *
 * A `Request` does not tell its connection's certificate: only a proxy's header does, `forwardedCertificate`. The handler is called with the
 * request, who asks, and whatever else the runtime passes. When the response's body was sent, or given up, `auth.signal` is watched no more.
 *
 * @throws TypeError when an option is wrong
 */
export function withTask<Rest extends unknown[], Kind extends CredentialKind = 'token'>(
  verifier: VerifierBy<Kind>,
  options: RouteOptions<Kind>,
  handler: (request: Request, auth: AuthBy<Kind>, ...rest: Rest) => Response | Promise<Response>,
): (request: Request, ...rest: Rest) => Promise<Response> {
  const admitted = createAdmission(verifier, options)
  if (options.credentials?.some(kind => kind === 'certificate') && !options.forwardedCertificate)
    throw new TypeError('A `Request` tells no certificate: name the header in `forwardedCertificate`.')

  return async (request, ...rest) => {
    let auth: AuthBy<Kind>
    try {
      auth = await admitted(broughtBy(request))
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

/** Several headers of one name come joined by commas, which none of those that are read may have. */
const broughtBy = ({ headers }: Request): Brought => ({
  authorization: () => headers.get('authorization'),
  connectionCertificate: () => null,
  header(name) {
    const value = headers.get(name)
    return value === null ? [] : [value]
  },
})

/** The response as it is, unless the credential is watched: then its body tells when it was sent or given up. */
function releasing(response: Response, auth: TaskAuth): Response {
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
